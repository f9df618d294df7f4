"""The decision by examples: what the rules say at their edges, and what is refused as input."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from fractions import Fraction

import pytest

from forge_core.errors import Refused
from forge_core.voting.tally import Thresholds, Totals, count, decide

ROUTINE = Thresholds(quorum="0.3", approval="0.5")
PROTECTED = Thresholds("0.3", "0.66", min_yes_voters=5, max_yes_share="0.2")


def totals(for_=0, against=0, abstain=0, eligible=10, yes_voters=None, largest_yes=None):
    voters = (1 if for_ else 0) if yes_voters is None else yes_voters
    return Totals(
        for_, against, abstain, eligible, voters, for_ if largest_yes is None else largest_yes
    )


@pytest.mark.parametrize(
    ("cast", "outcome"),
    [
        (totals(3), "approved"),
        (totals(2), "rejected"),
        (totals(3, 3), "approved"),
        (totals(3, 4), "rejected"),
        (totals(1, 1, 1), "approved"),
        (totals(2, 0, 0), "rejected"),
        (totals(2, 0, 1), "approved"),
    ],
)
def test_quorum_and_approval_of_the_routine_track(cast, outcome):
    assert decide(cast, ROUTINE).outcome == outcome


@pytest.mark.parametrize(
    "cast",
    [
        totals(),
        totals(abstain=10),
        totals(eligible=0),
        totals(5, eligible=0),
        totals(0, 5),
        totals(abstain=5, eligible=0),
    ],
)
@pytest.mark.parametrize("quorum", [0, "0.3", 1])
def test_inv_15_nothing_eligible_nothing_cast_or_only_abstentions_never_approve(cast, quorum):
    decision = decide(cast, Thresholds(quorum, "0.5", max_yes_share="1"))
    assert decision.outcome == "rejected"
    json.dumps(decision.to_json(), allow_nan=False)


def test_inv_15_holds_even_where_nothing_is_required():
    nothing = Thresholds(0, 0, min_yes_voters=0)
    assert decide(totals(abstain=10), nothing).outcome == "rejected"
    assert decide(totals(1, eligible=0), nothing).outcome == "rejected"


@pytest.mark.parametrize(
    ("for_", "against", "approval", "outcome"),
    [
        (4, 2, "0.667", "rejected"),
        (4, 2, Fraction(2, 3), "approved"),
        (2, 1, "0.6666666666666666666666666666", "approved"),
        (2, 1, "0.6666666666666666666666666667", "rejected"),
        (10**60 - 1, 10**60 + 1, "0.5", "rejected"),
        (10**60, 10**60, "0.5", "approved"),
    ],
)
def test_inv_12_approval_is_compared_exactly(for_, against, approval, outcome):
    cast = totals(for_, against, eligible=for_ + against)
    assert decide(cast, Thresholds("0.3", approval)).outcome == outcome


def test_inv_12_quorum_met_exactly_counts():
    assert decide(totals("0.300000", eligible=1), ROUTINE).outcome == "approved"
    assert decide(totals("0." + "2" + "9" * 99, eligible=1), ROUTINE).outcome == "rejected"


def test_inv_14_a_tie_at_the_threshold_passes_only_where_the_track_says_so():
    tie, ahead = totals(3, 3), totals("3.5", 3)
    strict = Thresholds("0.3", "0.5", tie_passes=False)
    assert (decide(tie, ROUTINE).outcome, decide(tie, strict).outcome) == ("approved", "rejected")
    assert decide(ahead, strict).outcome == "approved"
    assert decide(tie, strict).failed[0].comparison == ">"


@pytest.mark.parametrize(("voters", "outcome"), [(4, "rejected"), (5, "approved")])
def test_enough_distinct_members_must_vote_for(voters, outcome):
    cast = totals(5, yes_voters=voters, largest_yes=2)
    rule = Thresholds("0.3", "0.66", min_yes_voters=5)
    assert decide(cast, rule).outcome == outcome


@pytest.mark.parametrize(("largest", "outcome"), [(1, "approved"), ("1.0000001", "rejected")])
def test_no_single_member_may_hold_more_than_the_cap(largest, outcome):
    cast = totals(5, yes_voters=6, largest_yes=largest)
    assert decide(cast, PROTECTED).outcome == outcome


def test_the_decision_names_each_check_its_value_and_its_requirement():
    decision = decide(Totals("70.5", "3.25", "1.5", "300.5", 14, "6"), PROTECTED)
    assert [check.name for check in decision.checks] == [
        "quorum",
        "approval",
        "yes_voters",
        "single_share",
    ]
    assert [check.name for check in decision.failed] == ["quorum"]
    assert not decision.approved
    assert decision.failed[0].explanation == (
        "taking part (for + against + abstain) of the eligible weight: "
        "75.25 of 300.5 = 0.250416; required >= 0.3: not met"
    )


def test_a_decision_is_written_as_exact_json():
    written = json.loads(json.dumps(decide(totals(1, 2, eligible=3), ROUTINE).to_json()))
    assert written["outcome"] == "rejected"
    quorum, approval, voters = written["checks"]
    assert (quorum["value"], quorum["rounded"], quorum["requirement"]) == ("1/1", "1", "0.3")
    assert (approval["value"], approval["rounded"], approval["held"]) == ("1/3", "0.333333", False)
    assert (voters["value"], voters["requirement"]) == (1, "1")


def test_a_share_that_no_decimal_equals_is_written_as_a_fraction():
    decision = decide(totals(4, 2), Thresholds("0.3", Fraction(2, 3)))
    assert decision.to_json()["checks"][1]["requirement"] == "2/3"


def test_without_a_denominator_there_is_no_share_and_no_error():
    nothing = decide(totals(eligible=0), PROTECTED)
    assert nothing.to_json()["checks"][0]["value"] is None
    assert "0 of 0 = no share at all" in nothing.checks[0].explanation


@pytest.mark.parametrize("field", ["for_", "against", "abstain", "eligible", "largest_yes"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.5, "NUMBER_INVALID"),
        (5.0, "NUMBER_INVALID"),
        (float("nan"), "NUMBER_INVALID"),
        (True, "NUMBER_INVALID"),
        (None, "NUMBER_INVALID"),
        ("NaN", "NUMBER_INVALID"),
        ("", "NUMBER_INVALID"),
        (Decimal("Infinity"), "NUMBER_INVALID"),
        (1j, "NUMBER_INVALID"),
        (-1, "NUMBER_NEGATIVE"),
        ("-0.5", "NUMBER_NEGATIVE"),
        (Decimal(-1), "NUMBER_NEGATIVE"),
        (Fraction(-1, 3), "NUMBER_NEGATIVE"),
    ],
)
def test_totals_refuse_what_is_not_an_exact_weight_and_name_the_field(field, value, code):
    given = dict.fromkeys(("for_", "against", "abstain", "eligible", "largest_yes"), 1)
    with pytest.raises(Refused, match=field) as refused:
        Totals(**{**given, "yes_voters": 1, field: value})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quorum": 0.3}, "NUMBER_INVALID"),
        ({"quorum": None}, "NUMBER_INVALID"),
        ({"quorum": True}, "NUMBER_INVALID"),
        ({"quorum": "-0.1"}, "NUMBER_NEGATIVE"),
        ({"quorum": "1.1"}, "VALUE_OUT_OF_RANGE"),
        ({"approval": 51}, "VALUE_OUT_OF_RANGE"),
        ({"max_yes_share": 20}, "VALUE_OUT_OF_RANGE"),
        ({"min_yes_voters": "5"}, "NUMBER_INVALID"),
        ({"min_yes_voters": True}, "NUMBER_INVALID"),
        ({"min_yes_voters": -1}, "NUMBER_NEGATIVE"),
        ({"tie_passes": 1}, "VALUE_TYPE"),
    ],
)
def test_thresholds_refuse_by_name(change, code):
    with pytest.raises(Refused, match=next(iter(change))) as refused:
        Thresholds(**{"quorum": "0.3", "approval": "0.5", **change})
    assert refused.value.code == code


def test_totals_that_cannot_be_are_refused():
    with pytest.raises(Refused, match="TOTALS_INCONSISTENT"):
        totals(5, largest_yes=6)
    with pytest.raises(Refused, match="TOTALS_INCONSISTENT"):
        decide(totals(5, yes_voters=4, largest_yes=1), PROTECTED)
    with pytest.raises(Refused, match="NUMBER_INVALID"):
        totals(5, yes_voters=1.0)


def test_exact_input_of_every_kind_means_the_same():
    same = [totals(x, eligible=10) for x in (5, "5", "5.00", Decimal("5.0"), Fraction(5))]
    assert len(set(same)) == 1


def test_counting_takes_the_last_ballot_of_each_voter():
    ballots = [("a", "for", "0.5"), ("b", "against", 3), ("a", "abstain", "0.5"), ("c", "for", 1)]
    assert count(ballots, 10) == Totals(1, 3, "0.5", 10, 1, 1)


@pytest.mark.parametrize(
    ("choice", "weight", "code"),
    [("yes", 1, "CHOICE_UNKNOWN"), ("for", 0.5, "NUMBER_INVALID"), ("for", -1, "NUMBER_NEGATIVE")],
)
def test_counting_refuses_by_name(choice, weight, code):
    with pytest.raises(Refused) as refused:
        count([("a", choice, weight)], 10)
    assert refused.value.code == code


def test_ten_thousand_decisions_take_well_under_a_second():
    # Process time, and ten times what it takes: other work on the machine must not fail this.
    before = time.process_time()
    for number in range(10_000):
        decide(Totals(number, 3, 1, 30_000, 4, number), ROUTINE)
    assert time.process_time() - before < 1.5
