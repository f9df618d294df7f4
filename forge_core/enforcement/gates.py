"""The gates between approval and the timelock: code review, and sign-off by the yes-voters. Pure.

Both explain themselves: what there is, what is needed, and from whom something is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

from forge_core.errors import Refused
from forge_core.exact import to_decimal_string
from forge_core.proposals.tracks import Terms


@dataclass(frozen=True)
class Review:
    """One reviewer's last word; ``weight`` is exact, ``comment`` None where it was erased."""

    member: str
    approves: bool
    weight: Fraction
    comment: str | None = None


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
        return next(self.problems(), None)

    def problems(self) -> Iterator[Refused]:
        """Everything that is still missing, in the order in which it is asked for."""
        yield from self._review_problems()
        if len(self.signed) < self.sign_offs_needed:
            yield Refused(
                "IMPLEMENTATION_NOT_APPROVED",
                f"{len(self.signed)} of {self.sign_offs_needed} sign-offs by its yes-voters"
                " are there",
            )

    def _review_problems(self) -> Iterator[Refused]:
        needed, share = self.terms.reviewers, self.terms.review_approval
        if needed is None:
            return
        too_few = len(self.reviews) < needed
        if too_few:
            yield Refused(
                "INSUFFICIENT_REVIEWERS",
                f"{len(self.reviews)} of {needed} reviewers have reviewed the code",
            )
        approving, total = self.approving
        # Reviews without weight approve nothing, as ballots without weight do (INV-15).
        rejected = share is not None and (total == 0 or approving < share * total)
        if share is not None and rejected and (self.reviews or not too_few):
            yield Refused(
                "CODE_REVIEW_REJECTED",
                f"reviewers with {to_decimal_string(approving)} of {to_decimal_string(total)} "
                f"weight approve; {to_decimal_string(share * 100)} % is needed",
            )
        yield from self._alone({review.member for review in self.reviews if review.approves})

    def _alone(self, approving: Collection[str]) -> Iterator[Refused]:
        """One member cannot be both the only voter and the only reviewer (INV-41)."""
        if len(approving) == 1 and set(self.yes_voters) == set(approving):
            yield Refused(
                "INSUFFICIENT_REVIEWERS", "the only reviewer is the only one who voted for it"
            )

    def to_json(self, able: Sequence[str]) -> dict[str, Any]:
        """For people: ``able`` are the members who may review it."""
        approving, total = self.approving
        approved = {review.member for review in self.reviews if review.approves}
        missing = list(self.problems())
        return {
            "complete": not missing,
            "missing": [{"code": one.code, "message": one.message} for one in missing],
            "reviews": {
                "given": [
                    {
                        "member": review.member,
                        "approves": review.approves,
                        "weight": to_decimal_string(review.weight),
                        "comment": review.comment,
                    }
                    for review in self.reviews
                ],
                "needed": self.terms.reviewers,
                "approving_weight": to_decimal_string(approving),
                "weight": to_decimal_string(total),
                "open": sorted(set(able) - approved),
            },
            "sign_offs": {
                "given": sorted(self.signed),
                "needed": self.sign_offs_needed,
                "open": [member for member in self.yes_voters if member not in self.signed],
            },
        }
