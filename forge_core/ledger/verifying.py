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
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.ledger.auditing import TreeAudit
from forge_core.ledger.canonical import commit, quoted
from forge_core.ledger.checkpoints import CheckpointSink
from forge_core.ledger.comparing import compare
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.entries import EntryKind
from forge_core.ledger.erasure import TEXT_ERASED
from forge_core.ledger.keys import KEY_ANNOUNCED, LOG, WITNESS, is_endorsed
from forge_core.ledger.notes import Note, NoteInvalid, VerifierKey
from forge_core.ledger.replay import Batch, by_name, replay, shadow
from forge_core.ledger.statements import Checkpoint, open_checkpoint

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
    FROM ledger_entries WHERE id > :after ORDER BY id LIMIT :limit
""")
_CHECKPOINTS = text("SELECT size, note FROM ledger_checkpoints ORDER BY size")
_COSIGNATURES = text("SELECT size, witness, line FROM ledger_cosignatures ORDER BY size, witness")
_KEYS = text("SELECT vkey, role FROM ledger_keys")
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

    ``pinned``: keys the verifier knew beforehand; without any, those that the ledger names are
    taken. ``kept``: single checkpoints from elsewhere, each with the name of where.
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
    notes = _Notes.read(session, scope)
    yield from notes.problems
    yield from _tree(session, notes, progress)
    catalogue = _Catalogue(by_name(scope.kinds))
    yield from catalogue.read(session, progress)
    yield from _texts(session, catalogue)
    yield from _derived(session, scope, progress)


def verify_prefix(session: Session, audit: TreeAudit, end: int) -> Iterator[Discrepancy]:
    """Order, leaves and tiles from where ``audit`` stands to ``end``: a piece of a whole."""
    yield from audit.read(session, end)
    yield from audit.check_tiles(session, whole=False)


# Checkpoints


@dataclass
class _Notes:
    """Every checkpoint there is, as far as it can be believed."""

    problems: list[Discrepancy]
    checkpoints: list[tuple[str, Checkpoint]]

    @classmethod
    def read(cls, session: Session, scope: Scope) -> _Notes:
        keys = [_key(row.vkey) for row in run(session, _KEYS) if row.role == LOG]
        log = list(scope.pinned) or [key for key in keys if key is not None]
        found = cls([], [])
        stored: dict[str, int] = {}
        for row in run(session, _CHECKPOINTS):
            checkpoint = found._open("ledger_checkpoints", row.note, log)
            stored[_text_of(row.note)] = row.size
            if checkpoint is not None and checkpoint.size != row.size:
                found._say("ledger_checkpoints", row.size, f"it is about {checkpoint.size} entries")
            if checkpoint is not None and len(Note.parse(row.note).signatures) != 1:
                found._say("ledger_checkpoints", row.size, "it has signatures besides the log's")
        found._cosignatures(session, {size: note for note, size in stored.items()})
        for sink in scope.sinks:
            found._outside(sink.where, list(sink.notes()), stored, log)
        for where, note in scope.kept:
            found._open(where, note, log)
        return found

    def _outside(
        self, where: str, notes: Sequence[str], stored: Mapping[str, int], log: list[VerifierKey]
    ) -> None:
        for note in notes:
            checkpoint = self._open(where, note, log)
            if checkpoint is not None and _text_of(note) not in stored:
                self._say(
                    "ledger_checkpoints",
                    checkpoint.size,
                    f"the one over {checkpoint.size} entries that is kept in {where} is gone",
                )
        outside = {_text_of(note) for note in notes}
        for text_, size in stored.items():
            if text_ not in outside:
                self._say(where, size, f"the checkpoint over {size} entries is not there")

    def _cosignatures(self, session: Session, texts: Mapping[int, str]) -> None:
        witnesses = [_key(row.vkey) for row in run(session, _KEYS) if row.role == WITNESS]
        known = {key.to_text(): key for key in witnesses if key is not None}
        for row in run(session, _COSIGNATURES):
            key, text_ = known.get(row.witness), texts.get(row.size)
            if key is None:
                self._say("ledger_cosignatures", row.size, "its witness is not known")
            elif text_ is None:
                self._say("ledger_cosignatures", row.size, "there is no such checkpoint")
            else:
                try:
                    if Note.parse(f"{text_}\n{row.line}\n").cosigned_at(key) is None:
                        raise NoteInvalid("it is not this witness's")  # noqa: TRY301
                except NoteInvalid as error:
                    self._say("ledger_cosignatures", row.size, str(error))

    def _open(self, where: str, note: str, log: list[VerifierKey]) -> Checkpoint | None:
        try:
            checkpoint = open_checkpoint(note, *log)
        except NoteInvalid as error:
            self._say(where, _claimed_size(note), f"a checkpoint that proves nothing: {error}")
            return None
        self.checkpoints.append((where, checkpoint))
        return checkpoint

    def _say(self, where: str, position: int | None, meaning: str) -> None:
        self.problems.append(Discrepancy(where, position, meaning))


def _key(vkey: str) -> VerifierKey | None:
    """None for one that is malformed: the comparison of ``ledger_keys`` reports it."""
    try:
        return VerifierKey.parse(vkey)
    except NoteInvalid:
        return None


def _text_of(note: str) -> str:
    """What is signed in a note; the note itself where it is none."""
    try:
        return Note.parse(note).text
    except NoteInvalid:
        return note


def _claimed_size(note: str) -> int | None:
    try:
        return Checkpoint.parse(Note.parse(note).text).size
    except NoteInvalid:
        return None


# Order, leaves, tree


def _tree(session: Session, notes: _Notes, progress: Progress) -> Iterator[Discrepancy]:
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
    for where, checkpoint in notes.checkpoints:
        if checkpoint.size > size:
            yield Discrepancy(
                where,
                checkpoint.size,
                f"it covers {checkpoint.size} entries and there are {size}: the tail is gone",
            )
        elif audit.roots[checkpoint.size] != checkpoint.root:
            yield Discrepancy(
                where,
                checkpoint.size,
                f"the first {checkpoint.size} entries are not those that were signed",
            )
    for row in run(session, _UNPLACED):
        yield Discrepancy(
            "ledger_entries", None, f"entry {row.id} has no position and does not wait for one"
        )
    for row in run(session, _FALSELY_WAITING):
        meaning = "is sealed already" if row.there else "does not exist"
        yield Discrepancy("ledger_unsealed", None, f"entry {row.entry_id} waits, but it {meaning}")


# What entries say


class _Catalogue:
    """The commitments, erasures and keys that entries name; each entry against its columns."""

    def __init__(self, kinds: Mapping[str, EntryKind]) -> None:
        self._kinds = kinds
        self.commitments: dict[str, int | None] = {}
        self.erased: dict[str, Erased] = {}

    def read(self, session: Session, progress: Progress) -> Iterator[Discrepancy]:
        after, read = -(2**63), 0
        while rows := run(session, _BODIES, after=after, limit=CHUNK):
            for row in rows:
                yield from self._entry(row.id, row.position, row.kind, row.subject, bytes(row.body))
            after, read = rows[-1].id, read + len(rows)
            progress("what entries say", read)

    def _entry(
        self, id_: int, position: int | None, kind: str, subject: str, body: bytes
    ) -> Iterator[Discrepancy]:
        end = f',"kind":{quoted(kind)},"subject":{quoted(subject)},"v":'.encode()
        if kind == FREQUENT and body[:-2].endswith(end):
            return  # no texts, no keys, and a million of them
        document = _document(body)
        if document is None:
            yield Discrepancy("ledger_entries", position, f"entry {id_} is no entry at all")
            return
        if (document["kind"], document["subject"]) != (kind, subject):
            yield Discrepancy(
                "ledger_entries",
                position,
                f"entry {id_}: kind or subject is not what the body says",
            )
        declared = self._kinds.get(document["kind"])
        if declared is not None:
            self.commitments |= dict.fromkeys(declared.commitments(document), position)
            yield from self._special(declared, document, position)

    def _special(
        self, kind: EntryKind, document: Mapping[str, Any], position: int | None
    ) -> Iterator[Discrepancy]:
        data = document["data"]
        if kind.name == TEXT_ERASED.name:
            commitment = data["commitment"]
            self.erased[commitment] = Erased(commitment, document["actor"], document["at"])
        if kind.name == KEY_ANNOUNCED.name and data["replaces"] is not None:
            try:
                endorsed = is_endorsed(
                    data["vkey"], data["role"], data["replaces"], data["endorsement"]
                )
            except NoteInvalid:
                endorsed = False
            if not endorsed:
                yield Discrepancy(
                    "ledger_entries", position, "a new key that the old one did not endorse"
                )


def _document(body: bytes) -> dict[str, Any] | None:
    """The body as an entry; None when it is not one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    keys = {"v", "kind", "at", "actor", "subject", "data"}
    if not isinstance(document, dict) or not keys <= document.keys():
        return None
    return document if isinstance(document["data"], dict) else None


# Texts


def _texts(session: Session, catalogue: _Catalogue) -> Iterator[Discrepancy | Erased]:
    present = set()
    for row in run(session, _TEXTS):
        present.add(row.commitment)
        if commit(row.body, bytes(row.salt)) != row.commitment:
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
