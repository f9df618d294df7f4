"""FORGE_HOME: where a stack keeps its state, and that only one stack runs per home.

- `lock`: held by the running supervisor; it dies with the process
- `identity`: a random name, so that a home made anew is told from the one before
- `endpoints.json`: where the servers are, for every other command (0600)
- `secrets/`: generated passwords (0600)
- `run/`: ports, configuration and markers of the processes
- `logs/`: one file a process
- `servers/`: data of PostgreSQL and the Valkeys, owned by the account that runs them
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forge_core.errors import Unavailable
from forge_core.settings import ENDPOINTS

NEEDED_DISK = 300 * 1024 * 1024  # bytes: a fresh cluster, its WAL and the logs


def write_private(path: Path, content: str, *, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path`` atomically with a file of mode 0600; a reader sees old or new, whole."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        file.write(content)
    draft.replace(path)


def make_private(path: Path, *, mode: int = 0o700) -> Path:
    """Make a directory of our own; one that is there already is left exactly as it is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    return path


@dataclass(frozen=True)
class Home:
    """Paths below one FORGE_HOME. ``Home.prepare`` makes them."""

    path: Path

    @classmethod
    def prepare(cls, path: Path) -> Home:
        """Make what is missing; ``Unavailable`` when it cannot be written or has no space."""
        home = cls(path.absolute())
        try:
            # As root the servers run under another account, which must pass through; the folders
            # with anything to read stay closed.
            make_private(home.path, mode=0o711 if os.geteuid() == 0 else 0o700)
            for folder in (home.secrets, home.run, home.logs):
                make_private(folder)
            if not home._identity_file.exists():
                write_private(home._identity_file, secrets.token_hex(8))
            free = shutil.disk_usage(home.path).free
        except OSError as error:
            raise Unavailable(
                f"{home.path} cannot be used: {error.strerror}; "
                "name a writable directory with FORGE_HOME"
            ) from error
        if free < NEEDED_DISK:
            raise Unavailable(
                f"no disk space: {home.path} has {free // 2**20} MB free and needs "
                f"{NEEDED_DISK // 2**20} MB; free some, or name another disk with FORGE_HOME"
            )
        return home

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def servers(self) -> Path:
        return self.path / "servers"

    @property
    def endpoints(self) -> Path:
        return self.path / ENDPOINTS

    @property
    def _identity_file(self) -> Path:
        return self.path / "identity"

    @property
    def identity(self) -> str:
        """Random, made with the home: deleting a home makes the next one another."""
        return self._identity_file.read_text(encoding="utf-8").strip()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home for one stack; ``Unavailable`` names the process that has it."""
        # Not inheritable: a child that outlives us must not keep the home locked.
        with (self.path / "lock").open("a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise Unavailable(
                    f"a stack is already running in {self.path} (process {file.read().strip()}); "
                    "stop it, or give this one a FORGE_HOME of its own"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def publish(self, endpoints: Mapping[str, object]) -> None:
        """Tell the other commands of this home where the servers are."""
        write_private(self.endpoints, json.dumps(dict(endpoints), indent=2) + "\n")

    def unpublish(self) -> None:
        """After a clean stop: what is not running cannot be found."""
        self.endpoints.unlink(missing_ok=True)
