"""Verification: everything that the ledger, its tree, its signatures and its folds must agree on.

Reports every discrepancy, never only the first. What an operator of the database could have made
consistent by rewriting all of it is caught by a checkpoint that was kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.ledger.attested import MALFORMED, Keys, Notes
from forge_core.ledger.auditing import TreeAudit
from forge_core.ledger.canonical import SALT_BYTES, commit, quoted
from forge_core.ledger.checkpoints import CheckpointSink
from forge_core.ledger.comparing import compare
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.entries import EntryKind
from forge_core.ledger.erasure import TEXT_ERASED
from forge_core.ledger.notes import VerifierKey
from forge_core.ledger.replay import Batch, by_name, replay, shadow
from forge_core.ledger.statements import Checkpoint

CHUNK = 10_000
FREQUENT = "ballot.cast"

Progress = Callable[[str, int], None]


def quiet(_what: str, _entries: int) -> None:
    pass


_COUNT = text("SELECT count(*) FROM ledger_order")
_STRAYS = text("SELECT position FROM ledger_order WHERE position < 0 OR position >= :size")
_TWICE_PLACED = text("""
    SELECT entry_id, min(position) AS position FROM ledger_order
    GROUP BY entry_id HAVING count(*) > 1
""")
_UNPLACED = text("""
    SELECT id FROM ledger_entries
    WHERE NOT EXISTS (SELECT FROM ledger_order WHERE entry_id = id)
        AND NOT EXISTS (SELECT FROM ledger_unsealed WHERE entry_id = id)
    ORDER BY id
""")
_FALSELY_HASHED = text("""
    SELECT id FROM ledger_unsealed JOIN ledger_entries ON id = entry_id
    WHERE leaf_hash IS DISTINCT FROM sha256('\\x00'::bytea || body)
    ORDER BY id
""")
_WAITING_TWICE = text("""
    SELECT entry_id FROM ledger_unsealed GROUP BY entry_id HAVING count(*) > 1 ORDER BY entry_id
""")
_FALSELY_WAITING = text("""
    SELECT entry_id, EXISTS (SELECT FROM ledger_entries WHERE id = entry_id) AS there
    FROM ledger_unsealed
    WHERE EXISTS (SELECT FROM ledger_order WHERE ledger_order.entry_id = ledger_unsealed.entry_id)
        OR NOT EXISTS (SELECT FROM ledger_entries WHERE id = entry_id)
    ORDER BY entry_id
""")
_BODIES = text("""
    SELECT id, kind, subject, body,
        (SELECT position FROM ledger_order WHERE entry_id = id LIMIT 1) AS position
    FROM ledger_entries WHERE id > :after ORDER BY id FETCH FIRST :limit ROWS WITH TIES
