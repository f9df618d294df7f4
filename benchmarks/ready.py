"""How long `forge up` takes until everything is ready, Flower included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.figure import Figure, Pace
from benchmarks.house import processor_seconds, temporary_home
from forge_core.errors import Unavailable

FORGE_UP = (sys.executable, "-c", "from forge_workers.cli import main; main()", "up")


def measure() -> list[Figure]:
    """The first start makes the cluster (initdb) and the tables, the second one finds them."""
    with temporary_home() as home:
        first, second = _start(home), _start(home)
    return [
        Figure(
            "`forge up` is ready",
            max(first.seconds, second.seconds),
            "s",
            "<=",
            10,
            {"first start": _shown(first), "second start": _shown(second)},
        )
    ]


def _start(home: Path) -> Pace:
    """From the command to its own word that it is ready."""
    began = time.perf_counter()
    with subprocess.Popen(
        FORGE_UP, env={**os.environ, "FORGE_HOME": str(home)}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None  # noqa: S101
            for line in process.stderr:
                if "ready in" in line:
                    seconds = time.perf_counter() - began
                    return Pace(1, seconds, processor_seconds(psutil.Process(process.pid)))
            raise Unavailable("`forge up` ended before it was ready")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def _shown(start: Pace) -> str:
    return f"{start.seconds:.1f} s (processor: {start.processor:.1f} s)"
