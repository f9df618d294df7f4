"""The gates between approval and the timelock: code review, and sign-off by the yes-voters. Pure.

Both explain themselves: what there is, what is needed, and from whom something is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

from forge_core.errors import Refused
from forge_core.exact import to_decimal_string
from forge_core.proposals.tracks import Terms


@dataclass(frozen=True)
class Review:
    """One reviewer's last word; ``weight`` is exact."""

    member: str
    approves: bool
    weight: Fraction


@dataclass(frozen=True)
class Gates:
    """Where a proposal stands before its timelock.

    ``yes_voters`` are the members whose own final ballot was for, in id order; ``signed`` those
    of them who signed off.
    """

    terms: Terms
    reviews: tuple[Review, ...]
    yes_voters: tuple[str, ...]
    signed: frozenset[str]

    def without(self, reviewers: Collection[str], voters: Collection[str]) -> Gates:
        """The same, as if these had neither reviewed nor voted for it."""
        yes_voters = tuple(member for member in self.yes_voters if member not in voters)
        return replace(
            self,
            reviews=tuple(review for review in self.reviews if review.member not in reviewers),
            yes_voters=yes_voters,
            signed=self.signed.intersection(yes_voters),
        )

    @property
    def approving(self) -> tuple[Fraction, Fraction]:
        """Approving weight, and the weight of all reviews."""
        total = sum((review.weight for review in self.reviews), Fraction(0))
        return sum((r.weight for r in self.reviews if r.approves), Fraction(0)), total

    @property
    def sign_offs_needed(self) -> int:
        """ceil(share of the yes-voters), at least one."""
        if self.terms.sign_off is None:
            return 0
        return max(1, ceil(self.terms.sign_off * len(self.yes_voters)))

    def problem(self) -> Refused | None:
        """What is still missing first; None when the gates are complete."""
        return self._review_problem() or self._sign_off_problem()

    def _review_problem(self) -> Refused | None:
        needed, share = self.terms.reviewers, self.terms.review_approval
        if needed is None:
            return None
        if len(self.reviews) < needed:
            return Refused(
                "INSUFFICIENT_REVIEWERS",
                f"{len(self.reviews)} of {needed} reviewers have reviewed the code",
            )
        approving, total = self.approving
        # Reviews without weight approve nothing, as ballots without weight do (INV-15).
        if share is not None and (total == 0 or approving < share * total):
            return Refused(
                "CODE_REVIEW_REJECTED",
                f"reviewers with {to_decimal_string(approving)} of {to_decimal_string(total)} "
                f"weight approve; {to_decimal_string(share * 100)} % is needed",
            )
        return self._alone({review.member for review in self.reviews if review.approves})

    def _alone(self, approving: Collection[str]) -> Refused | None:
        """One member cannot be both the only voter and the only reviewer (INV-41)."""
        if len(approving) == 1 and set(self.yes_voters) == set(approving):
            return Refused(
                "INSUFFICIENT_REVIEWERS", "the only reviewer is the only one who voted for it"
            )
        return None

    def _sign_off_problem(self) -> Refused | None:
        if len(self.signed) >= self.sign_offs_needed:
            return None
        return Refused(
            "IMPLEMENTATION_NOT_APPROVED",
            f"{len(self.signed)} of {self.sign_offs_needed} sign-offs by its yes-voters are there",
        )

    def to_json(self, able: Sequence[str]) -> dict[str, Any]:
        """For people: ``able`` are the members who may review it."""
        approving, total = self.approving
        reviewed = {review.member for review in self.reviews}
        problem = self.problem()
        return {
            "complete": problem is None,
            "missing": None if problem is None else {"code": problem.code, "why": problem.message},
            "reviews": {
                "given": len(self.reviews),
                "needed": self.terms.reviewers,
                "approving_weight": to_decimal_string(approving),
                "weight": to_decimal_string(total),
                "open": sorted(set(able) - reviewed),
            },
            "sign_offs": {
                "given": sorted(self.signed),
                "needed": self.sign_offs_needed,
                "open": [member for member in self.yes_voters if member not in self.signed],
            },
        }
