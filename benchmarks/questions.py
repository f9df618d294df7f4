"""How long a gateway waits to hear whether an address is blocked."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import redis

from benchmarks.figure import Figure
from benchmarks.house import House
from forge_workers.leases import Leases, Mirror

_LEND = (
    """
    INSERT INTO known_addresses
    SELECT '10.0.' || n / 250 || '.' || n %% 250, 'bench-' || n
    FROM generate_series(0, %s) AS n
    """,
    """
    INSERT INTO immune_responses
        (id, subject_kind, subject, rung, reason, imposed_by, began_at, until_at)
    SELECT 'bench-' || n, 'address', 'bench-' || n, 'block', 'a test', 'system', now(),
        now() + INTERVAL '1 hour'
    FROM generate_series(0, %s) AS n
    """,
)
_END = (
    "DELETE FROM immune_responses WHERE id LIKE 'bench-%'",
    "DELETE FROM known_addresses WHERE commitment LIKE 'bench-%'",
)


def measure(house: House, *, leases: int, questions: int) -> list[Figure]:
    """From the mirror, and from the moment in which its server has lost everything.

    One question after the other, about half of them about addresses that are blocked.
    """
    house.query("SET session_replication_role = replica")  # without texts to commit to
    for statement in _LEND:
        house.query(statement, leases - 1)
    mirror, asked = Mirror(house.settings.redis_url), Leases(house.settings)
    try:
        mirror.sync(house.engine)
        mirrored = _seconds(asked, leases, questions)
        with redis.Redis.from_url(house.settings.redis_url) as counters:
            bare = _seconds_of(counters.ping, questions)
            counters.flushall()
        emptied = _seconds(asked, leases, questions)
    finally:
        asked.close()
        mirror.close()
        for statement in _END:
            house.query(statement)
        house.query("SET session_replication_role = origin")
    return [
        _figure(f"is_blocked with {leases:,} leases: 99 of 100 within", mirrored, bare),
        _figure("the same, from the moment Valkey lost them: 99 of 100 within", emptied, bare),
    ]


def _seconds(asked: Leases, leases: int, questions: int) -> list[float]:
    """What each question took, the quickest first."""
    random = Random(0)

    def ask() -> None:
        n, first = random.randrange(leases), random.choice((10, 11))
        assert asked.is_blocked(f"{first}.0.{n // 250}.{n % 250}") is (first == 10)  # noqa: S101

    return _seconds_of(ask, questions)


def _seconds_of(ask: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return sorted(taken)


def _figure(name: str, taken: list[float], bare: list[float]) -> Figure:
    parts = {
        "a question": f"{_shown(taken)} of {len(taken):,}",
        "a bare PING of the same server": _shown(bare),
    }
    return Figure(name, _milliseconds(taken, 0.99), "ms", "<=", 2, parts)


def _shown(taken: list[float]) -> str:
    half, most, nearly, slowest = (_milliseconds(taken, share) for share in (0.5, 0.99, 0.999, 1))
    return (
        f"half {half:.2f} ms, 99 % {most:.2f} ms, 99.9 % {nearly:.2f} ms, slowest {slowest:.1f} ms"
    )


def _milliseconds(taken: list[float], share: float) -> float:
    return 1000 * taken[min(int(len(taken) * share), len(taken) - 1)]
