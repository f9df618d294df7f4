"""INV-40: after a change somebody can still propose, reach every threshold, review and sign off.

The guard counts; the oracle below tries every proposer, every set of yes-voters and every set of
reviewers with the very rules that decide a voting and open the gates.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.actions.self_brick import _problem, refuse_to_brick
from forge_core.enforcement.gates import Gates, Review
from forge_core.errors import Refused
from forge_core.exact import parse_decimal
from forge_core.members.census import Census
from forge_core.members.levels import TrustLevel, can_access
from forge_core.proposals.tracks import Track, terms_for
from forge_core.voting.tally import Thresholds, Totals, decide
from forge_core.wiring import CATALOGUE

CORE, TRUSTED, STANDARD, SANDBOX = list(TrustLevel)[:4]
PRESENT = CATALOGUE.with_defaults({})
PROPOSES = {"routine": TRUSTED, "protected": CORE, "emergency": CORE}


def census(members, reviewers=()):
    """By level in falling order of trust, such as [2, 3] for two CORE and three TRUSTED."""
    return Census(dict(zip(TrustLevel, members)), dict(zip(TrustLevel, reviewers)))  # noqa: B905


def problem(track, members, reviewers=(), /, **changed):
    values = {**PRESENT, **{f"track.{track}.{name}": value for name, value in changed.items()}}
    return _problem(track, census(members, reviewers), values)


# Five equal voters hold 20 % each; six reviewers leave five beside the proposer.
LEAST = ([6], [6])


@pytest.mark.parametrize("track", list(Track))
def test_a_house_without_members_governs_nothing(track):
    assert "no member has the trust" in problem(track, [])
    assert "no member has the trust" in problem(track, [0, 0, 9, 9], [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("track", "members", "able"),
    [
        ("routine", [0, 1], True),
        ("routine", [1], True),
        ("routine", [0, 0, 100], False),
        ("emergency", [0, 5], False),
        ("emergency", [1, 5], True),
        ("emergency", [5], True),
        ("emergency", [4], False),
    ],
)
def test_who_could_propose(track, members, able):
    assert (problem(track, members) is None) is able


@pytest.mark.parametrize(
    ("members", "reviewers", "says"),
    [
        ([6], [6], None),
        ([6], [5], None),  # the sixth proposes
        ([5], [5], "4 reviewers beside the proposer; 5 are needed"),  # one of the five proposes
        ([6], [4], "4 reviewers beside the proposer; 5 are needed"),
        ([1, 5], [1, 4], "4 reviewers beside the proposer"),
        ([1, 5], [1, 5], None),
        ([1, 5], [0, 5], None),
        ([2, 5], [1, 4], None),
        ([6, 0, 9], [4, 0, 9], "4 reviewers beside the proposer"),  # STANDARD does not review
    ],
)
def test_five_reviewers_beside_the_proposer(members, reviewers, says):
    found = problem("protected", members, reviewers)
    assert found is None if says is None else says in found


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([5], None),
        ([4], "4 members with weight could not make 5 yes-voters of whom none holds more than 0.2"),
        # Four of weight 5 and one of 0.5 are five voters, but 5 of 20.5 is more than 20 %.
        ([4, 0, 0, 1], "5 members with weight could not make 5 yes-voters of whom none holds more"),
        ([4, 0, 0, 10], None),  # 5 of 25
        ([4, 0, 0, 9], None),  # the nine light ones alone hold a ninth each
        ([4, 0, 0, 4], "8 members with weight could not make 5"),  # 5 of 22
        ([1, 0, 0, 5], None),  # the one of CORE abstains
        ([1, 4], "5 members with weight could not make 5"),
        ([1, 5], None),
    ],
)
def test_five_yes_voters_of_whom_none_holds_more_than_a_fifth(members, says):
    found = problem("emergency", members)
    assert found is None if says is None else says in found


def test_a_member_without_weight_votes_for_nothing():
    weightless = {**PRESENT, "trust.weight.SANDBOX": "0"}
    assert _problem("emergency", census([4, 0, 0, 10]), PRESENT) is None
    assert "4 members with weight" in _problem("emergency", census([4, 0, 0, 10]), weightless)


def test_reviewers_without_any_weight_review_nothing():
    """The guard holds the review to what the gate asks of it."""
    weightless = {**PRESENT, "trust.weight.TRUSTED": "0"}
    assert _problem("protected", census([6, 6], [0, 6]), PRESENT) is None
    assert "weight among them" in _problem("protected", census([6, 6], [0, 6]), weightless)
    assert "weight among them" in _problem("protected", census([1, 6, 6], [1, 6]), weightless)
    assert _problem("protected", census([2, 6, 6], [1, 6]), weightless) is None


@pytest.mark.parametrize(
    ("name", "possible", "impossible"),
    [
        ("min_yes_voters", 6, 7),
        ("reviewers", 5, 6),
        ("max_yes_share", "0.17", "0.16"),  # a sixth
    ],
)
def test_each_threshold_is_held_to_what_the_house_can_reach(name, possible, impossible):
    assert problem("protected", *LEAST, **{name: possible}) is None
    assert problem("protected", *LEAST, **{name: impossible}) is not None


def test_a_change_that_bricks_a_track_is_refused():
    before, after = census(*LEAST), census([5], [5])
    refuse_to_brick(before, PRESENT, before, PRESENT)
    with pytest.raises(Refused, match="nobody could govern on the protected track: 4 rev") as no:
        refuse_to_brick(before, PRESENT, after, PRESENT)
    assert no.value.code == "SELF_BRICK"
    refuse_to_brick(after, PRESENT, after, PRESENT)


def test_what_was_impossible_before_is_no_reason_to_refuse():
    """A house too small for one track still changes what the other tracks allow."""
    refuse_to_brick(census([3]), PRESENT, census([2]), PRESENT)
    refuse_to_brick(census([3]), PRESENT, census(*LEAST), PRESENT)
    with pytest.raises(Refused, match="routine"):
        refuse_to_brick(census([1]), PRESENT, census([0, 0, 1]), PRESENT)


def test_members_and_values_are_judged_together():
    """One proposal may take a seat and lower a threshold: the outcome decides."""
    eased = {**PRESENT, "track.protected.reviewers": 4}
    refuse_to_brick(census(*LEAST), PRESENT, census([5], [5]), eased)
    with pytest.raises(Refused, match="SELF_BRICK"):
        refuse_to_brick(census([5], [5]), eased, census([5], [5]), PRESENT)


def test_quarantine_leaves_the_census_and_a_role_enters_it():
    before = census([2, 3], [1, 2])
    lowered = before.moved(CORE, TrustLevel.QUARANTINE, frozenset({"reviewer"}))
    assert lowered == census([1, 3], [0, 2])
    assert before.moved(TRUSTED, CORE, frozenset({"guardian"})) == census([3, 2], [1, 2])
    assert lowered.moved(TrustLevel.QUARANTINE, TRUSTED, frozenset({"reviewer"})) == census(
        [1, 4], [0, 3]
    )
    assert before.with_reviewers(TRUSTED, 1) == census([2, 3], [1, 3])
    assert (before.at_least(TRUSTED), before.able_reviewers()) == (5, 3)


def subsets(members):
    return chain.from_iterable(combinations(members, n) for n in range(len(members) + 1))


def governable(track, house, values):
    """Whether anybody could bring a proposal through, by trying all that they could do."""
    terms = terms_for(Track(track), values)
    thresholds = Thresholds.of(terms)
    weight = {i: parse_decimal(values[f"trust.weight.{level}"]) for i, (level, _) in house.items()}

    def passes(yes):
        """Everybody else abstains: the quorum is full, and nobody is against."""
        heaviest = max((weight[i] for i in yes), default=0)
        for_ = sum(weight[i] for i in yes)
        rest = sum(weight.values()) - for_
        totals = Totals(for_, 0, rest, for_ + rest, len(yes), heaviest)
        return decide(totals, thresholds).approved

    def opens(yes, reviewers):
        reviews = tuple(Review(str(i), approves=True, weight=weight[i]) for i in reviewers)
        signed = tuple(str(i) for i in yes)
        return Gates(terms, reviews, signed, frozenset(signed)).problem() is None

    able = [i for i, (level, reviews) in house.items() if reviews and can_access(level, TRUSTED)]
    approved = [yes for yes in subsets([i for i in house if weight[i] > 0]) if passes(yes)]
    return any(
        opens(yes, reviewers)
        for proposer, (level, _) in house.items()
        if can_access(level, PROPOSES[track])
        for reviewers in subsets([i for i in able if i != proposer])
        for yes in approved
    )


@st.composite
def houses(draw):
    """A few members, each with a level and perhaps the role of reviewer."""
    levels = st.sampled_from([CORE, TRUSTED, CORE, TRUSTED, STANDARD, SANDBOX])
    member = st.tuples(levels, st.sampled_from([True, True, False]))
    size = draw(st.sampled_from([5, 4, 5, 3, 2, 1, 0]))
    return dict(enumerate(draw(st.lists(member, min_size=size, max_size=size))))


@st.composite
def rules(draw, track):
    """Legal values of every rule that decides whether a vote and its gates can succeed."""
    drawn = {f"trust.weight.{level}": st.sampled_from(["1", "0", "1", "3"]) for level in TrustLevel}
    drawn["trust.weight.QUARANTINE"] = st.just("0")
    of_track = {
        "quorum": st.sampled_from(["0", "0.3", "1"]),
        "approval": st.sampled_from(["0.51", "0.66", "0.9"]),
        "tie_passes": st.booleans(),
        "min_yes_voters": st.sampled_from([1, 2, 5] if track == "routine" else [2, 2, 2, 4]),
    }
    if track != "routine":
        of_track["max_yes_share"] = st.sampled_from(["0.5", "1", "0.6", "1", "0.34", "0.25"])
    if track == "protected":
        of_track["reviewers"] = st.sampled_from([1, 1, 1, 2])
        of_track["review_approval"] = st.sampled_from(["0.51", "0.66", "1"])
        of_track["sign_off"] = st.sampled_from(["0", "0.5", "1"])
    drawn |= {f"track.{track}.{name}": strategy for name, strategy in of_track.items()}
    values = draw(st.fixed_dictionaries(drawn))
    return {**PRESENT, **{key: CATALOGUE.get(key).check(value) for key, value in values.items()}}


def counted(house):
    return Census(
        Counter(level for level, _ in house.values()),
        Counter(level for level, reviews in house.values() if reviews),
    )


@pytest.mark.parametrize("track", list(Track))
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_guard_finds_a_way_exactly_where_there_is_one(track, data):
    house, values = data.draw(houses()), data.draw(rules(track))
    assert (_problem(track, counted(house), values) is None) == governable(track, house, values)


@settings(max_examples=60, deadline=None)
@given(houses(), houses(), st.data())
def test_a_change_is_refused_exactly_when_a_track_is_lost(before, after, data):
    old, new = ({**PRESENT, **data.draw(rules("protected"))} for _ in range(2))
    lost = [
        track
        for track in Track
        if governable(track, before, old) and not governable(track, after, new)
    ]
    if not lost:
        refuse_to_brick(counted(before), old, counted(after), new)
        return
    with pytest.raises(Refused, match=f"nobody could govern on the {lost[0]} track"):
        refuse_to_brick(counted(before), old, counted(after), new)
