"""What a worker's memory does over many tasks."""

from __future__ import annotations

import psutil

from benchmarks.figure import TIMES, Figure
from benchmarks.house import House
from forge_workers.app import app
from forge_workers.client import Ballot
from forge_workers.waker import Waker

WORKER = "count"
BALLOTS = 20
WAKE_UPS_A_BATCH = 500


def measure(house: House, *, warm: int, few: int, many: int) -> list[Figure]:
    """Resident memory of the counting worker, parent and children, after `few` and `many` tasks.

    Its tasks are wake-ups: most find an empty inbox, some count ballots.
    """
    house.add_members(BALLOTS)
    (voting,) = house.open_votings(1)
    waker = Waker(app, broker_url=house.settings.broker_url)
    done = 0
    sizes = []
    for goal in (warm, few, many):
        while done < goal:
            wake_ups = min(WAKE_UPS_A_BATCH, goal - done)
            house.client.vote_many([Ballot(voting, f"m{n}", "for") for n in range(BALLOTS)])
            waker.wake(["votes.count"] * wake_ups)
            done += wake_ups
            house.until(lambda: house.waiting("votes") < WAKE_UPS_A_BATCH)
        house.until(lambda: not house.waiting("votes"))
        sizes.append(_resident(house.stack.handle(WORKER).pid))
    waker.close()
    _, before, after = sizes
    return [
        Figure(
            f"worker's memory at {many:,} tasks : at {few:,}",
            after / before,
            TIMES,
            "<=",
            1.05,
            {f"at {few:,}": _megabytes(before), f"at {many:,}": _megabytes(after)},
        )
    ]


def _resident(pid: int) -> int:
    worker = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (worker, *worker.children()))


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
