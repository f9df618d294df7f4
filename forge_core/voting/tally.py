"""The decision over a voting's totals: pure, exact, and explaining itself.

Needs no database. Every comparison is made by cross-multiplying whole numbers (INV-12, INV-13).

    >>> totals = Totals(for_=7, against=3, abstain="0.5", eligible=30, yes_voters=4, largest_yes=3)
    >>> decide(totals, Thresholds(quorum="0.3", approval="0.5")).outcome
    'approved'
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from forge_core.errors import Refused
from forge_core.exact import parse_decimal, rounded, to_decimal_string
from forge_core.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge_core.proposals.tracks import Terms

Number = int | Fraction
Weight = int | str | Decimal | Fraction
"""An exact number; a text is a decimal such as "12.5". Floats are refused."""

Outcome = Literal["approved", "rejected"]

_WEIGHTS: Final = ("for_", "against", "abstain", "eligible", "largest_yes")
_SHARES: Final = ("quorum", "approval", "max_yes_share")
_MOST_DIGITS: Final = 4_000


def _exact(name: str, value: object) -> Number:
    """Raise ``Refused`` NUMBER_INVALID or NUMBER_NEGATIVE unless ``value`` is exact and ≥ 0."""
    if isinstance(value, (str, Decimal)):
        value = parse_decimal(value, name=name, most_digits=_MOST_DIGITS)
    if isinstance(value, bool) or not isinstance(value, (int, Fraction)):
        raise Refused(
            "NUMBER_INVALID",
            f"{name} must be a whole number, a decimal text or a Fraction, not {shown(value)}",
        )
    if value.numerator < 0:
        raise Refused("NUMBER_NEGATIVE", f"{name} is negative; weights and counts never are")
    return value if value.denominator > 1 else value.numerator


def _count(name: str, value: object) -> int:
    if type(value) is not int:
        raise Refused("NUMBER_INVALID", f"{name} must be a whole number, not {shown(value)}")
    if value < 0:
        raise Refused("NUMBER_NEGATIVE", f"{name} is negative; weights and counts never are")
    return value


@dataclass(frozen=True, slots=True)
class Totals:
    """What was cast.

    ``largest_yes`` is the heaviest single holding, own plus delegated, among the ``yes_voters``
    members who cast their ballot in person.

    Raises ``Refused`` NUMBER_INVALID, NUMBER_NEGATIVE, TOTALS_INCONSISTENT.
    """

    for_: Weight
    against: Weight
    abstain: Weight
    eligible: Weight
    yes_voters: int
    largest_yes: Weight

    def __post_init__(self) -> None:
        for name in _WEIGHTS:
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                object.__setattr__(self, name, _exact(name, value))
        _count("yes_voters", self.yes_voters)
        largest, for_ = _exactly(self.largest_yes), _exactly(self.for_)
        if largest.numerator * for_.denominator > for_.numerator * largest.denominator:
            raise Refused("TOTALS_INCONSISTENT", "largest_yes is more than the whole weight for")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is required; shares are fractions of one.

    Raises ``Refused`` NUMBER_INVALID, NUMBER_NEGATIVE, VALUE_TYPE, VALUE_OUT_OF_RANGE.
    """

    quorum: Weight
    approval: Weight
    tie_passes: bool = True
    min_yes_voters: int = 1
    max_yes_share: Weight | None = None

    def __post_init__(self) -> None:
        for name in _SHARES:
            value = getattr(self, name)
            if value is None and name == "max_yes_share":
                continue
            share = _exact(name, value)
            if share > 1:
                raise Refused("VALUE_OUT_OF_RANGE", f"{name} is {share}; a share is 0 to 1")
            object.__setattr__(self, name, Fraction(share))
        _count("min_yes_voters", self.min_yes_voters)
        if not isinstance(self.tie_passes, bool):
            raise Refused(
                "VALUE_TYPE", f"tie_passes is {shown(self.tie_passes)}, not true or false"
            )

    @classmethod
    def of(cls, terms: Terms) -> Thresholds:
        """The part of a proposal's frozen terms that the decision reads."""
        return cls(
            quorum=terms.quorum,
            approval=terms.approval,
            tie_passes=terms.tie_passes,
            min_yes_voters=terms.min_yes_voters,
            max_yes_share=terms.max_yes_share,
        )


