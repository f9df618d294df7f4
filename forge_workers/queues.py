"""One queue a workload. A kind's queue is declared with the kind; nothing creates one by a typo."""

from __future__ import annotations

from typing import Final

from kombu import Queue

from forge_core.enforcement.outbox import DELIVER
from forge_core.wiring import CHORES, JOB_KINDS

SWEEP: Final = "jobs.sweep"
CHECKPOINT: Final = "ledger.checkpoint"
VERIFY: Final = "ledger.verify"
PUBLISH: Final = "ledger.publish"
MIRROR: Final = "immune.mirror"
HEALTH: Final = "immune.health"

_WORK: Final = {
    **{kind.name: kind.queue for kind in JOB_KINDS},
    **{chore.name: chore.queue for chore in CHORES},
    SWEEP: "maintenance",
    CHECKPOINT: "ledger",
    VERIFY: "ledger",
    PUBLISH: "ledger",
    MIRROR: "immune",
    HEALTH: "immune",
    DELIVER: "outbox",
}
PULSES: Final = {f"health.pulse.{queue}": queue for queue in sorted(set(_WORK.values()))}
"""A task for each queue that says that somebody serves it."""

QUEUE_OF: Final = {**_WORK, **PULSES}
"""The queue of every task. A wake-up names a task and nothing else."""

QUEUES: Final = tuple(Queue(name, routing_key=name) for name in sorted(set(QUEUE_OF.values())))
