"""Tracks by strictest class, their terms, and what is checked of a draft."""

from __future__ import annotations

import json
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import Inconsistent, Refused
from forge_core.proposals.draft import check_draft
from forge_core.proposals.payloads import Configuration, parse_payload
from forge_core.proposals.tracks import Terms, Track, changes_parameter, terms_for, track_of
from forge_core.voting.tally import Thresholds

DAY = 24


def set_key(key):
    return Configuration(key=key, new_value="1")


@pytest.mark.parametrize(
    ("key", "track", "parameter"),
    [
        ("rate_limit.CORE", Track.ROUTINE, False),
        ("block_reward", Track.PROTECTED, True),
        ("track.routine.quorum", Track.PROTECTED, True),
        ("feature.exchange", Track.PROTECTED, False),
        ("treasury.budget", Track.PROTECTED, False),
    ],
)
def test_the_class_of_the_key_decides_the_track(key, track, parameter, registry):
    assert track_of(set_key(key), registry) is track
    assert changes_parameter(set_key(key), registry) is parameter


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("policy", {}),
        ("trust_adjustment", {"member": "a", "current_trust": "SANDBOX", "new_trust": "STANDARD"}),
        ("overlay_update", {"overlay": "a", "current_version": "1.0.0", "new_version": "1.0.1"}),
        ("overlay_registration", {"overlay": "a", "name": "A", "version": "1.0.0"}),
    ],
)
def test_types_that_touch_no_key_are_routine(kind, raw, registry):
    payload = parse_payload(kind, raw, registry)
    assert track_of(payload, registry) is Track.ROUTINE
    assert not changes_parameter(payload, registry)


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
def draft(registry, values):
    return lambda **change: check_draft(**{**DRAFT, **change}, registry=registry, values=values)


def test_a_draft_takes_its_tracks_default_hours(draft):
    checked = draft()
    assert (checked.track, checked.voting_hours, checked.reason) == ("routine", 72, "")
    assert (
        draft(title="t" * 200, description="d" * 10_000, reason="r" * 2_000).type == "configuration"
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": "emergency"}, "UNKNOWN_PROPOSAL_TYPE"),
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
    assert draft(voting_hours=hours).voting_hours == hours


def test_a_sandbox_lifts_the_cap_on_voting_hours(draft):
    assert draft(voting_hours=1_000_000, caps_lifted=True).voting_hours == 1_000_000


def test_the_least_hours_of_a_stricter_track_count(draft):
    raw = {"key": "block_reward", "new_value": "1"}
    assert draft(payload=raw).track is Track.PROTECTED
    with pytest.raises(Refused, match="protected track allows 72 to 168"):
        draft(payload=raw, voting_hours=71)
