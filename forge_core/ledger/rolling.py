"""The rolling verification: the sealed ledger piece by piece, to its end and round again.

It hashes, counts and compares with every checkpoint, stored and kept outside; folding everything
again is for ``forge ledger verify``. What it finds stays until a later round finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import as_json, run
from forge_core.ledger.attested import Keys
from forge_core.ledger.auditing import TreeAudit
from forge_core.ledger.checkpoints import CheckpointSink
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.merkle import Frontier
from forge_core.ledger.notes import NoteInvalid
from forge_core.ledger.statements import Checkpoint, open_checkpoint
from forge_core.ledger.tree import TILE, sealed_size
from forge_core.ledger.verifying import verify_prefix

PIECE = 200 * TILE
PAUSE = "1 hour"
MOST_FINDINGS = 100

_LOCK = text(f"""
    SELECT position, frontier, findings, completed_at IS NOT NULL AS whole,
        completed_at < clock_timestamp() - INTERVAL '{PAUSE}' AS stale
    FROM ledger_audits FOR UPDATE SKIP LOCKED
""")  # noqa: S608  # built from a constant
_NOTE = text("""
    UPDATE ledger_audits SET position = :position, frontier = CAST(:frontier AS jsonb),
        findings = CAST(:findings AS jsonb),
        began_at = CASE WHEN :anew THEN clock_timestamp() ELSE began_at END,
        completed_at = CASE WHEN :whole THEN clock_timestamp() ELSE completed_at END
""")
_CHECKPOINTS = text("""
    SELECT size, note FROM ledger_checkpoints WHERE size > :after AND size <= :end ORDER BY size
""")


def verify_piece(
    session: Session, sinks: Sequence[CheckpointSink], most: int = PIECE
) -> list[Discrepancy]:
    """Verify up to ``most`` further entries; returns what is wrong with them.

    Running it twice, or at once, is safe: the row that says how far it has come is locked, and who
    does not get it has nothing to do. An hour after a round is complete the next one begins.
    """
    rows = run(session, _LOCK)
    if not rows or (rows[0].position >= sealed_size(session) and not rows[0].stale):
        return []
    (state,) = rows
    # Before the size is read: what was signed by now is sealed by then.
    outside = [(sink.where, note) for sink in sinks for note in sink.notes()]
    size = sealed_size(session)
    anew = bool(state.position >= size and state.stale)
    frontier = Frontier() if anew else _frontier(state)
    end = min(frontier.size + most, size)
    found = list(_check(session, frontier, end, size, outside))
    # What the last round found stays until this one has seen everything.
    kept = [one | {"before": True} if anew else one for one in state.findings]
    kept += [asdict(one) for one in found]
    if end == size:
        kept = [one for one in kept if "before" not in one]
    session.execute(
        _NOTE,
        {
            "position": end,
            "frontier": as_json([peak.hex() for peak in frontier.peaks]),
            "findings": as_json(kept[:MOST_FINDINGS]),
            "anew": anew,
            "whole": end == size,
        },
    )
    return found


def _frontier(state: Row[Any]) -> Frontier:
    return Frontier(state.position, [bytes.fromhex(peak) for peak in state.frontier])


def _check(
    session: Session, frontier: Frontier, end: int, size: int, outside: Sequence[tuple[str, str]]
) -> Iterator[Discrepancy]:
    opened = list(_open(session, frontier.size, end, size, outside))
    signed = [one for one in opened if isinstance(one, tuple)]
    yield from (one for one in opened if isinstance(one, Discrepancy))
    audit = TreeAudit([checkpoint.size for _, checkpoint in signed], frontier)
    yield from verify_prefix(session, audit, end)
    for where, checkpoint in signed:
        if checkpoint.size > size:
            meaning = f"it covers {checkpoint.size} entries and there are {size}: the tail is gone"
        elif audit.roots[checkpoint.size] != checkpoint.root:
            meaning = f"the first {checkpoint.size} entries are not those that were signed"
        else:
            continue
        yield Discrepancy(where, checkpoint.size, meaning)


def _open(
    session: Session, after: int, end: int, size: int, outside: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Checkpoint] | Discrepancy]:
    """The checkpoints that end in this piece, and those that reach beyond all there is."""
    keys = Keys.read(session, ())
    yield from keys.problems
    stored = run(session, _CHECKPOINTS, after=after, end=end)
    inside = [("ledger_checkpoints", row.note) for row in stored]
    for where, note in dict.fromkeys([*inside, *outside]):
        claimed = note.split("\n", 2)[1:2]
        if claimed and claimed[0].isascii() and claimed[0].isdecimal():
            about = int(claimed[0][:19])
            if about <= after or end < about <= size:
                continue  # another piece verifies it: there may be a million of them
        try:
            checkpoint = open_checkpoint(note, *keys.log)
        except NoteInvalid as error:
            yield Discrepancy(where, None, f"a checkpoint that proves nothing: {error}")
            continue
        if after < checkpoint.size <= end or checkpoint.size > size:
            yield where, checkpoint
