"""A recount of one large voting, as the decision makes it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.figure import TIMES, Figure
from benchmarks.house import House
from forge_core.database import transaction
from forge_core.voting.recount import recount

REPEATS = 5
_BARE = """
    SELECT choice, sum(weight), count(*) FROM effective_ballots
    WHERE proposal_id = %s GROUP BY choice
"""


def measure(house: House, *, ballots: int) -> list[Figure]:
    """`recount` beside the bare aggregate over the same rows, both warm; medians."""
    (voting,) = house.open_votings(1)
    house.query(
        "INSERT INTO effective_ballots (proposal_id, member_id, ballot_id, choice, weight) "
        "SELECT %s, 'm' || n, -n, (ARRAY['for', 'against', 'abstain'])[n %% 3 + 1], "
        "(ARRAY[1, 3, 5, 0.5])[n %% 4 + 1] FROM generate_series(1, %s) AS n",
        voting,
        ballots,
    )
    house.query("VACUUM (ANALYZE) effective_ballots")

    def ours() -> None:
        with transaction(house.engine) as session:
            counted = recount(session, {voting: ballots * 5})[voting]
        assert sum(counted.ballots.values()) == ballots  # noqa: S101

    seconds = _median(ours)
    bare = _median(lambda: house.query(_BARE, voting))
    return [
        Figure(
            f"recount of {ballots:,} ballots : bare SQL aggregate",
            seconds / bare,
            TIMES,
            "<=",
            2,
            {"Forge": f"{seconds * 1000:,.0f} ms", "bare SQL": f"{bare * 1000:,.0f} ms"},
        )
    ]


def _median(measured: Callable[[], object]) -> float:
    measured()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        measured()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
