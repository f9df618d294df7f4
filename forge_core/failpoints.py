"""Named points where a test can make a process crash, wait or fail between two lines.

Set in the environment: ``FORGE_FAILPOINTS="jobs.finished=kill"``; actions are ``kill`` (SIGKILL
to itself), ``raise`` and ``sleep:SECONDS``, each once per process. Unset, a point costs one
look-up in an empty dictionary.
"""

from __future__ import annotations

import os
import signal
import time

from forge_core.errors import ForgeError


class Failpoint(ForgeError):
    """Raised by a failpoint whose action is ``raise``."""

    code = "FAILPOINT"


def _parse(setting: str) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in setting.split(",") if part)
    return {name.strip(): action.strip() for name, action in pairs}


_armed = _parse(os.environ.get("FORGE_FAILPOINTS", ""))


def arm(name: str, action: str) -> None:
    """Arm a point in this process."""
    _armed[name] = action


def reach(name: str) -> None:
    """Carry out the point's action, if it is armed, once."""
    action = _armed.pop(name, None) if _armed else None
    if action is None:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise Failpoint(f"failpoint {name}")
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
    else:
        raise Failpoint(f"failpoint {name} has the unknown action {action!r}")
