"""Tracks by strictest class, their terms, and what is checked of a draft."""

from __future__ import annotations

import json
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.actions.payloads import parse_payload
from forge_core.actions.rollback import Undone
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.errors import Inconsistent, Refused
from forge_core.proposals.basis import basis_of
from forge_core.proposals.draft import check_draft, check_voting_hours
from forge_core.proposals.tracks import Terms, Track, changes_parameter, terms_for, track_of
from forge_core.voting.tally import Thresholds

DAY = 24


C = CapabilityClass
WEAK = {C.ORDINARY, C.EMERGENCY}


def basis(kind, raw, catalogue, undone=()):
    return basis_of(parse_payload(kind, raw, catalogue), catalogue, {one.id: one for one in undone})


@pytest.mark.parametrize(
    ("kind", "raw", "track", "parameter"),
    [
        ("configuration", {"key": "rate_limit.CORE", "new_value": 5}, Track.ROUTINE, False),
        ("configuration", {"key": "block_reward", "new_value": 5}, Track.PROTECTED, True),
        (
            "governance_rule",
            {"key": "track.routine.quorum", "new_value": "0.4"},
            Track.PROTECTED,
            True,
        ),
        ("feature_activation", {"feature": "exchange", "enabled": False}, Track.PROTECTED, False),
        ("governance_rule", {"key": "treasury.budget", "new_value": 5}, Track.PROTECTED, False),
    ],
)
def test_the_class_of_the_key_decides_the_track(kind, raw, track, parameter, catalogue):
    found = basis(kind, raw, catalogue)
    assert found.track is track
    assert changes_parameter(found.classes) is parameter


def test_one_key_of_a_strict_class_puts_the_whole_proposal_on_its_track(catalogue):
    actions = [
        {"key": "rate_limit.CORE", "new_value": 5},
        {"key": "block_reward", "new_value": 5},
        {"key": "maintenance", "new_value": True},
    ]
    found = basis("configuration", {"actions": actions}, catalogue)
    assert found.classes == {C.ORDINARY, C.PROTOCOL}
    assert found.track is Track.PROTECTED
    assert changes_parameter(found.classes)


@settings(deadline=None)
@given(st.sets(st.sampled_from(CapabilityClass)), st.sampled_from(CapabilityClass))
def test_touching_more_never_leads_to_a_weaker_track(classes, more):
    strength = [Track.ROUTINE, Track.EMERGENCY, Track.PROTECTED].index
    assert strength(track_of({*classes, more})) >= strength(track_of(classes))
    assert (track_of(classes) is Track.PROTECTED) == (not classes <= WEAK)
    assert (track_of(classes) is Track.ROUTINE) == (classes <= {C.ORDINARY})


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("policy", {}),
        ("trust_adjustment", {"member": "a", "current_trust": "SANDBOX", "new_trust": "STANDARD"}),
        ("overlay_update", {"overlay": "a", "current_version": "1.0.0", "new_version": "1.0.1"}),
        ("overlay_registration", {"overlay": "a", "name": "A", "version": "1.0.0"}),
    ],
)
def test_types_that_touch_no_key_are_routine(kind, raw, catalogue):
    found = basis(kind, raw, catalogue)
    assert found.track is Track.ROUTINE
    assert not changes_parameter(found.classes)


REWARD = b'{"key":"block_reward","new_value":"5"}'
LIMIT = b'{"key":"rate_limit.CORE","new_value":5}'
SWITCH = b'{"enabled":false,"feature":"exchange"}'
PAUSE = b'{"action":"pause","hours":1}'


@pytest.mark.parametrize(
    ("type_", "payload", "track", "timelock"),
    [
        ("configuration", LIMIT, Track.ROUTINE, 0),
        ("configuration", REWARD, Track.PROTECTED, 72),
        ("feature_activation", SWITCH, Track.PROTECTED, 72),
        ("emergency", PAUSE, Track.EMERGENCY, 24),
    ],
)
def test_a_rollback_has_the_track_and_gates_of_what_it_undoes(
    type_, payload, track, timelock, catalogue, values
):
    """Its timelock is the smaller of three days and that track's."""
    undone = Undone("p-1", type_, "executed", payload)
    found = basis("rollback", {"proposal": "p-1"}, catalogue, [undone])
    original = basis(type_, json.loads(payload), catalogue).terms(values)
    assert found.track is track
    assert found.kind.trust is catalogue.kind(type_).trust
    assert found.terms(values).to_json() == {**original.to_json(), "timelock_hours": timelock}


@pytest.mark.parametrize(
    ("undone", "code"),
    [
        ([], "PROPOSAL_UNKNOWN"),
        ([Undone("p-1", "configuration", "queued", LIMIT)], "NOT_EXECUTED"),
        ([Undone("p-1", "configuration", "failed", LIMIT)], "NOT_EXECUTED"),
        ([Undone("p-1", "configuration", "rolled_back", LIMIT)], "ALREADY_ROLLED_BACK"),
        ([Undone("p-1", "rollback", "executed", b'{"proposal":"p-0"}')], "ROLLBACK_OF_ROLLBACK"),
    ],
)
def test_only_what_is_executed_once_can_be_rolled_back(undone, code, catalogue):
    with pytest.raises(Refused) as refused:
        basis("rollback", {"proposal": "p-1"}, catalogue, undone)
    assert refused.value.code == code


