"""Closing proposals that fall due at the same moment."""

from __future__ import annotations

from benchmarks.figure import Figure
from benchmarks.house import ALICE, House
from forge_workers.client import Command

BALLOTS = 5
HOURS = 73  # the default voting is 72 h


def measure(house: House, *, proposals: int) -> list[Figure]:
    """From before the clock is moved until all are decided; half of them are approved.

    Found by the sweep, closed by the workers; what is approved is executed meanwhile, by them too.
    """
    house.add_members(BALLOTS)
    (voting,) = house.open_votings(1)
    house.clone_votings(voting, "due", proposals, eligible=10)
    house.query(
        "INSERT INTO effective_ballots (proposal_id, member_id, ballot_id, choice, weight) "
        "SELECT 'due' || n, 'm' || voter, -1, "
        "CASE WHEN n %% 2 = 0 THEN 'for' ELSE 'against' END, 1 "
        "FROM generate_series(0, %s) AS n, generate_series(0, %s) AS voter",
        proposals - 1,
        BALLOTS - 1,
    )
    with house.pace(proposals) as executed:
        with house.pace(proposals) as decided:
            forward = house.client.commands(
                [Command("clock.advance", ALICE, {"seconds": HOURS * 3600})]
            )
            house.until(lambda: not _in(house, "active"))
        house.until(lambda: not _in(house, "queued"))
    house.client.wait_many(forward)
    return [
        Figure(
            f"closing {proposals:,} proposals due at once",
            decided().rate,
            "/s",
            ">=",
            1_000,
            {
                "decided": decided().shown("proposals"),
                "half executed, too": f"after {executed().seconds:.1f} s",
            },
        )
    ]


def _in(house: House, status: str) -> int:
    return house.number(
        "SELECT count(*) FROM proposals WHERE id LIKE 'due%%' AND status = %s", status
    )
