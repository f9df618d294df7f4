"""What a replay does, in which order, worked out before the first command is sent.

Ballots are sent in the order of ``cast_at`` where every row has it (file order breaks ties), else
in file order; then all proposals open first and close last. Every proposal opens no later than it
did and before its first ballot, and closes no earlier than it did and after its last ballot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from forge_core.text import is_blank
from forge_workers.replay.source import Source, SourceProposal, SourceVote
from forge_workers.replay.timeline import Place, Span, Timeline, lay_out

REPLAY_MEMBER = "replay"
TITLE_MOST = 200


@dataclass(frozen=True, slots=True)
class Electorate:
    """A roll to import: each member's weight as a canonical plain decimal."""

    name: str
    roll: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlannedProposal:
    """A row of the proposals table as the policy proposal it becomes."""

    source: SourceProposal
    title: str
    proposer: str
    electorate: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class Open:
    """Create and activate these proposals."""

    proposals: tuple[PlannedProposal, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send the ballots ``start`` to ``stop`` (exclusive) of the plan, in this order."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Close:
    """Move the clock past the deadline of these proposals."""

    proposals: tuple[PlannedProposal, ...]


Step = Open | Send | Close


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole replay. ``digest`` tells datasets apart; the same files give the same plan."""

    digest: str
    voters: tuple[str, ...]
    proposers: tuple[str, ...]
    electorates: tuple[Electorate, ...]
    proposals: tuple[PlannedProposal, ...]
    slot_hours: int
    votes: Sequence[SourceVote] = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)


def plan(source: Source) -> Plan:
    """Work out the replay of a dataset."""
    votes = in_sending_order(source.votes)
    electorates, named = _electorates(source, votes)
    timeline = lay_out(_spans(source, votes))
    proposals = tuple(
        PlannedProposal(
            source=proposal,
            title=_title(proposal),
            proposer=proposal.author or REPLAY_MEMBER,
            electorate=named[proposal.id],
            place=timeline.places[proposal.id],
        )
        for proposal in source.proposals.values()
    )
    return Plan(
        digest=source.digest,
        voters=tuple(dict.fromkeys(vote.voter for vote in votes)),
        proposers=tuple(dict.fromkeys(proposal.proposer for proposal in proposals)),
        electorates=electorates,
        proposals=proposals,
        slot_hours=timeline.slot_hours,
        votes=votes,
        steps=tuple(_steps(proposals, votes, timeline)),
    )


def in_sending_order(votes: Sequence[SourceVote]) -> Sequence[SourceVote]:
    """Sort by the time of casting, stably, if every ballot has one; else keep the file's order."""
    if not _all_timed(votes):
        return votes
    return sorted(votes, key=_cast_at)


def _all_timed(votes: Sequence[SourceVote]) -> bool:
    return all(vote.cast_at is not None for vote in votes)


def _steps(
    proposals: Sequence[PlannedProposal], votes: Sequence[SourceVote], timeline: Timeline
) -> Iterator[Step]:
    opening = _grouped(proposals, lambda proposal: proposal.place.era)
    closing = _grouped(proposals, lambda proposal: proposal.place.slot)
    sent = 0
    for era, instant in enumerate(timeline.closings):
        if era in opening:
            yield Open(opening[era])
        last = era + 1 == len(timeline.closings)
        until = len(votes) if last else bisect_right(votes, instant, lo=sent, key=_cast_at)
        if until > sent:
            yield Send(sent, until)
            sent = until
        yield Close(closing[era + 1])


def _spans(source: Source, votes: Sequence[SourceVote]) -> dict[str, Span]:
    if not _all_timed(votes):
        return dict.fromkeys(source.proposals, Span(0, 0))
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for vote in votes:
        first.setdefault(vote.proposal_id, _cast_at(vote))
        last[vote.proposal_id] = _cast_at(vote)
    named = [
        instant
        for proposal in source.proposals.values()
        for instant in (proposal.opened_at, proposal.closed_at)
        if instant is not None
    ]
    instants = [*named, *first.values(), *last.values()] or [0]
    beginning, end = min(instants), max(instants)
    spans = {}
    for identity, proposal in source.proposals.items():
        closes = end if proposal.closed_at is None else proposal.closed_at
        closes = max(closes, last.get(identity, closes))
        opens = beginning if proposal.opened_at is None else proposal.opened_at
        spans[identity] = Span(min(opens, first.get(identity, opens), closes), closes)
    return spans


def _electorates(
    source: Source, votes: Sequence[SourceVote]
) -> tuple[tuple[Electorate, ...], dict[str, str | None]]:
    """Return the electorates to import and, for each proposal, the name of its own.

    A proposal whose ballots carry weights has a roll of its own (the last ballot's weight counts);
    the others of one kind share a roll in which all voters of that kind weigh 1. Where nobody
    voted in a kind there is no roll to import, and all members are the electorate.
    """
    weighted: dict[str, dict[str, str]] = defaultdict(dict)
    by_kind: dict[str, dict[str, str]] = defaultdict(dict)
    for vote in votes:
        by_kind[source.proposals[vote.proposal_id].kind][vote.voter] = "1"
        if vote.weight is not None:
            weighted[vote.proposal_id][vote.voter] = vote.weight
    rolls: dict[tuple[str, str], Mapping[str, str]] = {}
    roll_of: dict[str, tuple[str, str]] = {}
    for identity, proposal in source.proposals.items():
        own = identity in weighted
        which = ("proposal", identity) if own else ("kind", proposal.kind)
        rolls[which] = weighted[identity] if own else by_kind[proposal.kind]
        roll_of[identity] = which
    # Source ids and kinds may hold what an id may not, so the names only number the rolls.
    rolls = {which: roll for which, roll in rolls.items() if roll}
    names = {
        which: f"replay-{source.digest[:12]}-{number}"
        for number, which in enumerate(rolls, start=1)
    }
    electorates = tuple(Electorate(names[which], roll) for which, roll in rolls.items())
    return electorates, {identity: names.get(which) for identity, which in roll_of.items()}


def _title(proposal: SourceProposal) -> str:
    title = proposal.text[:TITLE_MOST].strip()
    return proposal.id if is_blank(title) else title


def _cast_at(vote: SourceVote) -> int:
    return vote.cast_at or 0


def _grouped(
    proposals: Sequence[PlannedProposal], key: Callable[[PlannedProposal], int]
) -> dict[int, tuple[PlannedProposal, ...]]:
    groups: dict[int, list[PlannedProposal]] = defaultdict(list)
    for proposal in proposals:
        groups[key(proposal)].append(proposal)
    return {at: tuple(members) for at, members in groups.items()}
