"""The processes of the house beside its servers: which there are, and how each is started."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forge_workers.stack import readiness
from forge_workers.stack.processes import Program

# Quiet is without the banner; the logs themselves are not.
CELERY_OPTIONS = ("--quiet", "--app=forge_workers.app")
CELERY = (sys.executable, "-m", "celery", *CELERY_OPTIONS)
# Celery's reason is pickle, which the app does not accept.
_ROOT_WARNING = "ignore:You're running the worker with superuser privileges"


@dataclass(frozen=True)
class Worker:
    """A Celery worker: its queues and the number of its pool processes."""

    name: str
    queues: tuple[str, ...]
    concurrency: int

    def arguments(self, *more: str) -> tuple[str, ...]:
        return (
            *CELERY,
            "worker",
            "--queues=" + ",".join(self.queues),
            f"--hostname={self.name}@%h",
            f"--concurrency={self.concurrency}",
            # Nothing here needs to know the other workers; the rows are the memory.
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
            *more,
        )


ADVISER = "analysis"
"""The queue whose workers may ask a model."""

# Counting is bulk work; what decides must not wait behind it.
WORKERS = (
    Worker("decide", ("proposals", "closure", "execution", "recounts", "maintenance"), 2),
    Worker("count", ("votes",), 2),
    # Sealing is promised within seconds: a long verification must not be in its way.
    Worker("ledger", ("ledger",), 2),
    # Whoever fails has to be set aside within a second, whatever is voted on meanwhile.
    Worker("immune", ("immune",), 2),
    # Whatever an adviser takes its time for, nothing that decides waits for it; and while a model
    # thinks in one process, rules advise in the other.
    Worker("advise", (ADVISER,), 2),
    # Whoever is called outside may be slow; nobody else waits for that.
    Worker("outside", ("outbox",), 1),
)


FLOWER = (sys.executable, "-m", "forge_workers.dashboard")
"""Flower with our pages."""

GATEWAY = (sys.executable, "-m", "forge_workers.api")
"""The HTTP gateway."""

EVENTS = (sys.executable, "-m", "forge_workers.runtime_consumer")
"""The consumer of runtime events."""


def beat_arguments(schedule: Path) -> tuple[str, ...]:
    """Beat with its memory in ``schedule``."""
    return (*CELERY, "beat", f"--schedule={schedule}", "--pidfile=", "--loglevel=INFO")


def flower_arguments(configuration: Path) -> tuple[str, ...]:
    """Flower as ``configuration`` says, a Python file that holds its password."""
    return (*FLOWER, f"--conf={configuration}")


def worker_program(worker: Worker, environment: Mapping[str, str], marker: Path) -> Program:
    """``marker`` appears when the worker is ready, and goes before each start."""
    return Program(
        name=worker.name,
        arguments=worker.arguments(f"--include={readiness.__name__}"),
        environment={
            **environment,
            "PYTHONWARNINGS": _ROOT_WARNING,
            readiness.VARIABLE: str(marker),
        },
        prepare=lambda: marker.unlink(missing_ok=True),
    )


def events_program(environment: Mapping[str, str], marker: Path) -> Program:
    """The consumer of runtime events; ``marker`` is as for a worker."""
    return Program(
        name="events",
        arguments=EVENTS,
        environment={**environment, readiness.VARIABLE: str(marker)},
        prepare=lambda: marker.unlink(missing_ok=True),
    )
