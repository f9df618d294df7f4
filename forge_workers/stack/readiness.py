"""Loaded by every embedded worker (``--include``): says when it is ready, and dies with its parent.

A pool child of a killed worker would otherwise stay and wait for work that never comes.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init, worker_ready

from forge_workers.stack.processes import die_with_parent

VARIABLE = "FORGE_READY_FILE"


@worker_ready.connect
def _mark(**_: Any) -> None:
    if path := os.environ.get(VARIABLE):
        Path(path).write_text(str(os.getpid()), encoding="ascii")


@worker_process_init.connect
def _follow_parent(**_: Any) -> None:
    die_with_parent(signal.SIGKILL)