def test_a_rollback_names_exactly_one_proposal(catalogue):
    """Else the track of a weak one would open what a strict one has changed."""
    raw = {"actions": [{"proposal": "p-1"}, {"proposal": "p-2"}]}
    with pytest.raises(Refused, match="ACTIONS_COUNT"):
        parse_payload("rollback", raw, catalogue)


@pytest.mark.parametrize(
    ("present", "voters", "approval"),
    [
        ({}, 5, Fraction(66, 100)),
        ({"fiat_unlock.min_yes_voters": 9, "fiat_unlock.approval": "0.75"}, 9, Fraction(3, 4)),
        # The track's own thresholds are the least.
        ({"fiat_unlock.min_yes_voters": 1, "fiat_unlock.approval": "0.5"}, 5, Fraction(66, 100)),
    ],
)
def test_unlocking_fiat_takes_what_its_own_values_say(present, voters, approval, catalogue, values):
    raw = {"feature": "fiat_unlock", "enabled": True}
    terms = basis("feature_activation", raw, catalogue).terms({**values, **present})
    assert (terms.min_yes_voters, terms.approval) == (voters, approval)
    locking = basis("feature_activation", {**raw, "enabled": False}, catalogue)
    assert locking.terms({**values, **present}) == terms_for(Track.PROTECTED, values)


def test_the_default_terms_are_the_table_of_the_seeds(values):
    assert terms_for(Track.ROUTINE, values).to_json() == {
        "track": "routine",
        "voting_hours": 72,
        "quorum": "0.3",
        "approval": "0.5",
        "tie_passes": True,
        "min_yes_voters": 1,
        "max_yes_share": None,
        "reviewers": None,
        "review_approval": None,
        "sign_off": None,
        "timelock_hours": 0,
        "grace_hours": 14 * DAY,
        "draft_lifetime_hours": 30 * DAY,
        "gate_lifetime_hours": None,
    }
    assert terms_for(Track.PROTECTED, values).to_json() == {
        "track": "protected",
        "voting_hours": 72,
        "quorum": "0.3",
        "approval": "0.66",
        "tie_passes": True,
        "min_yes_voters": 5,
        "max_yes_share": "0.2",
        "reviewers": 5,
        "review_approval": "0.66",
        "sign_off": "0.5",
        "timelock_hours": 7 * DAY,
        "grace_hours": 14 * DAY,
        "draft_lifetime_hours": 30 * DAY,
        "gate_lifetime_hours": 30 * DAY,
    }
    assert terms_for(Track.EMERGENCY, values).to_json() == {
        "track": "emergency",
        "voting_hours": 4,
        "quorum": "0.3",
        "approval": "0.66",
        "tie_passes": True,
        "min_yes_voters": 5,
        "max_yes_share": "0.2",
        "reviewers": None,
        "review_approval": None,
        "sign_off": None,
        "timelock_hours": DAY,
        "grace_hours": 2 * DAY,
        "draft_lifetime_hours": 30 * DAY,
        "gate_lifetime_hours": None,
    }


def test_a_protected_parameter_waits_longer(values):
    assert terms_for(Track.PROTECTED, values, changes_parameter=True).timelock_hours == 14 * DAY
    assert terms_for(Track.ROUTINE, values, changes_parameter=True).timelock_hours == 0


def test_inv_17_terms_follow_present_values_and_the_proposers_hours(values):
    present = {**values, "track.routine.quorum": "0.123456789012345678901234567890"}
    terms = terms_for(Track.ROUTINE, present, voting_hours=5)
    assert terms.quorum == Fraction(123456789012345678901234567890, 10**30)
    assert terms.voting == timedelta(hours=5)
    assert (terms.timelock, terms.grace) == (timedelta(0), timedelta(days=14))
    assert terms.draft_lifetime == timedelta(days=30)
    assert terms.gate_lifetime is None


def test_only_the_protected_track_has_gates(values):
    assert [terms_for(track, values).gated for track in Track] == [False, True, False]
    assert terms_for(Track.PROTECTED, values).gate_lifetime == timedelta(days=30)


def test_a_missing_value_is_not_replaced_by_a_guess(values):
    present = {key: value for key, value in values.items() if key != "track.routine.quorum"}
    with pytest.raises(Inconsistent, match="track routine has no value for quorum"):
        terms_for(Track.ROUTINE, present)


