"""Missing jobs are found piece by piece: a job that is there does not hide the next one."""

from __future__ import annotations

from forge_core.database import run, transaction
from forge_core.enforcement.holding import elapsed
from forge_core.jobs.kinds import Derivation
from forge_core.voting.closing import DUE
from forge_core.wiring import CATALOGUE
from tests.core.factories import House


def _derived(house: House, derivation: Derivation, *, limit: int) -> int:
    with transaction(house.app) as session:
        return len(run(session, derivation.insert, limit=limit))


def test_due_proposals_beyond_one_piece_get_their_jobs_while_the_first_are_waiting(house):
    for _ in range(3):
        house.open()
    house.advance(days=7, hours=1)
    assert [_derived(house, DUE, limit=2) for _ in range(3)] == [2, 1, 0]
    assert house.one("SELECT count(*) FROM jobs WHERE kind = 'proposals.close'") == 3


def test_elapsed_timelocks_with_a_job_are_not_looked_at_again(house):
    for _ in range(3):
        house.approve(house.open())
    house.close_now()
    house.sql("DELETE FROM jobs WHERE kind = 'enforcement.execute'")
    assert [_derived(house, elapsed(CATALOGUE), limit=2) for _ in range(3)] == [2, 1, 0]
