"""The history of execution: every change once, by whom and where in the ledger, page by page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from forge_core.clock import as_utc
from forge_core.database import transaction
from forge_core.enforcement.history import LIMIT_MOST, changes
from forge_core.errors import Refused
from tests.core.factories import POLICY, House

LIMITS = ("CORE", "TRUSTED", "STANDARD", "SANDBOX", "QUARANTINE")


def history(house: House, **given: Any) -> list[dict[str, Any]]:
    return page(house, **given)["changes"]


def page(house: House, **given: Any) -> dict[str, Any]:
    with transaction(house.app) as session:
        return changes(session, **given)


def limits(house: House, proposer: str = "tara", *, to: int) -> str:
    """A proposal of five actions, executed."""
    actions = [{"key": f"rate_limit.{level}", "new_value": to} for level in LIMITS]
    return house.executed(proposer, type="configuration", payload={"actions": actions})


def keys(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["proposal"], one["action"], one["direction"]) for one in found]


@pytest.fixture
def undone(house: House) -> tuple[str, str, str]:
    """A change of five values by tara, its rollback by gus, and a policy of cora's."""
    changed = limits(house, to=7)
    rollback = house.executed("gus", type="rollback", payload={"proposal": changed})
    policy = house.executed("cora", payload=POLICY)
    return changed, rollback, policy


def test_every_change_is_listed_newest_first_with_both_values_and_who_proposed_it(house, undone):
    changed, rollback, policy = undone
    found = history(house)

    assert keys(found) == [
        (policy, 0, "apply"),
        *((changed, action, "undo") for action in range(4, -1, -1)),
        *((changed, action, "apply") for action in range(4, -1, -1)),
    ]
    last = found[1]
    assert (last["target"], last["before"], last["after"]) == (
        "setting:rate_limit.QUARANTINE",
        7,
        10,
    )
    assert (last["type"], last["cause"], last["actor"]) == ("configuration", rollback, "gus")
    assert (found[-1]["cause"], found[-1]["actor"]) == (changed, "tara")
    assert all(one["microseconds"] > 0 for one in found)


def test_positions_are_those_of_the_entries_that_made_the_changes(house, undone):
    """INV-44: from a line of the history to the entry that proves it."""
    changed, _, policy = undone
    assert {one["position"] for one in history(house)} == {None}
    house.seal()

    for one in history(house):
        kind, subject = house.sql(
            "SELECT kind, subject FROM ledger_entries JOIN ledger_order ON entry_id = id"
            " WHERE position = %s",
            one["position"],
        )[0]
        undo = one["direction"] == "undo"
        assert kind == ("proposal.rolled_back" if undo else "proposal.executed")
        assert subject == one["proposal"] in (changed, policy)


def test_filters_find_what_they_name_and_nothing_else(house, undone):
    changed, rollback, policy = undone
    every = history(house)

    def chosen(**given: Any) -> list[tuple[Any, ...]]:
        return keys(history(house, **given))

    assert chosen(proposal=changed) == keys([one for one in every if one["proposal"] == changed])
    assert chosen(proposal=rollback) == keys([one for one in every if one["cause"] == rollback])
    assert chosen(proposal=policy) == [(policy, 0, "apply")]
    assert chosen(target="setting:rate_limit.CORE") == [
        (changed, 0, "undo"),
        (changed, 0, "apply"),
    ]
    assert chosen(type="policy") == chosen(actor="cora") == [(policy, 0, "apply")]
    assert chosen(actor="gus", target="setting:rate_limit.CORE") == [(changed, 0, "undo")]
    assert chosen(proposal="p-absent") == chosen(actor="nobody") == chosen(target="x") == []


def test_since_is_in_and_until_is_not(house, undone):
    """INV-06."""
    _, _, policy = undone
    at = as_utc(house.one("SELECT max(applied_at) FROM effects"))
    tick = timedelta(microseconds=1)

    assert keys(history(house, since=at)) == [(policy, 0, "apply")]
    assert history(house, since=at + tick) == []
    assert (policy, 0, "apply") not in keys(history(house, until=at))
    assert len(history(house, until=at)) == 10
    assert len(history(house, until=at + tick)) == 11


