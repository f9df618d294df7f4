"""Exports: the whole ledger as lines, and the evidence for one proposal as a bundle.

Both are checked by ``forge_verify.py``, which needs nothing of this project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Refused
from forge_core.ledger.checkpoints import newest_checkpoint
from forge_core.ledger.entries import EntryKind
from forge_core.ledger.merkle import inclusion_proof
from forge_core.ledger.notes import Note
from forge_core.ledger.replay import by_name
from forge_core.ledger.statements import Checkpoint
from forge_core.ledger.tree import stored_nodes

LEDGER_FORMAT = "forge-ledger/1"
BUNDLE_FORMAT = "forge-bundle/1"
CHUNK = 5_000

_BODIES = text("""
    SELECT body FROM ledger_order JOIN ledger_entries ON id = entry_id
    WHERE position >= :first AND position < :end ORDER BY position
""")
_CREATED = text("""
    SELECT EXISTS (
        SELECT FROM ledger_entries
        WHERE subject = :proposal AND kind = 'proposal.created' AND kind <> 'ballot.cast'
    )
""")
# What was said about the proposal, what it changed, how its voters came by their weight, which
# delegations were in force when it opened, and the keys that sign. Ballots are not in the index of
# subjects: this reads the whole ledger once.
_OF_PROPOSAL = text("""
    WITH own AS (
        SELECT id FROM ledger_entries WHERE subject = :proposal
    ), members AS (
        SELECT DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'actor' AS id
        FROM ledger_entries JOIN own USING (id)
    ), delegating AS (
        SELECT delegator AS id FROM delegations JOIN proposals ON proposals.id = :proposal
        WHERE electorate IS NULL AND scope IN ('*', type) AND from_version <= electorate_version
            AND (until_version IS NULL OR until_version > electorate_version)
    ), related AS (
        SELECT entry.id FROM ledger_entries AS entry
        WHERE kind <> 'ballot.cast' AND (
            kind IN ('ledger.founded', 'ledger.key_announced')
            OR (kind IN ('delegation.set', 'delegation.revoked')
                AND subject IN (SELECT id FROM delegating))
            OR (kind IN ('member.admitted', 'member.level_changed')
                AND subject IN (SELECT id FROM members))
            OR (kind IN ('setting.changed', 'overlay.registered', 'overlay.updated',
                    'member.level_changed')
                AND position(convert_to(:proposal, 'UTF8') IN body) > 0)
        )
    )
    SELECT position, body FROM ledger_order JOIN ledger_entries ON id = entry_id
    WHERE position < :size AND id IN (SELECT id FROM own UNION SELECT id FROM related)
    ORDER BY position
""")
_ERASURES_OF = text("""
    SELECT position, body FROM ledger_order JOIN ledger_entries ON id = entry_id
    WHERE kind = 'text.erased' AND kind <> 'ballot.cast' AND subject = ANY(:commitments)
        AND position < :size
    ORDER BY position
""")
_TEXTS = text("""
    SELECT commitment, encode(salt, 'hex') AS salt, body FROM texts
    WHERE commitment = ANY(:commitments) ORDER BY commitment
""")


def export_ledger(session: Session) -> Iterator[str]:
    """The sealed and signed ledger: a header, then each entry's bytes as one line, in order.

    ``NOT_SIGNED`` before the first checkpoint.
    """
    note, size = _newest(session)
    yield json.dumps({"format": LEDGER_FORMAT, "checkpoint": note, "size": size}) + "\n"
    for first in range(0, size, CHUNK):
        for row in run(session, _BODIES, first=first, end=min(first + CHUNK, size)):
            yield bytes(row.body).decode() + "\n"


def export_bundle(session: Session, proposal: str, kinds: Sequence[EntryKind]) -> dict[str, Any]:
    """Everything that led to one proposal's outcome, each entry with its proof.

    ``PROPOSAL_UNKNOWN``; ``NOT_SIGNED`` before the first checkpoint.
    """
    note, size = _newest(session)
    if not session.execute(_CREATED, {"proposal": proposal}).scalar_one():
        raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {proposal[:80]!r}")
    rows = [
        (row.position, bytes(row.body))
        for row in run(session, _OF_PROPOSAL, proposal=proposal, size=size)
    ]
    named = _commitments([body for _, body in rows], kinds)
    texts = run(session, _TEXTS, commitments=sorted(named))
    gone: set[str] = set()
    while missing := named - {row.commitment for row in texts} - gone:
        # Each erasure is an entry, with a reason that may be erased itself.
        erasures = run(session, _ERASURES_OF, commitments=sorted(missing), size=size)
        if len(erasures) < len(missing):
            raise Refused("NOT_SIGNED", "a text is gone whose erasure no checkpoint covers yet")
        gone |= missing
        rows += [(row.position, bytes(row.body)) for row in erasures]
        named |= _commitments([bytes(row.body) for row in erasures], kinds)
        texts = run(session, _TEXTS, commitments=sorted(named))
    node = stored_nodes(session)
    return {
        "format": BUNDLE_FORMAT,
        "proposal": proposal,
        "checkpoint": note,
        "entries": [
            {
                "position": position,
                "body": body.decode(),
                "path": [hash_.hex() for hash_ in inclusion_proof(position, size, node)],
            }
            for position, body in sorted(set(rows))
        ],
        "texts": [{"commitment": r.commitment, "salt": r.salt, "body": r.body} for r in texts],
        "erased": sorted(gone),
    }


def _newest(session: Session) -> tuple[str, int]:
    note = newest_checkpoint(session)
    if note is None:
        raise Refused("NOT_SIGNED", "no checkpoint was signed yet; ask again in ten seconds")
    return note, Checkpoint.parse(Note.parse(note).text).size


def _commitments(bodies: Sequence[bytes], kinds: Sequence[EntryKind]) -> set[str]:
    known = by_name(kinds)
    documents = (json.loads(body) for body in bodies)
    return {
        commitment
        for document in documents
        if document["kind"] in known
        for commitment in known[document["kind"]].commitments(document)
    }
