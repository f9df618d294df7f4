"""What a replay came to: our totals against the expected ones, our outcomes against theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from forge_workers.replay.expected import Expected
from forge_workers.replay.run import Run
from forge_workers.replay.source import Counts, Source

SIDES = ("for", "against", "abstain")


@dataclass(frozen=True, slots=True)
class Difference:
    """One side of one proposal on which we came out elsewhere than expected."""

    proposal: str
    side: str
    expected: str
    found: str
    origin: str

    def __str__(self) -> str:
        return (
            f"{self.proposal}: {self.side} is {self.found}; the {self.origin} gives {self.expected}"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the tables and the JSON object show."""

    source: Source
    run: Run
    expected: Mapping[str, Expected]
    differences: tuple[Difference, ...]

    @property
    def proposals_matching(self) -> int:
        """Proposals whose three totals are exactly as expected."""
        return len(self.source.proposals) - len({one.proposal for one in self.differences})

    @property
    def ballots_per_second(self) -> float:
        """Ballots sent by seconds of the whole replay, closing included."""
        return self.run.ballots_sent / self.run.seconds if self.run.seconds else 0.0

    def problems(self) -> list[str]:
        """Return why this replay is not simply as expected; empty means exit status 0."""
        run, found = self.run, []
        if self.source.errors:
            found.append(f"{len(self.source.errors)} malformed rows were left out")
        if run.refusals:
            found.append(f"{len(run.refusals)} rows were refused")
        if run.ballots_withheld:
            found.append(f"{run.ballots_withheld} ballots had no open proposal to go to")
        if self.differences:
            names = {one.proposal for one in self.differences}
            found.append(f"{len(names)} proposals differ from what was expected")
        unexecuted = [
            one.status
            for one in run.results.values()
            if one.outcome == "approved" and one.status != "executed"
        ]
        if unexecuted:
            found.append(
                f"{len(unexecuted)} approved proposals were not executed; they are "
                + ", ".join(sorted(set(unexecuted)))
            )
        if run.ballot_entries != run.ballot_entry_commands:
            found.append(
                f"{run.ballot_entries} ballot entries stand for "
                f"{run.ballot_entry_commands} commands only"
            )
        if not run.refusals and run.ballot_entries != run.ballots_sent:
            found.append(
                f"{run.ballots_sent} ballots were sent, and the ledger holds "
                f"{run.ballot_entries} ballot entries"
            )
        return found

    def outcomes(self) -> Counter[tuple[str, str]]:
        """Count proposals by (our outcome, their published outcome), where they have one."""
        return Counter(
            (result.outcome or result.status, theirs)
            for identity, result in self.run.results.items()
            if (theirs := self.source.proposals[identity].outcome) is not None
        )

    def to_json(self) -> dict[str, Any]:
        """Return the one object that ``--json`` prints; decimals are strings."""
        return {
            "proposals_total": len(self.source.proposals),
            "proposals_matching": self.proposals_matching,
            "ballots_sent": self.run.ballots_sent,
            "ballot_entries": self.run.ballot_entries,
            "duplicates_suppressed": self.run.duplicates_suppressed,
            "seconds": round(self.run.seconds, 3),
            "ballots_per_second": round(self.ballots_per_second, 1),
            "differences": [
                {
                    "id": one.proposal,
                    "side": one.side,
                    "expected": one.expected,
                    "found": one.found,
                    "origin": one.origin,
                }
                for one in self.differences
            ],
            "proposals": [
                {
                    "id": identity,
                    **dict(zip(SIDES, result.counts, strict=True)),
                    "outcome": result.outcome or result.status,
                }
                for identity, result in self.run.results.items()
            ],
        }


def report(source: Source, wanted: Mapping[str, Expected], run: Run) -> Report:
    """Compare a finished run with what was expected of it."""
    nothing = Counts("0", "0", "0")
    differences = []
    for identity in source.proposals:
        result = run.results.get(identity)
        found = nothing if result is None else result.counts
        want = wanted[identity]
        if result is None:
            differences.append(Difference(identity, "outcome", "a decision", "none", want.origin))
        differences += [
            Difference(identity, side, ours, theirs, want.origin)
            for side, ours, theirs in zip(SIDES, want.counts, found, strict=True)
            if ours != theirs
        ]
    return Report(source=source, run=run, expected=wanted, differences=tuple(differences))


def explained_by_threshold(source: Source, run: Run) -> tuple[int, int]:
    """Count the published outcomes, and those that "FOR leads and reaches the threshold" gives.

    Only proposals with a published outcome and a threshold column take part.
    """
    agreeing = compared = 0
    for identity, result in run.results.items():
        proposal = source.proposals[identity]
        if proposal.outcome is None or proposal.threshold is None:
            continue
        for_, against, abstain = (Fraction(weight) for weight in result.counts)
        passed = for_ > max(against, abstain) and for_ >= Fraction(proposal.threshold)
        compared += 1
        agreeing += passed == (proposal.outcome.upper() == "PASSED")
    return compared, agreeing