def test_pages_neither_repeat_nor_lose_what_was_there_while_more_is_executed(house, undone):
    del undone
    before, seen, cursor = keys(history(house)), [], None
    for turn in range(len(before)):
        one = page(house, limit=2, before=cursor)
        seen += keys(one["changes"])
        cursor = one["next"]
        if cursor is None:
            break
        assert len(one["changes"]) == 2
        if turn < 2:
            limits(house, to=20 + turn)

    assert cursor is None
    assert seen == before
    assert len(history(house)) == len(before) + 10


def test_a_last_page_that_is_just_full_has_no_next(house, undone):
    del undone
    assert page(house, limit=11)["next"] is None
    assert page(house, limit=10)["next"] is not None


def test_a_limit_of_zero_gives_nothing_and_the_greatest_is_allowed(house, undone):
    del undone
    assert page(house, limit=0) == {"changes": [], "next": None}
    assert len(history(house, limit=LIMIT_MOST)) == 11


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"limit": -1}, "VALUE_OUT_OF_RANGE"),
        ({"limit": 1_001}, "VALUE_OUT_OF_RANGE"),
        ({"limit": True}, "VALUE_OUT_OF_RANGE"),
        ({"before": ""}, "CURSOR_INVALID"),
        ({"before": "p-1/0/apply"}, "CURSOR_INVALID"),
        ({"before": "2026-01-01T00:00:00Z/p-1/0/sideways"}, "CURSOR_INVALID"),
        ({"before": "2026-01-01T00:00:00Z/p-1/-1/apply"}, "CURSOR_INVALID"),
        ({"before": "2026-01-01T00:00:00Z/p-1/99999999999/apply"}, "CURSOR_INVALID"),
        ({"before": "soon/p-1/0/apply"}, "TIME_INVALID"),
        ({"proposal": "a\x00"}, "TEXT_NUL"),
        ({"actor": "a\ud800"}, "TEXT_SURROGATE"),
        ({"before": "2026-01-01T00:00:00Z/\x00/0/apply"}, "TEXT_NUL"),
    ],
)
def test_what_names_no_page_is_refused_by_name(shared, given, code):
    with pytest.raises(Refused) as refusal:
        page(shared, **given)
    assert refusal.value.code == code


def test_an_effect_of_the_first_schema_is_listed_with_what_is_known_of_it(house):
    policy = house.executed("cora", payload=POLICY)
    house.sql(
        "UPDATE effects SET cause = NULL, type = NULL, target = NULL, before = NULL,"
        " after = NULL, way_back = NULL, microseconds = NULL"
    )

    for found in (history(house), history(house, proposal=policy)):
        [one] = found
        assert (one["proposal"], one["cause"], one["actor"]) == (policy, policy, "cora")
        assert (one["type"], one["target"], one["microseconds"]) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ({}, "effects_applied_ix"),
        ({"actor": "tara", "before": "2100-01-01T00:00:00Z/p-1/0/apply"}, "effects_applied_ix"),
        ({"target": "setting:rate_limit.CORE"}, "effects_target_ix"),
        ({"proposal": "p-1"}, "effects_pkey"),
    ],
)
def test_a_page_is_one_statement_and_reads_along_an_index(house, given, index):
    house.sql(
        "INSERT INTO effects (proposal_id, action, direction, applied_at, target)"
        " SELECT 'p-' || n / 5, n % 5, 'apply', now() + n * INTERVAL '1 second', 'target:' || n"
        " FROM generate_series(0, 9999) AS n"
    )
    house.sql("ANALYZE effects")
    asked: list[str] = []
    with transaction(house.app) as session:
        connection = session.connection()

        @event.listens_for(connection, "before_cursor_execute", retval=True)
        def explain(_connection, cursor, statement, parameters, *_):
            asked.append(cursor.mogrify(statement, parameters).decode())
            return statement, parameters

        changes(session, **given)
    [statement] = asked
    house.sql("SET enable_seqscan = off")
    plan = "\n".join(line for (line,) in house.sql("EXPLAIN " + statement.replace("%", "%%")))

    assert index in plan
    assert "ledger_entries_subject_ix" in plan
    assert "Seq Scan" not in plan
