"""Starting a child so that it cannot outlive its supervisor, and ending it with all it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

from forge_workers.stack.account import Account

_PR_SET_PDEATHSIG = 1
# Bound here, because little is safe between fork and exec.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def die_with_parent(sent: signal.Signals) -> None:
    """Ask the kernel for ``sent`` when the *thread* that started this process ends.

    To be called in the child, after any change of user, which would clear the request. Elsewhere
    than on Linux nothing happens, and the next start ends what was left over.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(sent), 0, 0, 0)


@dataclass(frozen=True)
class Program:
    """What to run, as whom, and how it wants to be ended."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # When the supervisor was killed: nobody is left to follow up on a polite request.
    death_signal: signal.Signals = signal.SIGKILL
    # Runs before every start, the first included: stale files, configuration.
    prepare: Callable[[], None] = field(default=lambda: None)


def start(program: Program) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, with stdout and stderr on one pipe and no stdin."""
    program.prepare()
    parent = os.getpid()

    def in_child() -> None:
        die_with_parent(program.death_signal)
        if os.getppid() != parent:  # the supervisor died before the kernel knew our wish
            os._exit(1)

    # A server account may not be able to enter the folder we were started in.
    identity = {} if program.account is None else {"cwd": "/"} | program.account.as_popen()
    return subprocess.Popen(  # noqa: S603  # arguments are ours
        program.arguments,
        env=dict(program.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=in_child,  # noqa: PLW1509  # two system calls, bound before the fork
        **identity,
    )


def signal_group(pid: int, sent: signal.Signals) -> None:
    """Signal a process and everything it started; gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, sent)


def signal_stop(pid: int, sent: signal.Signals) -> None:
    """Ask a process to stop, which sees to those it started; by force it meets them all.

    Asked themselves, they would drop what they are at, of which the process waits for the end.
    """
    if sent is signal.SIGKILL:
        signal_group(pid, sent)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sent)
    signal_group(pid, signal.SIGCONT)  # one that is frozen would keep the signal for later


def created_at(pid: int) -> float | None:
    """When the running process was made (seconds since 1970); None when there is none.

    A zombie does nothing any more and only waits to be reaped, so it counts as none.
    """
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def end_leftover(pid: int, created: float, *, polite: signal.Signals, seconds: float = 5) -> None:
    """End a process of a former run, and its group, unless the number now is somebody else's."""
    if created_at(pid) != created:
        return
    signal_group(pid, polite)
    deadline = time.monotonic() + seconds
    while created_at(pid) == created:
        if time.monotonic() > deadline:
            signal_group(pid, signal.SIGKILL)
        time.sleep(0.02)
