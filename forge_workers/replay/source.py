"""A dataset of past votings: what its ``proposals`` and ``votes`` tables say, checked row by row.

Columns are found by name; unknown ones are ignored. Required are ``proposal_id`` and ``title``
of a proposal, ``proposal_id``, ``voter`` and ``decision`` of a vote.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.text import ID_MOST, is_blank, require_id, require_text, shown
from forge_workers.replay.rows import DatasetError, Row, RowError, Table

DECISIONS = {"FOR": "for", "AGAINST": "against", "ABSTAIN": "abstain"}
DESCRIPTION_MOST = 10_000

Parsed = TypeVar("Parsed")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Counts(NamedTuple):
    """Weight for, against and abstaining, as canonical plain decimals."""

    for_: str
    against: str
    abstain: str


@dataclass(frozen=True, slots=True)
class SourceProposal:
    """One row of the proposals table. Times are microseconds since 1970 (UTC), or None."""

    line: int
    id: str
    text: str
    kind: str
    author: str | None
    opened_at: int | None
    closed_at: int | None
    outcome: str | None
    threshold: str | None
    published: Counts | None


class SourceVote(NamedTuple):
    """One row of the votes table; weight is a canonical plain decimal, or None where absent."""

    line: int
    proposal_id: str
    voter: str
    choice: str
    weight: str | None
    cast_at: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """A whole dataset in file order, with what had to be left out."""

    name: str
    digest: str
    proposals: Mapping[str, SourceProposal]
    votes: list[SourceVote] = field(repr=False)
    errors: tuple[RowError, ...]


def read(directory: Path) -> Source:
    """Read the dataset in ``directory``; `DatasetError` when it is none."""
    if not directory.is_dir():
        raise DatasetError(f"{directory} is not a directory")
    proposals_table = Table(directory, "proposals", required=("proposal_id", "title"))
    votes_table = Table(directory, "votes", required=("proposal_id", "voter", "decision"))
    errors: list[RowError] = []
    proposals: dict[str, SourceProposal] = {}
    for proposal in _parsed(proposals_table, errors, lambda row: _proposal(proposals_table, row)):
        if proposal.id in proposals:
            first = proposals[proposal.id].line
            problem = f"proposal_id {shown(proposal.id)} was used in line {first} already"
            errors.append(RowError(proposals_table.path.name, proposal.line, problem))
        else:
            proposals[proposal.id] = proposal
    votes = list(_parsed(votes_table, errors, lambda row: _vote(votes_table, row, proposals)))
    votes = _uniformly_weighted(votes, errors, votes_table.path.name)
    return Source(
        name=directory.resolve().name,
        digest=_digest(proposals_table.path, votes_table.path),
        proposals=proposals,
        votes=votes,
        errors=tuple(errors),
    )


def _parsed(
    table: Table, errors: list[RowError], parse: Callable[[Row], Parsed]
) -> Iterator[Parsed]:
    for row in table:
        if isinstance(row, RowError):
            errors.append(row)
            continue
        try:
            yield parse(row)
        except Refused as refusal:
            errors.append(RowError(table.path.name, row.line, refusal.message))
        except ValueError as error:
            errors.append(RowError(table.path.name, row.line, str(error)))


def _proposal(table: Table, row: Row) -> SourceProposal:
    identity = require_text("proposal_id", table.cell(row, "proposal_id"), least=1, most=ID_MOST)
    texts = (table.cell(row, "description"), table.cell(row, "title"), identity)
    text = next(text for text in texts if not is_blank(text))
    require_text("the text", text, least=1, most=DESCRIPTION_MOST)
    author = table.cell(row, "author")
    threshold = table.cell(row, "threshold")
    return SourceProposal(
        line=row.line,
        id=identity,
        text=text,
        kind=sys.intern(table.cell(row, "kind")),
        author=require_id("author", author) if author else None,
        opened_at=_instant(table.cell(row, "opened_at"), "opened_at"),
        closed_at=_instant(table.cell(row, "closed_at"), "closed_at"),
        outcome=table.cell(row, "outcome") or None,
        threshold=_amount(threshold, "threshold") if threshold else None,
        published=_published(table, row),
    )


def _published(table: Table, row: Row) -> Counts | None:
    names = ("for_total", "against_total", "abstain_total")
    cells = [table.cell(row, name) for name in names]
    if not all(cells):
        return None
    return Counts(*(_amount(cell, name) for cell, name in zip(cells, names, strict=True)))


def _vote(table: Table, row: Row, proposals: Mapping[str, SourceProposal]) -> SourceVote:
    proposal = proposals.get(table.cell(row, "proposal_id"))
    if proposal is None:
        raise ValueError(f"unknown proposal {shown(table.cell(row, 'proposal_id'))}")
    decision = table.cell(row, "decision")
    choice = DECISIONS.get(decision.upper())
    if choice is None:
        raise ValueError(f"decision {shown(decision)} is not FOR, AGAINST or ABSTAIN")
    weight = table.cell(row, "weight")
    return SourceVote(
        line=row.line,
        proposal_id=proposal.id,
        voter=sys.intern(require_id("voter", table.cell(row, "voter"))),
        choice=choice,
        weight=sys.intern(_amount(weight, "weight")) if weight else None,
        cast_at=_instant(table.cell(row, "cast_at"), "cast_at"),
    )


def _uniformly_weighted(
    votes: list[SourceVote], errors: list[RowError], file: str
) -> list[SourceVote]:
    """Leave out rows without a weight on a proposal whose other rows have one."""
    weighted = {vote.proposal_id for vote in votes if vote.weight is not None}
    if not weighted:
        return votes
    kept = []
    for vote in votes:
        if vote.weight is None and vote.proposal_id in weighted:
            problem = "has no weight, while other rows of the same proposal have one"
            errors.append(RowError(file, vote.line, problem))
        else:
            kept.append(vote)
    return kept


def _amount(text: str, column: str) -> str:
    amount = parse_decimal(text, name=column)
    if amount < 0:
        raise Refused("WEIGHT_NEGATIVE", f"{column} is {shown(text)}; it must be 0 or more")
    return to_decimal_string(amount)


def _instant(text: str, column: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{column} is {shown(text)}, which is not an ISO 8601 time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
