"""How advice compares with what came of it: counts, and Brier scores."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from forge_core.advisory.analysis import Recommendation
from forge_core.advisory.calibration import Row, Told, brier, foretold, table

TOLD = st.builds(
    lambda source, recommendation, percent, approved, further, times: Told(
        source, recommendation, Fraction(percent, 100), approved, approved and further > 0,
        approved and further > 1, times,
    ),
    st.sampled_from(["rules", "model"]),
    st.sampled_from(Recommendation),
    st.integers(0, 100),
    st.booleans(),
    st.integers(0, 2),
    st.integers(1, 5),
)  # fmt: skip


def told(recommendation: str, confidence: int, *, approved: bool, times: int = 1) -> Told:
    return Told(
        "rules",
        Recommendation(recommendation),
        Fraction(confidence),
        approved,
        approved,
        False,
        times,
    )


def test_who_is_always_right_has_nothing_and_who_is_always_wrong_one() -> None:
    right = [told("support", 1, approved=True), told("oppose", 1, approved=False)]
    wrong = [told("support", 1, approved=False), told("oppose", 1, approved=True)]
    assert brier(right) == {"rules": 0}
    assert brier(wrong) == {"rules": 1}
    assert brier([told("neutral", 1, approved=True)]) == {"rules": Fraction(1, 4)}
    assert brier([]) == {}


def test_what_followed_is_counted() -> None:
    rows = table([told("oppose", 1, approved=False, times=3), told("support", 1, approved=True)])
    assert rows == [
        Row("rules", Recommendation.SUPPORT, 1, 1, 1, 0),
        Row("rules", Recommendation.OPPOSE, 3, 0, 0, 0),
    ]


@given(st.lists(TOLD))
def test_nothing_is_counted_twice_or_left_out(given_: list[Told]) -> None:
    rows = table(given_)
    assert sum(row.given for row in rows) == sum(one.times for one in given_)
    assert all(row.rolled_back <= row.executed <= row.approved <= row.given for row in rows)
    assert len({(row.source, row.recommendation) for row in rows}) == len(rows)
    for score in brier(given_).values():
        assert 0 <= score <= 1


@given(TOLD)
def test_a_forecast_is_a_probability(one: Told) -> None:
    assert 0 <= foretold(one) <= 1