""")
_TEXTS = text("SELECT commitment, salt, body FROM texts ORDER BY commitment")


@dataclass(frozen=True)
class Erased:
    """A text that is gone by an entry: tolerated, and said."""

    commitment: str
    by: str
    at: str


@dataclass(frozen=True)
class Scope:
    """What to verify against: the kinds, the derived tables, and what was kept elsewhere.

    ``pinned``: keys of the log that the verifier knew beforehand; without any, the first that the
    ledger names is taken for one. Whoever they endorsed is believed as well. ``kept``: single
    checkpoints from elsewhere, each with the name of where.
    """

    kinds: Sequence[EntryKind]
    derived: Sequence[Table]
    sinks: Sequence[CheckpointSink] = ()
    kept: Sequence[tuple[str, str]] = ()
    pinned: Sequence[VerifierKey] = ()


def verify(
    session: Session, scope: Scope, progress: Progress = quiet
) -> Iterator[Discrepancy | Erased]:
    """Everything, in the snapshot of a REPEATABLE READ transaction whose role may make temp tables.

    Nothing is changed. ``progress`` hears what is being done and how many entries it took so far.
    """
    keys = Keys.read(session, scope.pinned)
    notes = Notes.read(session, keys, scope.sinks, scope.kept)
    yield from (*keys.problems, *notes.problems)
    yield from _tree(session, notes, progress)
    catalogue = _Catalogue(by_name(scope.kinds))
    yield from catalogue.read(session, progress)
    yield from _texts(session, catalogue)
    yield from _derived(session, scope, progress)


def verify_prefix(session: Session, audit: TreeAudit, end: int) -> Iterator[Discrepancy]:
    """Order, leaves and tiles from where ``audit`` stands to ``end``: a piece of a whole."""
    yield from audit.read(session, end)
    yield from audit.check_tiles(session, whole=False)


# Order, leaves, tree


def _tree(session: Session, notes: Notes, progress: Progress) -> Iterator[Discrepancy]:
    size = int(session.execute(_COUNT).scalar_one())
    for row in run(session, _STRAYS, size=size):
        yield Discrepancy("ledger_order", row.position, "no entry can stand at this position")
    for row in run(session, _TWICE_PLACED):
        yield Discrepancy("ledger_order", row.position, f"entry {row.entry_id} stands here twice")
    audit = TreeAudit([checkpoint.size for _, checkpoint in notes.checkpoints])
    for end in range(0, size + CHUNK, CHUNK):
        yield from audit.read(session, min(end, size))
        progress("order, leaves and tree", audit.frontier.size)
    yield from audit.check_tiles(session, whole=True)
    yield from _against_signed(notes.checkpoints, audit.roots, size)
    for row in run(session, _UNPLACED):
        yield Discrepancy(
            "ledger_entries", None, f"entry {row.id} has no position and does not wait for one"
        )
    for row in run(session, _FALSELY_HASHED):
        yield Discrepancy("ledger_entries", None, f"entry {row.id} waits with a wrong leaf_hash")
    for row in run(session, _WAITING_TWICE):
        yield Discrepancy("ledger_unsealed", None, f"entry {row.entry_id} waits twice")
    for row in run(session, _FALSELY_WAITING):
        meaning = "is sealed already" if row.there else "does not exist"
        yield Discrepancy("ledger_unsealed", None, f"entry {row.entry_id} waits, but it {meaning}")


def _against_signed(
    checkpoints: Sequence[tuple[str, Checkpoint]], roots: Mapping[int, bytes], size: int
) -> Iterator[Discrepancy]:
    """Each checkpoint against the tree; first of all between which two of them it goes wrong."""
    sizes = [checkpoint.size for _, checkpoint in checkpoints]
    wrong = [one.size for _, one in checkpoints if roots.get(one.size, one.root) != one.root]
    if wrong:
        right = max((one for one in sizes if one < min(wrong)), default=0)
        meaning = f"from here to {min(wrong)} the entries are not those that were signed"
        yield Discrepancy("ledger_order", right, meaning)
    if max(sizes, default=0) > size:
        yield Discrepancy("ledger_order", size, f"it ends here, and {max(sizes)} were signed")
    for where, checkpoint in checkpoints:
        if checkpoint.size > size:
            meaning = f"it covers {checkpoint.size} entries and there are {size}: the tail is gone"
        elif roots[checkpoint.size] != checkpoint.root:
            meaning = f"the first {checkpoint.size} entries are not those that were signed"
        else:
            continue
        yield Discrepancy(where, checkpoint.size, meaning)


# What entries say


class _Catalogue:
    """The commitments and erasures that entries name; each entry against its columns."""

    def __init__(self, kinds: Mapping[str, EntryKind]) -> None:
        self._kinds = kinds
        self.commitments: dict[str, int | None] = {}
        self.erased: dict[str, Erased] = {}

    def read(self, session: Session, progress: Progress) -> Iterator[Discrepancy]:
        after, read = -(2**63), 0
        while rows := run(session, _BODIES, after=after, limit=CHUNK):
            for row in rows:
                if row.id == after:
                    meaning = f"entry {row.id} is there twice"
                    yield Discrepancy("ledger_entries", row.position, meaning)
                yield from self._entry(row)
                after = row.id
            read += len(rows)
            progress("what entries say", read)

    def _entry(self, row: Row[Any]) -> Iterator[Discrepancy]:
        body = bytes(row.body or b"")
        end = f',"kind":{quoted(row.kind)},"subject":{quoted(row.subject)},"v":'.encode()
        if row.kind == FREQUENT and body[:-2].endswith(end):
            return  # no texts, and a million of them
        try:
            document = json.loads(body)
            if (document["kind"], document["subject"]) != (row.kind, row.subject):
                meaning = f"entry {row.id}: kind or subject is not what the body says"
                yield Discrepancy("ledger_entries", row.position, meaning)
            self._note(document, row.position)
        except MALFORMED:
            meaning = f"entry {row.id} is not what its kind writes"
            yield Discrepancy("ledger_entries", row.position, meaning)

    def _note(self, document: Mapping[str, Any], position: int | None) -> None:
        kind = self._kinds.get(document["kind"])
        if kind is None:
            return  # the replay says so
        self.commitments |= dict.fromkeys(kind.commitments(document), position)
        if kind.name == TEXT_ERASED.name:
            commitment = document["data"]["commitment"]
            self.erased[commitment] = Erased(commitment, document["actor"], document["at"])


# Texts


def _texts(session: Session, catalogue: _Catalogue) -> Iterator[Discrepancy | Erased]:
    present = set()
    for row in run(session, _TEXTS):
        if row.commitment in present:
            yield Discrepancy("texts", None, f"{row.commitment} is there twice")
        present.add(row.commitment)
        if not _is_kept(row.commitment, row.salt, row.body):
            yield Discrepancy("texts", None, f"the text of {row.commitment} was changed")
        if row.commitment not in catalogue.commitments:
            yield Discrepancy("texts", None, f"no entry commits to {row.commitment}")
        elif row.commitment in catalogue.erased:
            yield Discrepancy("texts", None, f"{row.commitment} was erased and is here again")
    for commitment, position in catalogue.commitments.items():
        if commitment in present:
            continue
        if commitment in catalogue.erased:
            yield catalogue.erased[commitment]
        else:
            yield Discrepancy(
                "texts", position, f"the text of {commitment} is gone, and no entry erased it"
            )


def _is_kept(commitment: str, salt: bytes | None, body: str | None) -> bool:
    """Whether it is the text; of another length, the salt could be its beginning."""
    if salt is None or len(salt) != SALT_BYTES or body is None:
        return False
    return commit(body, bytes(salt)) == commitment


# Derived rows


def _derived(session: Session, scope: Scope, progress: Progress) -> Iterator[Discrepancy]:
    shadow(session, scope.derived)
    folded = 0
    for one in replay(session, scope.kinds):
        if isinstance(one, Batch):
            folded += len(one.ids)
            progress("folding again", folded)
        else:
            yield one
    yield from compare_all(scope.derived, (session, "public"), (session, "pg_temp"), progress)


def compare_all(
    tables: Iterable[Table],
    live: tuple[Session, str],
    rebuilt: tuple[Session, str],
    progress: Progress = quiet,
) -> Iterator[Discrepancy]:
    """Every derived table against its rebuilt twin."""
    for table in tables:
        progress(f"comparing {table.name}", 0)
        yield from compare(table, live, rebuilt)
