"""The operating-system account that runs the servers, and what that account can reach.

An ordinary user runs them as himself. Root never does: PostgreSQL refuses it, and a server that
is broken into should not own the machine. Root hands them to an account that can do nothing else.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_core.errors import Unavailable

NAME = "forge-postgres"
FALLBACK = "nobody"

# Where root's servers live when their account cannot pass through to the home or the wheels.
SYSTEM_STATE = Path("/var/lib/forge-governance")


@dataclass(frozen=True)
class Account:
    """A user of this machine; ``switch`` is False when it is the one we are."""

    uid: int
    gid: int
    switch: bool

    @property
    def owner(self) -> tuple[int, int]:
        return self.uid, self.gid

    def can_pass(self, path: Path) -> bool:
        """Whether this account can pass through every existing folder above and at ``path``.

        Judged by mode bits alone, so an access list may make it answer No too often, which only
        costs a copy.
        """
        if not self.switch:
            return True
        return all(
            self._may_search(folder.stat())
            for folder in (path, *path.parents)
            if folder.exists() and folder.is_dir()
        )

    def _may_search(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def as_popen(self) -> dict[str, Any]:
        """The arguments of ``subprocess.Popen`` that run a program as this account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def make_folder(self, path: Path) -> Path:
        """A folder of mode 0700 that belongs to this account."""
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            if self.switch:
                os.chown(path, *self.owner)
        return path


def server_account() -> Account:
    """Ourselves, or as root the dedicated account, made when it is missing."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    for name in (NAME, FALLBACK):
        if name == NAME and not _exists(NAME):
            _create()
        if _exists(name):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise Unavailable(
        f"as root the servers need an unprivileged account: run `useradd --system {NAME}`"
    )


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _create() -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        return
    # A failure is judged by whether the account exists: two stacks may try at once.
    subprocess.run(  # noqa: S603  # fixed arguments
        [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME],
        check=False,
        capture_output=True,
    )
