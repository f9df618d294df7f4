"""Where a replay runs: the stack that is there, else a private one for as long as it takes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from sqlalchemy import Engine

from forge_core.clock import is_sandbox
from forge_core.errors import Refused
from forge_core.members.genesis import Founder, found, is_founded
from forge_core.members.levels import Role, TrustLevel
from forge_core.settings import ENDPOINTS, VARIABLES, Settings, forge_home
from forge_workers.reading import reading
from forge_workers.replay.plan import REPLAY_MEMBER
from forge_workers.stack.up import running_stack


@contextmanager
def servers(console: Console) -> Iterator[Settings]:
    """Give the servers of the environment or of the running stack, else start private ones."""
    if os.environ.get(VARIABLES["database_url"]) or _stack_runs(forge_home()):
        yield Settings.load()
        return
    # Not made here: the stack gives it the modes that its own account needs.
    console.print("no stack is running here; starting a private one for this replay")
    home = Path(tempfile.gettempdir()) / f"forge-replay-{secrets.token_hex(6)}"
    try:
        with running_stack(home, web=False) as stack:
            yield stack.settings
    finally:
        shutil.rmtree(home, ignore_errors=True)


def ensure_sandbox(engine: Engine) -> None:
    """Found a sandbox in a database without genesis; refuse one that is no sandbox."""
    with reading(engine) as session:
        if not is_founded(session):
            founder = Founder(
                REPLAY_MEMBER, TrustLevel.CORE, (Role.ADMIN, Role.GUARDIAN, Role.OPERATOR)
            )
            found(session, [founder], sandbox=True)
        elif not is_sandbox(session):
            raise Refused(
                "NOT_A_SANDBOX",
                "a replay moves the clock, and this database is no sandbox; "
                "give it one of its own with another FORGE_HOME",
            )


def _stack_runs(home: Path) -> bool:
    """Whether the stack that published its endpoints here is still alive."""
    try:
        process = int(json.loads((home / ENDPOINTS).read_text(encoding="utf-8"))["pid"])
        os.kill(process, 0)
    except PermissionError:
        return True  # it lives, under another account
    except (OSError, ValueError, KeyError):
        return False
    return True
