"""INV-27, INV-41: the gates between approval and the timelock, each at its edge."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_core.enforcement.gates import Gates, Review
from forge_core.proposals.tracks import Track, terms_for
from forge_core.wiring import CATALOGUE

TERMS = terms_for(Track.PROTECTED, CATALOGUE.with_defaults({}))
YES = ("v1", "v2", "v3", "v4", "v5")

weights = st.integers(0, 2_000).map(lambda hundredths: Fraction(hundredths, 100))
shares = st.integers(50, 100).map(lambda percent: Fraction(percent, 100))


def reviews(approving, rejecting=()):
    """Reviews by r1, r2, … of these weights."""
    answers = [*((True, weight) for weight in approving), *((False, w) for w in rejecting)]
    return tuple(
        Review(f"r{number}", approves, Fraction(weight))
        for number, (approves, weight) in enumerate(answers, start=1)
    )


def gates(given, *, yes=YES, signed=YES, **terms):
    return Gates(dataclasses.replace(TERMS, **terms), given, yes, frozenset(signed))


def missing(found):
    problem = found.problem()
    return None if problem is None else problem.code


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, "INSUFFICIENT_REVIEWERS"), (4, "INSUFFICIENT_REVIEWERS"), (5, None), (6, None)],
)
def test_five_reviewers_have_to_answer(count, code):
    found = gates(reviews([3] * count))
    assert missing(found) == code
    if code:
        assert found.problem().message == f"{count} of 5 reviewers have reviewed the code"


@pytest.mark.parametrize(
    ("approving", "rejecting", "code"),
    [
        ([33, 11, 11, 11], [34], None),  # 66 of 100, exactly
        (["32.9", 11, 11, 11], ["34.1"], "CODE_REVIEW_REJECTED"),
        ([33, 11, 11, 11], ["34." + "0" * 60 + "1"], "CODE_REVIEW_REJECTED"),
        (["33." + "0" * 60 + "1", 11, 11, 11], [34], None),
        ([1, 1, 1, 1], [2], None),  # 4/6 is more than 0.66 …
        ([1, 1, 1], [1, 1], "CODE_REVIEW_REJECTED"),  # … and 3/5 less
        ([5, 5, 5], [5, 3], "CODE_REVIEW_REJECTED"),  # 15/23
        ([5, 5, 5], [3, 3], None),  # 15/21
        ([], [1, 1, 1, 1, 1], "CODE_REVIEW_REJECTED"),
    ],
)
def test_two_thirds_of_the_reviewing_weight_approve(approving, rejecting, code):
    assert missing(gates(reviews(approving, rejecting))) == code


@pytest.mark.parametrize(("share", "code"), [("0.667", "CODE_REVIEW_REJECTED"), ("0.66", None)])
def test_inv_12_four_of_six_is_not_0_667(share, code):
    found = gates(reviews([1, 1, 1, 1], [1, 1]), review_approval=Fraction(share))
    assert missing(found) == code


@settings(deadline=None)
@given(st.lists(weights, min_size=1, max_size=7), st.lists(weights, max_size=7), shares)
def test_inv_13_the_share_is_compared_by_cross_multiplying(approving, rejecting, share):
    found = gates(reviews(approving, rejecting), reviewers=1, review_approval=share, yes=YES)
    part, whole = sum(approving), sum(approving) + sum(rejecting)
    enough = whole > 0 and part * share.denominator >= share.numerator * whole
    assert found.approving == (part, whole)
    assert missing(found) == (None if enough else "CODE_REVIEW_REJECTED")


@settings(deadline=None)
@given(st.lists(weights, min_size=5, max_size=9), st.lists(weights, max_size=4), weights)
def test_inv_18_one_more_approval_never_closes_the_gate(approving, rejecting, more):
    before = missing(gates(reviews(approving, rejecting)))
    after = missing(gates(reviews([*approving, more], rejecting)))
    assert after is None or before == after == "CODE_REVIEW_REJECTED"


@settings(deadline=None)
@given(
    st.lists(weights, max_size=8),
    st.lists(weights, max_size=8),
    st.integers(1, 10_000).map(lambda hundredths: Fraction(hundredths, 100)),
)
def test_inv_19_the_scale_of_the_weights_does_not_matter(approving, rejecting, factor):
    one = gates(reviews(approving, rejecting))
    other = gates(reviews([w * factor for w in approving], [w * factor for w in rejecting]))
    assert missing(one) == missing(other)


@pytest.mark.parametrize(
    ("approving", "rejecting"), [([], [0] * 5), ([0] * 5, []), ([0] * 4, [0]), ([0], [0] * 4)]
)
def test_inv_15_reviews_without_any_weight_approve_nothing(approving, rejecting):
    assert missing(gates(reviews(approving, rejecting))) == "CODE_REVIEW_REJECTED"


def test_a_reviewer_without_weight_counts_as_one_who_answered():
    assert missing(gates(reviews([1, 0, 0, 0, 0]))) is None
    assert missing(gates(reviews([1, 0, 0], [0, 0]))) is None


@pytest.mark.parametrize(
    ("voters", "needed"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)]
)
def test_half_of_the_yes_voters_sign_off_rounded_up_and_at_least_one(voters, needed):
    yes = tuple(f"v{number}" for number in range(voters))
    assert gates((), yes=yes).sign_offs_needed == needed
    short = gates(reviews([1] * 5), yes=yes, signed=yes[: needed - 1])
    assert missing(short) == "IMPLEMENTATION_NOT_APPROVED"
    assert (
        short.problem().message == f"{needed - 1} of {needed} sign-offs by its yes-voters are there"
    )
    if voters:
        assert missing(gates(reviews([1] * 5), yes=yes, signed=yes[:needed])) is None


@pytest.mark.parametrize(
    ("share", "voters", "needed"),
    [
        ("0", 5, 1),
        ("1", 5, 5),
        ("0.2", 5, 1),
        ("0.2" + "0" * 50 + "1", 5, 2),
        ("0.29", 100, 29),  # as a binary float it would be 28.999…96
        ("0.07", 100, 7),  # and this one 7.000…01
    ],
)
def test_inv_12_the_share_that_signs_off_is_exact(share, voters, needed):
    yes = tuple(f"v{number:03}" for number in range(voters))
    assert gates((), yes=yes, sign_off=Fraction(share)).sign_offs_needed == needed


def test_without_yes_voters_nobody_can_sign_off():
    assert missing(gates(reviews([1] * 5), yes=(), signed=())) == "IMPLEMENTATION_NOT_APPROVED"


def test_what_is_missing_first_is_named_first():
    assert missing(gates((), signed=())) == "INSUFFICIENT_REVIEWERS"
    assert missing(gates(reviews([], [1] * 5), signed=())) == "CODE_REVIEW_REJECTED"
    assert missing(gates(reviews([1] * 5), signed=())) == "IMPLEMENTATION_NOT_APPROVED"


@pytest.mark.parametrize("track", [Track.ROUTINE, Track.EMERGENCY])
def test_a_track_without_gates_misses_nothing(track):
    terms = terms_for(track, CATALOGUE.with_defaults({}))
    assert not terms.gated
    for given_, yes in (((), ()), (reviews([], [1] * 5), YES)):
        found = Gates(terms, given_, yes, frozenset())
        assert (found.problem(), found.sign_offs_needed) == (None, 0)


def test_each_gate_stands_without_the_other():
    unsigned = gates(reviews([1] * 5), signed=(), sign_off=None)
    assert missing(unsigned) is None
    assert missing(dataclasses.replace(unsigned, reviews=())) == "INSUFFICIENT_REVIEWERS"
    unreviewed = gates((), reviewers=None, review_approval=None)
    assert missing(unreviewed) is None
    only_signed = dataclasses.replace(unreviewed, signed=frozenset())
    assert missing(only_signed) == "IMPLEMENTATION_NOT_APPROVED"


def test_inv_41_the_only_voter_is_not_the_only_reviewer_too():
    alone = (Review("v1", approves=True, weight=Fraction(3)),)
    one = {"reviewers": 1, "yes": ("v1",), "signed": ("v1",)}
    assert missing(gates(alone, **one)) == "INSUFFICIENT_REVIEWERS"
    assert "only" in gates(alone, **one).problem().message
    # A second reviewer who rejects, and too light to matter, does not make it two who approve.
    rejecting = Review("r2", approves=False, weight=Fraction(1))
    assert missing(gates((*alone, rejecting), **one)) == "INSUFFICIENT_REVIEWERS"


@pytest.mark.parametrize(
    ("reviewers", "yes"),
    [
        (["v1", "r2"], ("v1",)),
        (["v1"], ("v1", "v2")),
        (["r2"], ("v1",)),
        (["v1", "v2"], ("v1", "v2")),
    ],
)
def test_inv_41_two_people_are_enough(reviewers, yes):
    given_ = tuple(Review(member, approves=True, weight=Fraction(1)) for member in reviewers)
    assert missing(gates(given_, reviewers=1, yes=yes, signed=yes)) is None


def test_the_gates_say_what_is_open_and_with_whom():
    found = gates(reviews([3, "2.5"], [1]), signed=("v2", "v4"))
    shown = found.to_json(able=["r9", "r1", "r8", "r3"])
    assert shown == {
        "complete": False,
        "missing": [
            {
                "code": "INSUFFICIENT_REVIEWERS",
                "message": "3 of 5 reviewers have reviewed the code",
            },
            {
                "code": "IMPLEMENTATION_NOT_APPROVED",
                "message": "2 of 3 sign-offs by its yes-voters are there",
            },
        ],
        "reviews": {
            "given": [
                {"member": review.member, "approves": approves, "weight": weight, "comment": None}
                for review, approves, weight in zip(
                    found.reviews, (True, True, False), ("3", "2.5", "1"), strict=True
                )
            ],
            "needed": 5,
            "approving_weight": "5.5",
            "weight": "6.5",
            "open": ["r3", "r8", "r9"],
        },
        "sign_offs": {"given": ["v2", "v4"], "needed": 3, "open": ["v1", "v3", "v5"]},
    }
    assert json.loads(json.dumps(shown)) == shown
    complete = gates(reviews([1] * 5)).to_json(able=[])
    assert (complete["complete"], complete["missing"]) == (True, [])
