"""What a replay has to come out with: the published totals, else the file counted again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from forge_core.exact import to_decimal_string
from forge_workers.replay.source import Counts, Source, SourceVote

PUBLISHED = "published"
RETALLIED = "re-tally of the file"


@dataclass(frozen=True, slots=True)
class Expected:
    """Counts, and whether they are published or our own count of the rows."""

    counts: Counts
    origin: str


def expected(source: Source, votes: Sequence[SourceVote]) -> dict[str, Expected]:
    """Return the expected counts of every proposal; ``votes`` are in sending order."""
    published = {at for at, proposal in source.proposals.items() if proposal.published}
    counted = retally([vote for vote in votes if vote.proposal_id not in published])
    nothing = Counts("0", "0", "0")
    return {
        identity: Expected(counted.get(identity, nothing), RETALLIED)
        if proposal.published is None
        else Expected(proposal.published, PUBLISHED)
        for identity, proposal in source.proposals.items()
    }


def retally(votes: Sequence[SourceVote]) -> Mapping[str, Counts]:
    """Count the last row of each voter; a row without weight weighs 1."""
    last: dict[tuple[str, str], SourceVote] = {}
    for vote in votes:
        last[vote.proposal_id, vote.voter] = vote
    sums: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for vote in last.values():
        sums[vote.proposal_id][vote.choice] += Fraction(vote.weight or "1")
    return {
        identity: Counts(*(to_decimal_string(by[side]) for side in ("for", "against", "abstain")))
        for identity, by in sums.items()
    }
