"""Every periodic task, its interval and why. Two beats are harmless: each task is.

``expires`` keeps ticks from piling up while no worker runs. It is far longer than the interval:
the worker compares it with its own clock, and a clock that is seconds ahead must not drop them all.
"""

from __future__ import annotations

from typing import Any

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
    # Finished rows leave after 30 days; an hour is soon enough and keeps each piece small.
    "prune": {
        "task": "jobs.prune",
        "schedule": 3600.0,
        "options": {"queue": "maintenance", "expires": 600.0},
    },
}