@settings(deadline=None)
@given(st.sampled_from(Track), st.integers(0, 10**50), st.booleans())
def test_terms_survive_json_exactly(values, track, digits, tie_passes):
    present = {
        **values,
        f"track.{track}.quorum": f"0.{digits:050}"[:52],
        f"track.{track}.tie_passes": tie_passes,
    }
    terms = terms_for(track, present)
    assert Terms.from_json(json.loads(json.dumps(terms.to_json()))) == terms
    thresholds = Thresholds.of(terms)
    assert (thresholds.quorum, thresholds.tie_passes) == (terms.quorum, tie_passes)


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": 0.3},
        {"quorum": "0.30"},
        {"quorum": "x"},
        {"track": "slow"},
        {"extra": 1},
    ],
)
def test_stored_terms_that_were_not_written_by_us_are_not_believed(change, values):
    stored = {**terms_for(Track.ROUTINE, values).to_json(), **change}
    with pytest.raises(Inconsistent):
        Terms.from_json(stored)


DRAFT = {
    "type": "configuration",
    "title": "More room",
    "description": "The limit is too low.",
    "payload": {"key": "rate_limit.SANDBOX", "new_value": 200},
}


@pytest.fixture
def draft(catalogue, values):
    """A draft, its track and its hours, as creation finds them."""

    def check(*, voting_hours=None, caps_lifted=False, **change):
        checked = check_draft(**{**DRAFT, **change}, catalogue=catalogue)
        track = track_of(checked.payload.classes(catalogue))
        hours = check_voting_hours(voting_hours, track, values, caps_lifted=caps_lifted)
        return checked, track, hours

    return check


def test_a_draft_takes_its_tracks_default_hours(draft):
    checked, track, hours = draft()
    assert (track, hours, checked.reason) == ("routine", 72, "")
    longest = {"title": "t" * 200, "description": "d" * 10_000, "reason": "r" * 2_000}
    checked, _, _ = draft(**longest)
    assert checked.payload.kind.name == "configuration"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": "election"}, "UNKNOWN_PROPOSAL_TYPE"),
        # Its type is looked at first: the rest depends on it.
        ({"type": None, "title": None}, "UNKNOWN_PROPOSAL_TYPE"),
        ({"title": "t" * 201}, "TEXT_TOO_LONG"),
        ({"title": " "}, "TEXT_BLANK"),
        ({"title": None}, "TEXT_INVALID_TYPE"),
        ({"title": "a\x00"}, "TEXT_NUL"),
        ({"description": ""}, "TEXT_BLANK"),
        ({"description": "d" * 10_001}, "TEXT_TOO_LONG"),
        ({"description": "\udead"}, "TEXT_SURROGATE"),
        ({"reason": "r" * 2_001}, "TEXT_TOO_LONG"),
        ({"reason": None}, "TEXT_INVALID_TYPE"),
        ({"payload": None}, "PAYLOAD_NOT_OBJECT"),
        ({"voting_hours": 0}, "VALUE_OUT_OF_RANGE"),
        ({"voting_hours": 169}, "VALUE_OUT_OF_RANGE"),
        ({"voting_hours": -1}, "VALUE_OUT_OF_RANGE"),
        ({"voting_hours": 10**400}, "VALUE_OUT_OF_RANGE"),
        ({"voting_hours": 1.0}, "VALUE_TYPE"),
        ({"voting_hours": True}, "VALUE_TYPE"),
        ({"voting_hours": "72"}, "VALUE_TYPE"),
        ({"voting_hours": float("nan")}, "VALUE_TYPE"),
        ({"voting_hours": 1_000_001, "caps_lifted": True}, "VALUE_OUT_OF_RANGE"),
    ],
)
def test_a_draft_is_refused_by_name(change, code, draft):
    with pytest.raises(Refused) as refused:
        draft(**change)
    assert refused.value.code == code


@pytest.mark.parametrize("hours", [1, 168])
def test_voting_hours_are_allowed_up_to_both_ends(hours, draft):
    assert draft(voting_hours=hours)[2] == hours


def test_a_sandbox_lifts_the_cap_on_voting_hours(draft):
    assert draft(voting_hours=1_000_000, caps_lifted=True)[2] == 1_000_000


def test_the_least_hours_of_a_stricter_track_count(draft):
    raw = {"key": "block_reward", "new_value": "1"}
    assert draft(payload=raw)[1] is Track.PROTECTED
    assert draft(payload=raw, voting_hours=72)[2] == 72
    with pytest.raises(Refused, match="protected track allows 72 to 168"):
        draft(payload=raw, voting_hours=71)
    with pytest.raises(Refused, match="protected track allows 72 to"):
        draft(payload=raw, voting_hours=71, caps_lifted=True)


@pytest.mark.parametrize("hours", [3, 5])
def test_an_emergency_voting_lasts_four_hours_and_no_other_time(hours, draft):
    emergency = {"type": "emergency", "payload": {"action": "resume"}}
    assert draft(**emergency)[1:] == (Track.EMERGENCY, 4)
    assert draft(**emergency, voting_hours=4)[2] == 4
    with pytest.raises(Refused, match="emergency track allows 4 to 4"):
        draft(**emergency, voting_hours=hours)


def test_the_default_hours_are_never_fewer_than_the_least(values):
    present = {**values, "track.routine.voting_hours": 5, "track.routine.voting_hours_least": 9}
    assert check_voting_hours(None, Track.ROUTINE, present, caps_lifted=False) == 9
