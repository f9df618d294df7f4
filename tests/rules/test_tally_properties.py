"""INV-11 to INV-19: the decision against a model of the rules, and under every change of form.

The model works on whole numbers only: weights are counted in units of 10^-k, shares per mille.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forge_core.exact import to_decimal_string
from forge_core.voting.tally import Thresholds, Totals, count, decide

CHOICES = ("for", "against", "abstain")


@dataclass(frozen=True)
class Rules:
    quorum: int
    approval: int
    tie_passes: bool
    min_yes_voters: int
    cap: int | None

    @property
    def thresholds(self) -> Thresholds:
        cap = None if self.cap is None else Fraction(self.cap, 1000)
        return Thresholds(
            to_decimal_string(Fraction(self.quorum, 1000)),
            Fraction(self.approval, 1000),
            self.tie_passes,
            self.min_yes_voters,
            cap,
        )


def model(rules: Rules, ballots: list[tuple[str, str, int]], eligible: int) -> str:
    """The rules of design section 7 and 8, written out a second time."""
    last = {}
    for voter, choice, weight in ballots:
        last[voter] = (choice, weight)
    yes = [weight for choice, weight in last.values() if choice == "for"]
    no = sum(weight for choice, weight in last.values() if choice == "against")
    neither = sum(weight for choice, weight in last.values() if choice == "abstain")
    if eligible == 0 or sum(yes) + no == 0:
        return "rejected"
    if (sum(yes) + no + neither) * 1000 < rules.quorum * eligible:
        return "rejected"
    needed = rules.approval * (sum(yes) + no)
    if sum(yes) * 1000 < needed or (sum(yes) * 1000 == needed and not rules.tie_passes):
        return "rejected"
    if len(yes) < rules.min_yes_voters:
        return "rejected"
    if rules.cap is not None and yes and max(yes) * 1000 > rules.cap * sum(yes):
        return "rejected"
    return "approved"


# Small weights meet thresholds exactly, large ones have up to 60 digits.
CAPS = st.none() | st.integers(0, 1000)
WEIGHTS = st.integers(0, 6) | st.integers(0, 10**60)


def rules(caps=CAPS):
    return st.builds(
        Rules,
        quorum=st.sampled_from([0, 300, 500, 1000]) | st.integers(0, 1000),
        approval=st.sampled_from([0, 500, 660, 1000]) | st.integers(0, 1000),
        tie_passes=st.booleans(),
        min_yes_voters=st.sampled_from([0, 1, 2, 5]),
        cap=caps,
    )


@st.composite
def votings(draw, caps=CAPS, weights=WEIGHTS, voters=8):
    """Rules, one ballot a voter in whole units, the eligible weight, and the size of a unit."""
    cast = draw(st.lists(st.tuples(st.sampled_from(CHOICES), weights), max_size=voters))
    ballots = [(f"v{i}", choice, weight) for i, (choice, weight) in enumerate(cast)]
    eligible = sum(weight for _, _, weight in ballots) + draw(weights)
    return draw(rules(caps)), ballots, eligible, draw(st.integers(0, 60))


@st.composite
def approved_votings(draw):
    """A voting without a cap that just or easily passes, and the weight of one more voter."""
    cast = draw(st.lists(st.tuples(st.sampled_from(CHOICES), WEIGHTS), max_size=8))
    cast.append(("for", draw(WEIGHTS.map(lambda weight: weight + 1))))
    ballots = [(f"v{i}", choice, weight) for i, (choice, weight) in enumerate(cast)]
    weight = draw(WEIGHTS)
    eligible = sum(w for _, _, w in ballots) + weight + draw(WEIGHTS)
    took_part = sum(w for _, _, w in ballots)
    for_, against = (sum(w for _, c, w in ballots if c == choice) for choice in CHOICES[:2])
    quorum = draw(st.integers(0, 1000 * took_part // eligible))
    approval = draw(st.integers(0, 1000 * for_ // (for_ + against)))
    tie_passes = 1000 * for_ == approval * (for_ + against) or draw(st.booleans())
    yes_voters = sum(choice == "for" for _, choice, _ in ballots)
    least = draw(st.integers(0, yes_voters))
    return Rules(quorum, approval, tie_passes, least, cap=None), ballots, eligible, weight


def outcome(rules, ballots, eligible, places=0):
    def decimal(weight):
        return to_decimal_string(Fraction(weight, 10**places))

    exact = [(voter, choice, decimal(weight)) for voter, choice, weight in ballots]
    return decide(count(exact, decimal(eligible)), rules.thresholds).outcome


@settings(max_examples=400, deadline=None)
@given(votings())
def test_inv_13_the_decision_is_the_models(voting):
    rules, ballots, eligible, places = voting
    assert outcome(rules, ballots, eligible, places) == model(rules, ballots, eligible)


@settings(max_examples=200, deadline=None)
@given(st.data(), rules(), st.integers(1, 10**20), st.integers(1, 999))
def test_inv_14_a_tie_built_on_purpose_follows_tie_passes(data, rules, unit, approval):
    for_, against = approval * unit, (1000 - approval) * unit
    thresholds = Thresholds(0, Fraction(approval, 1000), tie_passes=rules.tie_passes)
    abstain = data.draw(st.integers(0, 10**20))
    eligible = for_ + against + abstain
    outcomes = [
        decide(Totals(for_ + step, against, abstain, eligible, 1, for_ + step), thresholds).outcome
        for step in (-1, 0, 1)
    ]
    assert outcomes == ["rejected", "approved" if rules.tie_passes else "rejected", "approved"]


@settings(deadline=None)
@given(votings(), st.randoms(use_true_random=False))
def test_inv_11_the_order_of_ballots_does_not_matter(voting, random):
    rules, ballots, eligible, places = voting
    shuffled = random.sample(ballots, len(ballots))
    assert outcome(rules, shuffled, eligible, places) == outcome(rules, ballots, eligible, places)


@settings(deadline=None)
@given(votings(), st.randoms(use_true_random=False))
def test_inv_11_repeating_ballots_and_overridden_ones_do_not_matter(voting, random):
    rules, ballots, eligible, places = voting
    earlier = [(voter, random.choice(CHOICES), weight) for voter, _, weight in ballots]
    repeated = earlier + ballots + random.sample(ballots, len(ballots) // 2)
    assert outcome(rules, repeated, eligible, places) == outcome(rules, ballots, eligible, places)


@settings(deadline=None)
@given(votings(), st.fractions(min_value="0.001", max_value=10**30))
def test_inv_19_scaling_every_weight_changes_nothing(voting, factor):
    rules, ballots, eligible, _ = voting
    scaled = [(voter, choice, weight * factor) for voter, choice, weight in ballots]
    decision = decide(count(scaled, eligible * factor), rules.thresholds)
    assert decision.outcome == outcome(rules, ballots, eligible)


@settings(deadline=None)
@given(votings(caps=st.none()), st.data())
def test_inv_19_splitting_a_voter_in_two_halves_changes_nothing(voting, data):
    rules, ballots, eligible, places = voting
    assume(ballots)
    # Rules that count heads or look at one head see two people where there was one.
    rules = Rules(rules.quorum, rules.approval, rules.tie_passes, min_yes_voters=0, cap=None)
    voter, choice, weight = ballots[data.draw(st.integers(0, len(ballots) - 1))]
    rest = [ballot for ballot in ballots if ballot[0] != voter]
    halves = [(f"{voter}.{n}", choice, Fraction(weight, 2)) for n in (1, 2)]
    split = decide(count([*rest, *halves], eligible), rules.thresholds)
    assert split.outcome == outcome(rules, ballots, eligible, places)


@settings(deadline=None)
@given(approved_votings(), st.integers(0, 60))
def test_inv_18_a_further_ballot_for_never_turns_approved_into_rejected(voting, places):
    rules, ballots, eligible, weight = voting
    assert outcome(rules, ballots, eligible, places) == "approved"
    more = [*ballots, ("new", "for", weight)]
    assert outcome(rules, more, eligible, places) == "approved"


@settings(deadline=None)
@given(votings(), st.integers(1, 999), WEIGHTS)
def test_one_ballot_for_can_break_the_share_cap_alone(voting, cap, weight):
    _, ballots, eligible, _ = voting
    thresholds = Thresholds(0, 0, min_yes_voters=0, max_yes_share=Fraction(cap, 1000))
    before = decide(count(ballots, eligible + weight), thresholds)
    after = decide(count([*ballots, ("new", "for", weight)], eligible + weight), thresholds)
    if before.approved and not after.approved:
        assert [check.name for check in after.failed] == ["single_share"]


@settings(deadline=None)
@given(votings(), WEIGHTS)
def test_inv_18_a_further_ballot_against_never_approves_what_met_quorum(voting, weight):
    rules, ballots, eligible, _ = voting
    assume(rules.approval > 0)
    before = decide(count(ballots, eligible + weight), rules.thresholds)
    assume(not before.approved and before.checks[0].held)
    after = decide(
        count([*ballots, ("new", "against", weight)], eligible + weight), rules.thresholds
    )
    assert after.outcome == "rejected"


@settings(deadline=None)
@given(votings(), WEIGHTS)
def test_inv_16_abstaining_moves_participation_and_nothing_else(voting, weight):
    rules, ballots, eligible, _ = voting
    before = decide(count(ballots, eligible + weight), rules.thresholds)
    after = decide(
        count([*ballots, ("new", "abstain", weight)], eligible + weight), rules.thresholds
    )
    assert after.checks[1:] == before.checks[1:]
    assert after.checks[0].value.whole == before.checks[0].value.whole
    assert after.checks[0].value.part == before.checks[0].value.part + weight
    assert after.checks[0].held >= before.checks[0].held


@settings(deadline=None)
@given(votings())
def test_approved_means_that_every_check_held_and_each_says_so(voting):
    rules, ballots, eligible, _ = voting
    decision = decide(count(ballots, eligible), rules.thresholds)
    assert decision.approved == all(check.held for check in decision.checks)
    for check in decision.checks:
        assert check.explanation.endswith(": met" if check.held else ": not met")
        assert check.to_json()["held"] is check.held


@pytest.mark.parametrize("weight", [10**59 + 1, 10**99 + 1])
def test_inv_12_one_unit_in_the_last_of_many_digits_decides(weight):
    half = Thresholds(0, "0.5", tie_passes=False)
    assert decide(Totals(weight, weight - 1, 0, weight * 2, 1, weight), half).outcome == "approved"
    assert decide(Totals(weight, weight, 0, weight * 2, 1, weight), half).outcome == "rejected"