class Ratio(NamedTuple):
    """``part`` of ``whole``, kept as counted. A whole of zero is a legal, unmet ratio."""

    part: Number
    whole: Number

    def __str__(self) -> str:
        return f"{_plain(self.part)} of {_plain(self.whole)}"


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement: what was found, what was needed, whether it held."""

    name: str
    value: Ratio | int
    comparison: Literal[">=", ">", "<="]
    requirement: Number
    held: bool

    @property
    def explanation(self) -> str:
        """One sentence for people; its ratios are rounded, the comparison was not."""
        found = str(self.value)
        if isinstance(self.value, Ratio):
            share = rounded(*self.value) if self.value.whole else "no share at all"
            found = f"{found} = {share}"
        return (
            f"{_MEANINGS[self.name]}: {found}; required {self.comparison} "
            f"{_plain(self.requirement)}: {'met' if self.held else 'not met'}"
        )

    def to_json(self) -> dict[str, Any]:
        """Exact values as text: a ratio as "a/b" in whole numbers (``None`` when b is zero)."""
        value: str | int | None = self.value if isinstance(self.value, int) else None
        about: str | None = None
        if isinstance(self.value, Ratio) and self.value.whole:
            exact = Fraction(self.value.part) / Fraction(self.value.whole)
            value, about = f"{exact.numerator}/{exact.denominator}", rounded(*self.value)
        return {
            "name": self.name,
            "value": value,
            "rounded": about,
            "comparison": self.comparison,
            "requirement": _plain(self.requirement),
            "held": self.held,
            "explanation": self.explanation,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome and every check behind it. Approved means that all of them held."""

    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def approved(self) -> bool:
        """Whether the outcome is "approved"."""
        return self.outcome == "approved"

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not hold."""
        return tuple(check for check in self.checks if not check.held)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"outcome": self.outcome, "checks": [check.to_json() for check in self.checks]}


_MEANINGS: Final = {
    "quorum": "taking part (for + against + abstain) of the eligible weight",
    "approval": "for, of what was decided (for + against)",
    "yes_voters": "distinct members who voted for",
    "single_share": "largest single holding of the weight for",
}


def decide(totals: Totals, thresholds: Thresholds) -> Decision:
    """Decide, exactly. Zero eligible weight, no ballots or only abstentions never approve.

    Abstentions move participation only (INV-16); exactly the approval share passes where
    ``tie_passes`` (INV-14). A further ballot for can break ``single_share``, nothing else.
    Raises ``Refused`` TOTALS_INCONSISTENT when a share cap meets totals that cannot be.
    """
    weights: tuple[Any, ...] = (totals.for_, totals.against, totals.abstain, totals.eligible)
    scale = 1
    if any(type(weight) is not int for weight in weights):
        scale = lcm(*(weight.denominator for weight in weights))
        weights = tuple(weight.numerator * (scale // weight.denominator) for weight in weights)
    for_, against, abstain, eligible = weights
    decided = for_ + against
    cast = decided + abstain

    quorum: Any = thresholds.quorum
    took_part = eligible > 0 and cast * quorum.denominator >= quorum.numerator * eligible
    approval: Any = thresholds.approval
    lead = for_ * approval.denominator - approval.numerator * decided
    passes = lead >= 0 if thresholds.tie_passes else lead > 0

    checks = [
        Check(
            "quorum",
            Ratio(_unscaled(cast, scale), _exactly(totals.eligible)),
            ">=",
            quorum,
            took_part,
        ),
        Check(
            "approval",
            Ratio(_exactly(totals.for_), _unscaled(decided, scale)),
            ">=" if thresholds.tie_passes else ">",
            approval,
            decided > 0 and passes,
        ),
        Check(
            "yes_voters",
            totals.yes_voters,
            ">=",
            thresholds.min_yes_voters,
            totals.yes_voters >= thresholds.min_yes_voters,
        ),
    ]
    if thresholds.max_yes_share is not None:
        checks.append(_check_single_share(totals, thresholds.max_yes_share))
    return Decision("approved" if all(c.held for c in checks) else "rejected", tuple(checks))


def _check_single_share(totals: Totals, cap: Any) -> Check:
    largest: Any = totals.largest_yes
    total: Any = totals.for_
    if largest * totals.yes_voters < total:
        raise Refused(
            "TOTALS_INCONSISTENT",
            f"{totals.yes_voters} members of at most largest_yes each cannot make the weight for",
        )
    # No weight for at all: nobody holds too much of it, and ``approval`` has failed already.
    held = largest * cap.denominator <= cap.numerator * total
    return Check("single_share", Ratio(largest, total), "<=", cap, held)


Choice = Literal["for", "against", "abstain"]


def count(ballots: Iterable[tuple[str, Choice, Weight]], eligible: Weight) -> Totals:
    """Add up (voter, choice, weight); of a voter's several ballots the last one counts.

    Raises ``Refused`` CHOICE_UNKNOWN, NUMBER_INVALID, NUMBER_NEGATIVE.
    """
    effective = {voter: (choice, weight) for voter, choice, weight in ballots}
    sums: dict[str, Number] = {"for": 0, "against": 0, "abstain": 0}
    yes_voters = 0
    largest: Number = 0
    for choice, given in effective.values():
        weight = _exact("weight", given)
        if choice not in sums:
            raise Refused("CHOICE_UNKNOWN", f"{shown(choice)} is no choice; {', '.join(sums)} are")
        sums[choice] += weight
        if choice == "for":
            yes_voters += 1
            largest = max(largest, weight)
    return Totals(
        for_=sums["for"],
        against=sums["against"],
        abstain=sums["abstain"],
        eligible=eligible,
        yes_voters=yes_voters,
        largest_yes=largest,
    )


def _unscaled(scaled: int, scale: int) -> Number:
    return scaled if scale == 1 else Fraction(scaled, scale)


def _exactly(weight: Weight) -> Number:
    return weight  # type: ignore[return-value]  # Totals holds exact numbers only


def _plain(number: Number) -> str:
    try:
        return to_decimal_string(number)
    except ValueError:
        return f"{number.numerator}/{number.denominator}"
