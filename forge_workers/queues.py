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

QUEUE_OF: Final = {
    **{kind.name: kind.queue for kind in JOB_KINDS},
    **{chore.name: chore.queue for chore in CHORES},
    SWEEP: "maintenance",
    CHECKPOINT: "ledger",
    VERIFY: "ledger",
    PUBLISH: "ledger",
    DELIVER: "outbox",
}
"""The queue of every task. A wake-up names a task and nothing else."""

QUEUES: Final = tuple(Queue(name, routing_key=name) for name in sorted(set(QUEUE_OF.values())))
