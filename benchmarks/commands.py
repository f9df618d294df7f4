"""Single commands a second: each its own call, until the last one is answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from benchmarks import peers
from benchmarks.figure import TIMES, Figure, Pace
from benchmarks.house import ALICE, MOST_WAIT, House, policy
from forge_workers.stack.house import WORKERS

THREADS = 16
SENDERS = 2  # with more of them Celery gets slower


def measure(house: House, *, commands: int) -> list[Figure]:
    """`proposals.create`, which writes most, beside Celery tasks that do nothing."""
    ours, empty = _ours(house, commands), _empty(house, commands)
    return [
        Figure(
            "single commands : empty Celery tasks",
            ours.rate / empty.rate,
            TIMES,
            ">=",
            1,
            {"Forge": ours.shown("commands"), "Celery": empty.shown("tasks")},
        )
    ]


def _ours(house: House, commands: int) -> Pace:
    """Threads of one client, one command a call, until the last is answered."""
    with ThreadPoolExecutor(THREADS) as pool, house.pace(commands) as pace:
        ids = list(
            pool.map(
                lambda n: house.client.command("proposals.create", ALICE, policy(n)),
                range(commands),
            )
        )
        answers = house.client.wait_many(ids, MOST_WAIT)
    assert all(answer.state == "done" for answer in answers)  # noqa: S101
    return pace()


def _empty(house: House, tasks: int) -> Pace:
    """From the first `apply_async` until the worker has begun the last task."""
    deciding = next(worker for worker in WORKERS if "proposals" in worker.queues)
    with peers.peer_worker(house, deciding.concurrency), house.pace(tasks) as pace:
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(lambda _: peers.empty.apply_async(), range(tasks)))
        house.until(lambda: not house.waiting(peers.QUEUE, peers.BROKER_DATABASE))
        house.until(lambda: peers.executed("empty") >= tasks)
    return pace()
