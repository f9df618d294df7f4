"""INV-01, INV-02, INV-06: the one table of edges and the ends of every interval."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from forge_core.errors import Refused
from forge_core.proposals.lifecycle import (
    EDGES,
    FINAL,
    Status,
    ballot_in_time,
    check_edge,
    close_due,
    edge_pairs,
    execution_due,
    execution_expired,
    lifetime_over,
)

# INV-01 as the house's list of invariants writes it.
INV_01 = """
draft→active|cancelled|expired; active→approved|rejected|cancelled;
approved→queued|cancelled|expired; queued→executed|failed|cancelled|expired;
failed→queued|cancelled; executed→rolled_back
"""
ALLOWED = {
    (before.strip(), after)
    for line in INV_01.replace("\n", " ").split(";")
    for before, _, follow in (line.strip().partition("→"),)
    for after in follow.strip().split("|")
}

AT = datetime(2031, 3, 30, 1, 59, 59, 999_999, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


def test_the_table_is_inv_01():
    assert set(edge_pairs()) == ALLOWED
    assert set(EDGES) == set(Status)


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_every_edge_is_allowed_or_refused_as_inv_01_says(before, after):
    if (before, after) in ALLOWED:
        check_edge(before, after)
        return
    with pytest.raises(Refused, match=f"{before} cannot become {after}") as refused:
        check_edge(before, after)
    assert refused.value.code == "EDGE_REFUSED"


def test_inv_02_final_statuses_lead_nowhere():
    assert {"rejected", "cancelled", "expired", "rolled_back"} == FINAL


@pytest.mark.parametrize(("ticks", "in_time"), [(-1, True), (0, True), (1, False)])
def test_inv_06_a_ballot_is_in_time_up_to_closes_at_and_closing_is_due_after_it(ticks, in_time):
    now = AT + ticks * TICK
    assert ballot_in_time(now, AT) is in_time
    assert close_due(now, AT) is not in_time


@pytest.mark.parametrize(("ticks", "due"), [(-1, False), (0, True), (1, True)])
def test_inv_06_execution_is_due_from_eta_and_over_from_eta_plus_grace(ticks, due):
    assert execution_due(AT + ticks * TICK, AT) is due
    assert execution_expired(AT + HOUR + ticks * TICK, AT, HOUR) is due
    assert lifetime_over(AT + HOUR + ticks * TICK, AT, HOUR) is due
