"""Where the servers keep data and sockets: within reach of their account and of nobody else."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import tempfile
from pathlib import Path

from forge_core.errors import Unavailable
from forge_workers.stack import account as accounts
from forge_workers.stack.account import Account
from forge_workers.stack.home import Home, write_private

# A socket's whole path must fit into 108 bytes, on macOS into 104.
LONGEST_SOCKET_FOLDER = 80
# In a database address a comma or a colon of the path would begin another host or a port.
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)


def servers_folder(home: Home, account: Account) -> Path:
    """``servers/`` of the home, or one below /var/lib when root's account cannot reach the home.

    No parent's mode is ever changed. A folder below /var/lib is bound to the home's identity: when
    the home was deleted and made anew, the data of the former one is removed.
    """
    if home.servers.exists() or account.can_pass(home.path):
        if not account.can_pass(home.path):
            raise Unavailable(
                f"user {account.uid}, who runs the servers for root, can no longer reach "
                f"{home.servers}: give the folders above it their search permission (o+x) back"
            )
        folder = account.make_folder(home.servers)
    else:
        homes = accounts.SYSTEM_STATE / "homes"
        homes.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = homes / hashlib.sha256(str(home.path).encode()).hexdigest()[:16]
        bound = folder / "identity"
        if folder.exists() and _text(bound) != home.identity:
            shutil.rmtree(folder)
        account.make_folder(folder)
        write_private(bound, home.identity)
        write_private(folder / "home", str(home.path))  # for whoever wonders what this is
    if folder.stat().st_uid != account.uid:
        raise Unavailable(
            f"{folder} belongs to user {folder.stat().st_uid}: run as that user, or give this "
            "stack a FORGE_HOME of its own"
        )
    return folder


def socket_folder(home: Home, servers: Path, account: Account) -> Path:
    """A folder of mode 0700 for sockets: beside the data, or a temporary one where that cannot be.

    The temporary one has a name that cannot be guessed and is remembered, so that crashes do not
    pile them up; one that is not exactly ours any more is not used again.
    """
    beside = servers / "sockets"
    if len(str(beside)) <= LONGEST_SOCKET_FOLDER and _PLAIN.fullmatch(str(beside)):
        return account.make_folder(beside)
    remembered = home.run / "socket-folder"
    known = _text(remembered)
    if known and _is_ours(Path(known), account):
        return Path(known)
    for base in dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"))):  # noqa: S108  # a base
        if len(str(base)) + 20 <= LONGEST_SOCKET_FOLDER and account.can_pass(base):
            folder = Path(tempfile.mkdtemp(prefix="forge-", dir=base))
            if account.switch:
                shutil.chown(folder, *account.owner)
            write_private(remembered, str(folder))
            return folder
    raise Unavailable("no short temporary folder for sockets; set TMPDIR to one, such as /tmp")


def remove_socket_folder(home: Home) -> None:
    """Remove a temporary one after the server has stopped; what is not empty stays."""
    remembered = home.run / "socket-folder"
    known = _text(remembered)
    if known and Path(known).is_dir() and not any(Path(known).iterdir()):
        Path(known).rmdir()
        remembered.unlink()


def _is_ours(folder: Path, account: Account) -> bool:
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == account.uid
        and stat.S_IMODE(status.st_mode) == 0o700
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
