"""fiat_unlock: a feature with a calendar, a vote of its own, and a date on which it unlocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from forge_core.clock import rfc3339
from forge_core.database import transaction
from forge_core.errors import Refused
from forge_core.members.genesis import found
from tests.conftest import TEMPLATE, TestServers
from tests.core.conftest import _house
from tests.core.factories import FULL_FOUNDERS, REVIEWERS, House, found_house
from tests.core.full_house import (
    clock_stopped,
    done,
    queued,
    setting,
    tried,
    undo,
)

OPENS = datetime(2026, 3, 12, tzinfo=UTC)
AUTOMATIC = datetime(2026, 11, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UNLOCK = {"type": "feature_activation", "payload": {"feature": "fiat_unlock", "enabled": True}}
LOCK = {"type": "feature_activation", "payload": {"feature": "fiat_unlock", "enabled": False}}


@pytest.fixture
def house(servers: TestServers) -> Iterator[House]:
    """A sandbox whose clock began on the day after it opens."""
    with _house(servers, TEMPLATE, FULL_FOUNDERS) as house:
        found_house(house, starts_at=OPENS + timedelta(days=1))
        yield house


def unlocked(house: House) -> bool:
    row = house.sql("SELECT value FROM setting_values WHERE key = 'feature.fiat_unlock'")
    return row == [(True,)]


def rule(key: str, new: object) -> dict[str, object]:
    return setting(f"fiat_unlock.{key}", new, "governance_rule").given


# From when on


@pytest.mark.parametrize(("ticks", "code"), [(-1, "FEATURE_NOT_OPEN"), (0, None), (1, None)])
def test_it_is_proposed_from_its_day_on(servers, ticks, code):
    """INV-06: not even a draft before; to the microsecond."""
    with _house(servers, TEMPLATE, FULL_FOUNDERS) as early:
        found_house(early, starts_at=OPENS - timedelta(days=30))
        with clock_stopped(early, OPENS + ticks * MICROSECOND):
            assert tried(early, "tara", **UNLOCK).code == code
        assert early.one("SELECT count(*) FROM proposals") == (code is None)


def test_no_other_feature_waits_for_it(servers):
    with _house(servers, TEMPLATE, FULL_FOUNDERS) as early:
        found_house(early, starts_at=OPENS - timedelta(days=300))
        other = {"feature": "smart_contracts", "enabled": True}
        assert tried(early, "tara", type="feature_activation", payload=other).state == "done"
        both = {"actions": [other, UNLOCK["payload"]]}
        assert tried(early, "tara", type="feature_activation", payload=both).code == (
            "FEATURE_NOT_OPEN"
        )


def test_a_day_that_a_rule_moved_counts_at_execution_as_well(house):
    """Approved while it was open, due when it is not any more."""
    later = queued(house, **rule("opens_at", (AUTOMATIC - timedelta(days=1)).isoformat()))
    house.advance_to(house.column(later, "eta") - timedelta(days=5))
    proposal = queued(house, "tara", **UNLOCK)
    house.ripen(later)

    house.ripen(proposal)

    assert house.column(proposal, "failure") == "FEATURE_NOT_OPEN"
    assert not unlocked(house)


# The vote


def test_four_votes_are_not_enough_and_five_are(house):
    for voters, status in ((REVIEWERS[:4], "rejected"), (REVIEWERS[:5], "approved")):
        proposal = house.open("tara", **UNLOCK)
        for member in voters:
            house.vote(proposal, member, "for")
        house.vote(proposal, "cora", "abstain")  # for the quorum
        house.end_voting(proposal)
        assert house.status(proposal) == status


def test_support_of_two_thirds_is_needed(house):
    """15 for and 8 against are 65.2 %; 18 for and 8 against are 69.2 %."""
    for voters, status in ((REVIEWERS[:5], "rejected"), (REVIEWERS[:6], "approved")):
        proposal = house.open("tara", **UNLOCK)
        for member in voters:
            house.vote(proposal, member, "for")
        for member in ("cora", "gus"):
            house.vote(proposal, member, "against")
        house.end_voting(proposal)
        assert house.status(proposal) == status


def test_its_own_numbers_count_where_they_ask_for_more_than_the_track(house):
    payload = {
        "actions": [
            {"key": "fiat_unlock.min_yes_voters", "new_value": 9},
            {"key": "fiat_unlock.approval", "new_value": "0.8"},
        ]
    }
    done(house, type="governance_rule", payload=payload)
    other = {"feature": "airdrops", "enabled": False}

    terms = house.column(house.open("tara", **UNLOCK), "terms")
    others = house.open("tara", type="feature_activation", payload=other)
    together = {"actions": [other, UNLOCK["payload"]]}
    both = house.open("tara", type="feature_activation", payload=together)

    assert (terms["min_yes_voters"], terms["approval"]) == (9, "0.8")
    assert house.column(both, "terms") == terms
    usual = house.column(others, "terms")
    assert (usual["min_yes_voters"], usual["approval"]) == (5, "0.66")


def test_its_own_numbers_never_ask_for_less_than_the_track(house):
    payload = {
        "actions": [
            {"key": "fiat_unlock.min_yes_voters", "new_value": 1},
            {"key": "fiat_unlock.approval", "new_value": "0.5"},
        ]
    }
    done(house, type="governance_rule", payload=payload)

    terms = house.column(house.open("tara", **UNLOCK), "terms")

    assert (terms["min_yes_voters"], terms["approval"]) == (5, "0.66")


def test_a_vote_unlocks_it_through_the_whole_path(house):
    proposal = done(house, "tara", **UNLOCK)

    assert unlocked(house)
    assert house.one("SELECT forge_setting('feature.fiat_unlock')") is True
    undo(house, proposal, "tara")
    assert not unlocked(house)


# The date


@pytest.mark.parametrize(("ticks", "then"), [(-1, False), (0, True), (1, True)])
def test_it_unlocks_by_itself_on_its_date(house, ticks, then):
    """INV-06: the sweep applies a rule, and the rule is the actor of the entry."""
    with clock_stopped(house, AUTOMATIC + ticks * MICROSECOND):
        house.settle()
        house.settle()

    assert unlocked(house) == then
    entries = house.entries("setting.changed")
    assert len(entries) == then
    for entry in entries:
        assert (entry["actor"], entry["subject"]) == ("rule:fiat_unlock", "feature.fiat_unlock")
        assert entry["data"] == {"before": False, "after": True, "proposal": "rule:fiat_unlock"}
    rows = house.derived_rows()
    house.refold()
    assert house.derived_rows() == rows


def send_unlock(house: House) -> None:
    """Straight to the step, past the sweep."""
    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor)"
        " VALUES ('features.unlock', 'x', false, '{}', 'mallory')"
    )
    house.perform("features.unlock")


def test_a_job_before_its_date_unlocks_nothing(house):
    """INV-04: the sweep only narrows; the step looks again."""
    send_unlock(house)

    assert not unlocked(house)
    assert house.entries("setting.changed") == []


def test_a_freeze_holds_the_date_too(house):
    """INV-37."""
    house.advance_to(AUTOMATIC - timedelta(hours=1))
    until = rfc3339(AUTOMATIC + timedelta(hours=1))
    house.do("enforcement.freeze", "gus", until=until, reason="A closer look first.")
    house.advance_to(AUTOMATIC)
    house.settle()
    send_unlock(house)
    assert not unlocked(house)

    house.advance(hours=1)
    house.settle()
    assert unlocked(house)


def test_what_was_unlocked_by_a_vote_is_not_unlocked_again(house):
    proposal = done(house, "tara", **UNLOCK)
    house.advance_to(AUTOMATIC + timedelta(days=1))
    house.settle()

    assert house.sql("SELECT proposal_id, version FROM setting_values") == [(proposal, 1)]


def test_what_a_vote_locked_again_stays_locked_on_the_date(house):
    done(house, "tara", **UNLOCK)
    locking = done(house, "tara", **LOCK)
    house.advance_to(AUTOMATIC + timedelta(days=1))
    house.settle()

    assert house.sql("SELECT value, proposal_id FROM setting_values") == [(False, locking)]


def test_what_was_unlocked_and_rolled_back_stays_locked_on_the_date(house):
    undo(house, done(house, "tara", **UNLOCK), "tara")
    house.advance_to(AUTOMATIC + timedelta(days=1))
    house.settle()
    send_unlock(house)

    assert not unlocked(house)


def test_the_date_is_a_rule(house):
    earlier = OPENS + timedelta(days=60)
    done(house, **rule("automatic_at", earlier.isoformat()))
    with clock_stopped(house, earlier - MICROSECOND):
        house.settle()
        assert not unlocked(house)
    with clock_stopped(house, earlier):
        house.settle()
        assert unlocked(house)


def test_what_unlocked_by_itself_is_locked_by_a_vote_and_that_is_undone(house):
    """INV-36: the value before was the rule's."""
    house.advance_to(AUTOMATIC)
    house.settle()
    locking = done(house, "tara", **LOCK)
    house.settle()
    assert not unlocked(house)

    undo(house, locking, "tara")

    assert house.sql("SELECT value, version, proposal_id FROM setting_values") == [
        (True, 1, "rule:fiat_unlock")
    ]


def test_a_vote_that_the_date_overtook_is_stale(house):
    """INV-34."""
    house.advance_to(AUTOMATIC - timedelta(days=5))
    proposal = queued(house, "tara", **UNLOCK)
    house.advance_to(AUTOMATIC)
    house.settle()
    assert unlocked(house)

    house.ripen(proposal)

    assert house.column(proposal, "failure") == "STALE_VALUE"
    assert tried(house, "tara", **UNLOCK).code == "NO_CHANGE"


def test_a_house_founded_after_the_date_unlocks_with_its_first_sweep(servers):
    with _house(servers, TEMPLATE, FULL_FOUNDERS) as late:
        found_house(late, starts_at=AUTOMATIC + timedelta(days=365))
        late.settle()
        assert unlocked(late)


def test_only_a_sandbox_begins_at_a_time_of_its_own(empty_house):
    with transaction(empty_house.app) as session, pytest.raises(Refused, match="NOT_A_SANDBOX"):
        found(session, FULL_FOUNDERS, sandbox=False, starts_at=OPENS)
