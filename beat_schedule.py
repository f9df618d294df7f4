"""Every periodic task, its interval and why. Two beats are harmless: each task is.

``expires`` keeps ticks from piling up while no worker runs. It is far longer than the interval:
the worker compares it with its own clock, and a clock that is seconds ahead must not drop them all.
"""

from __future__ import annotations

from typing import Any

from forge_workers.queues import PULSES

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    # A due proposal is decided at most 2 s after closes_at: one for the sweep, one for the close.
    "sweep": {
        "task": "jobs.sweep",
        "schedule": 1.0,
        "options": {"queue": "maintenance", "expires": 30.0},
    },
    # Promised ballots are sealed within 10 s; a batch of one second is large enough to be cheap.
    "seal": {
        "task": "ledger.seal",
        "schedule": 1.0,
        "options": {"queue": "ledger", "expires": 30.0},
    },
    # At least every 10 s while there is news, as promised; without news nothing is signed.
    "checkpoint": {
        "task": "ledger.checkpoint",
        "schedule": 5.0,
        "options": {"queue": "ledger", "expires": 30.0},
    },
    # Consumers hear of an entry a second or two after it is sealed.
    "publish": {
        "task": "ledger.publish",
        "schedule": 1.0,
        "options": {"queue": "ledger", "expires": 30.0},
    },
    # Effects outside the database are delivered when they are written down; this finds the rest.
    "deliver": {
        "task": "enforcement.deliver",
        "schedule": 5.0,
        "options": {"queue": "outbox", "expires": 30.0},
    },
    # Told of every change after its commit; this finds what was not told, and renews the mirror.
    "mirror": {
        "task": "immune.mirror",
        "schedule": 2.0,
        "options": {"queue": "immune", "expires": 30.0},
    },
    # Peers, silence and crowds are seen in minutes, not in single events.
    "watch": {
        "task": "immune.watch",
        "schedule": 60.0,
        "options": {"queue": "immune", "expires": 120.0},
    },
    # Hours of events come and go; a partition is made two hours before it is needed.
    "tidy": {
        "task": "immune.tidy",
        "schedule": 600.0,
        "options": {"queue": "immune", "expires": 600.0},
    },
    # What is late by half a minute is mended, and what stays so is told to people.
    "health": {
        "task": "immune.health",
        "schedule": 10.0,
        "options": {"queue": "immune", "expires": 30.0},
    },
    # The age of what these write tells whether beat, broker, a worker and the database are at work.
    **{
        name: {"task": name, "schedule": 10.0, "options": {"queue": queue, "expires": 30.0}}
        for name, queue in PULSES.items()
    },
    # Some 50,000 entries a time: a ledger of a million is gone through in about ten minutes.
    "verify": {
        "task": "ledger.verify",
        "schedule": 30.0,
        "options": {"queue": "ledger", "expires": 60.0},
    },
    # What asking models cost is told for 90 days.
    "advisory-tidy": {
        "task": "advisory.tidy",
        "schedule": 3600.0,
        "options": {"queue": "analysis", "expires": 600.0},
    },
    # Finished rows leave after 30 days; an hour is soon enough and keeps each piece small.
    "prune": {
        "task": "jobs.prune",
        "schedule": 3600.0,
        "options": {"queue": "maintenance", "expires": 600.0},
    },
}
