"""What a superuser can do to a ledger: every column, every row, and the whole of it made to fit.

Harms are generated from the database's own catalogue, so that a new column is harmed by itself; a
type for which no harm is known is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine, Table, text
from sqlalchemy.orm import Session

from forge_core.database import Held, run, transaction
from forge_core.ledger import keys
from forge_core.ledger.canonical import canonical_bytes
from forge_core.ledger.checkpoints import stored_checkpoints
from forge_core.ledger.merkle import root
from forge_core.ledger.notes import KeyKind, SigningKey, sign_note
from forge_core.ledger.replay import by_name, replay, shadow
from forge_core.ledger.statements import Checkpoint, sign_checkpoint
from forge_core.ledger.tree import TILE, extend_tiles, read_hashes, sealed_size, stored_nodes
from forge_core.tables import DERIVED, TABLES
from forge_core.wiring import ENTRY_KINDS
from forge_workers.stack.postgres import SUPERUSER
from tests.core.factories import House, make_engine, signer

HARMED = tuple(table for table in TABLES if table.info["held"] is not Held.OPERATIONAL)

# Nobody says that there will be a witness's line, so nobody can say that one is missing.
MAY_BE_ABSENT = frozenset({"ledger_cosignatures"})

Step = Callable[[Session], None]
Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Ledger:
    """A ledger in which everything happened, sealed and signed to its end, and its outside copy."""

    engine: Engine
    log: Path
    outside: bytes
    keys: Sequence[SigningKey]
    checkpoints: Sequence[Checkpoint]

    @property
    def size(self) -> int:
        return self.checkpoints[-1].size

    @property
    def member(self) -> int:
        """The position of a member's admission that nothing else refers to."""
        return self.checkpoints[0].size + 20

    def first_over(self, position: int) -> int:
        """The size of the first checkpoint that covers a position."""
        return next(one.size for one in self.checkpoints if one.size > position)


@dataclass(frozen=True)
class Harm:
    """One way to tamper, and what has to be named for it: the table or file, and the position."""

    name: str
    where: str
    do: Step
    position: int | None = None


# The ledger


def prepare(house: House, folder: Path) -> Ledger:
    """Four checkpoints, the last over everything; two keys of the log, a witness; a full tile.

    In that house everything has happened.
    """
    made = [house.checkpoint(folder)]
    house.do("members.admit", "cora", source="tests", members=[{"id": f"n{n}"} for n in range(200)])
    made.append(house.checkpoint(folder))

    old, new = signer(folder).key, SigningKey.generate("forge.test")
    witness = SigningKey.generate("witness.test", KeyKind.COSIGNATURE)
    with transaction(house.app) as session:
        keys.rotate(session, old, new.verifier, keys.LOG, actor="cora")
        keys.add_witness(session, witness.verifier, actor="cora")
    (folder / "ledger-key").write_text(new.to_text())
    made.append(house.checkpoint(folder))

    proposal = house.open("gus")
    for choice in ("for", "against", "abstain"):
        for member in ("m0", "m1", "gus"):
            assert house.vote(proposal, member, choice).code is None
    house.settle()
    made.append(house.checkpoint(folder))
    assert house.one("SELECT count(*) FROM ledger_unsealed") == 0
    assert house.one("SELECT count(*) FROM ledger_order") == made[-1].size > TILE

    log = folder / "checkpoints"
    for checkpoint in made[1:]:
        line = witness.cosign(checkpoint.to_text(), 1_700_000_000)
        house.sql(
            "INSERT INTO ledger_cosignatures VALUES (%s, %s, %s)",
            checkpoint.size,
            witness.verifier.to_text(),
            line,
        )
    engine = make_engine(house.server.url(SUPERUSER, house.name), pool_size=1)
    return Ledger(engine, log, log.read_bytes(), (old, new), made)


def disarm(engine: Engine) -> None:
    """Drop whatever in the database refuses, so that only verification is left to notice."""
    with transaction(engine) as session:
        for table in HARMED:
            for (name,) in run(session, _CONSTRAINTS, table=table.name):
                _do(session, f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name} CASCADE")
            for (name,) in run(session, _INDEXES, table=table.name):
                _do(session, f"DROP INDEX {name}")
            for (name,) in run(session, _TRIGGERS, table=table.name):
                _do(session, f"DROP TRIGGER {name} ON {table}")
            for row in run(session, _COLUMNS, table=table.name):
                for what in ("IDENTITY IF EXISTS", "EXPRESSION IF EXISTS", "NOT NULL"):
                    _do(session, f"ALTER TABLE {table} ALTER COLUMN {row.name} DROP {what}")


_CONSTRAINTS = text("""
    SELECT conname FROM pg_constraint WHERE conrelid = CAST(:table AS regclass) AND contype <> 'n'
""")
_INDEXES = text("""
    SELECT indexrelid::regclass::text FROM pg_index
    WHERE indrelid = CAST(:table AS regclass) AND indisunique
""")
_TRIGGERS = text("""
    SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND NOT tgisinternal
""")
_COLUMNS = text("""
    SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
    WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
""")


def _do(session: Session, statement: str, **parameters: object) -> None:
    session.execute(text(statement), parameters)


# The smallest change of a value, as PostgreSQL writes it


def _text(value: str, random: Random) -> str:
    if not value:
        return "\x01"
    at = random.randrange(len(value))
    flipped = [chr(ord(value[at]) ^ (1 << bit)) for bit in range(7)]
    return value[:at] + random.choice([one for one in flipped if one != "\0"]) + value[at + 1 :]


def _bytea(value: str, random: Random) -> str:
    raw = bytearray.fromhex(value.removeprefix(r"\x"))
    if not raw:
        return r"\x00"
    raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    return rf"\x{raw.hex()}"


def _whole(value: str, random: Random) -> str:
    return str(int(value) ^ (1 << random.randrange(14)))


def _numeric(value: str, random: Random) -> str:
    _, digits, exponent = Decimal(value).as_tuple()
    changed = int("".join(map(str, digits))) ^ (1 << random.randrange(4))
    return f"{changed}e{exponent}"


def _bool(value: str, _random: Random) -> str:
    return {"true": "false", "false": "true"}[value]


def _uuid(value: str, random: Random) -> str:
    raw = bytearray.fromhex(value.replace("-", ""))
    raw[random.randrange(16)] ^= 1 << random.randrange(8)
    return raw.hex()


def _jsonb(value: str, random: Random) -> str:
    return _json_with(value, random, _other_leaf)


def _other_type(value: str, random: Random) -> str:
    return _json_with(value, random, lambda leaf, _: _confused(leaf))


def _json_with(value: str, random: Random, change: Callable[[Any, Random], Any]) -> str:
    document = [json.loads(value)]
    holder, key = random.choice(list(_leaves(document)))
    holder[key] = change(holder[key], random)
    return json.dumps(document[0])


def _leaves(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Where each leaf of a document is held; what is empty is a leaf."""
    for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        if isinstance(value, dict | list) and value:
            yield from _leaves(value)
        else:
            yield holder, key


def _other_leaf(leaf: Any, random: Random) -> Any:
    match leaf:
        case bool():
            return not leaf
        case int():
            return leaf ^ (1 << random.randrange(10))
        case str():
            return _text(leaf, random)
        case None:
            return ""
        case dict():
            return {"": None}
        case list():
            return [None]
        case _:
            raise AssertionError(f"no harm is known for {leaf!r} in JSON")


def _confused(leaf: Any) -> Any:
    """Like it, of another type."""
    if isinstance(leaf, bool):
        return int(leaf)
    if isinstance(leaf, int):
        return bool(leaf) if leaf in {0, 1} else str(leaf)
    if isinstance(leaf, str):
        return int(leaf) if leaf.isascii() and leaf.isdecimal() else [leaf]
    if leaf is None:
        return False
    return [] if isinstance(leaf, dict) else {}


@dataclass(frozen=True)
class Kind:
    """How values of a type are harmed; ``sample`` takes the place of NULL.

    ``changed`` is what SQL makes of the new value.
    """

    sample: str
    changes: Mapping[str, Callable[[str, Random], str]]
    changed: str = "CAST(:new AS {type})"


def _moment(value: str, _random: Random) -> str:
    return "9999-12-31 23:59:59Z" if "infinity" in value else value


_LATER = "CAST(:new AS {type}) + INTERVAL '1 microsecond'"
KINDS: Mapping[str, Kind] = {
    "bytea": Kind("", {"one bit": _bytea}),
    "text": Kind("x", {"one bit": _text}),
    "smallint": Kind("0", {"one bit": _whole}),
    "integer": Kind("0", {"one bit": _whole}),
    "bigint": Kind("0", {"one bit": _whole}),
    "numeric": Kind("0", {"one bit": _numeric}),
    "boolean": Kind("false", {"the opposite": _bool}),
    "uuid": Kind("00000000-0000-0000-0000-000000000000", {"one bit": _uuid}),
    "jsonb": Kind("null", {"one leaf": _jsonb, "another type": _other_type}),
    "timestamp with time zone": Kind("epoch", {"one microsecond": _moment}, _LATER),
    "interval": Kind("0", {"one microsecond": lambda value, _: value}, _LATER),
}


# Columns and rows


@dataclass(frozen=True)
class Stored:
    """A table as it is: its columns with their types, and each row as text, in key order."""

    table: Table
    types: Mapping[str, str]
    rows: Sequence[tuple[str, Mapping[str, str | None]]]

    @classmethod
    def read(cls, session: Session, table: Table) -> Stored:
        types = {row.name: row.type for row in run(session, _COLUMNS, table=table.name)}
        shown = ", ".join(f"{name}::text" for name in types)
        key = ", ".join(column.name for column in table.primary_key.columns)
        found = run(session, text(f"SELECT ctid::text, {shown} FROM {table} ORDER BY {key}"))
        rows = [(row[0], dict(zip(types, row[1:], strict=True))) for row in found]
        return cls(table, types, rows)

    def kind(self, column: str) -> Kind:
        type_ = self.types[column]
        assert type_ in KINDS, f"{self.table}.{column}: no harm is known for values of {type_}"
        return KINDS[type_]

    def harm(self, name: str, statement: str, **parameters: object) -> Harm:
        do = partial(_do, statement=statement, **parameters)
        return Harm(f"{self.table}: {name}", self.table.name, do)


def table_harms(session: Session, table: Table) -> list[Harm]:
    """Every column's and every row's, for some rows."""
    stored = Stored.read(session, table)
    if not stored.rows:
        return list(_unsealed_harms(session, stored))
    return [*_column_harms(stored), *_row_harms(stored)]


def _some(rows: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The first, the middle and the last, each once."""
    named = {0: "first", len(rows) // 2: "middle", len(rows) - 1: "last"}
    if rows:
        yield from ((name, rows[n]) for n, name in named.items())


def _column_harms(stored: Stored) -> Iterator[Harm]:
    for column, type_ in stored.types.items():
        kind = stored.kind(column)
        set_, at = f"UPDATE {stored.table} SET {column} =", "WHERE ctid = CAST(:row AS tid)"
        values = [(row, given[column]) for row, given in stored.rows]
        present = [(row, value) for row, value in values if value is not None]
        for which, (row, value) in _some(present):
            for what, change in kind.changes.items():
                name = f"{column} of the {which} row: {what}"
                new = change(value, Random(f"{stored.table} {name}"))
                update = f"{set_} {kind.changed.format(type=type_)} {at}"
                yield stored.harm(name, update, new=new, row=row)
        if present:
            yield stored.harm(f"{column}: NULL", f"{set_} NULL {at}", row=present[0][0])
        if len(present) < len(values):
            update = f"{set_} CAST(:new AS {type_}) WHERE {column} IS NULL"
            yield stored.harm(f"{column}: a value where there was none", update, new=kind.sample)


def _row_harms(stored: Stored) -> Iterator[Harm]:
    table, columns = stored.table, ", ".join(stored.types)
    at = "WHERE ctid = CAST(:row AS tid)"
    insert = f"INSERT INTO {table} ({columns}) SELECT"
    key = next(iter(table.primary_key.columns)).name
    new = ", ".join(
        f"CAST(:new AS {type_})" if name == key else name for name, type_ in stored.types.items()
    )
    for which, (row, _) in _some(stored.rows):
        yield stored.harm(
            f"the {which} row twice", f"{insert} {columns} FROM {table} {at}", row=row
        )
        yield stored.harm(
            f"a row like the {which} one",
            f"{insert} {new} FROM {table} {at}",
            row=row,
            new=_another(stored, key, row),
        )
        if table.name not in MAY_BE_ABSENT:
            yield stored.harm(f"the {which} row deleted", f"DELETE FROM {table} {at}", row=row)
    if table.name not in MAY_BE_ABSENT:
        yield stored.harm("all rows deleted", f"DELETE FROM {table}")
        yield stored.harm("truncated", f"TRUNCATE {table}")
    yield from _swaps(stored)


def _another(stored: Stored, key: str, row: str) -> str:
    """A value of this column that no row has."""
    taken, random = {values[key] for _, values in stored.rows}, Random(f"{stored.table} {row}")
    value = dict(stored.rows)[row][key]
    while value in taken:
        value = stored.kind(key).changes["one bit"](str(value), random)
    return str(value)


def _swaps(stored: Stored) -> Iterator[Harm]:
    """What two rows say about their keys, each about the other's."""
    in_key = {column.name for column in stored.table.primary_key.columns}
    rest = [name for name in stored.types if name not in in_key]
    said = [(row, [values[name] for name in rest]) for row, values in stored.rows]
    set_ = ", ".join(f"{name} = other.{name}" for name in rest)
    for which, (row, _) in _some([(row, told) for row, told in said if told != said[0][1]]):
        yield stored.harm(
            f"the first row and the {which} other swapped",
            f"UPDATE {stored.table} AS one SET {set_} FROM {stored.table} AS other"
            " WHERE (one.ctid = CAST(:a AS tid) AND other.ctid = CAST(:b AS tid))"
            " OR (one.ctid = CAST(:b AS tid) AND other.ctid = CAST(:a AS tid))",
            a=said[0][0],
            b=row,
        )


def _unsealed_harms(session: Session, stored: Stored) -> Iterator[Harm]:
    """The one table that is empty when all is settled: entries that falsely wait."""
    assert stored.table.name == "ledger_unsealed", f"{stored.table} has no rows to be harmed"
    ids = [row.id for row in run(session, text("SELECT id FROM ledger_entries ORDER BY id"))]
    insert = "INSERT INTO ledger_unsealed VALUES (CAST(:id AS bigint))"
    for which, id_ in _some(ids):
        yield stored.harm(f"the {which} entry waits again", insert, id=id_)
    yield stored.harm("an entry waits that is not there", insert, id=max(ids) + 1)
    yield stored.harm("an entry without a number waits", insert, id=None)


# The whole ledger, made to fit


def ledger_harms(session: Session, ledger: Ledger) -> list[Harm]:
    """What is consistent again afterwards, wholly or in part."""
    return [
        *_cuts(ledger),
        *_rewritings(session, ledger),
        *_announcements(session, ledger),
        *_moves(ledger),
        *_signings(ledger),
        _harm("the beginning of a text moved into its salt", "texts", None, _sql("""
            UPDATE texts SET salt = salt || convert_to(left(body, 1), 'UTF8'),
                body = substr(body, 2) WHERE body = 'A title'
        """)),
        _harm("a default changed and rows made to fit", "tallies", None,
              _sql("ALTER TABLE tallies ALTER revotes SET DEFAULT 7"),
              _sql("UPDATE tallies SET revotes = 7 WHERE revotes = 0")),
    ]  # fmt: skip


def _harm(name: str, where: str, position: int | None, *steps: Step) -> Harm:
    def do(session: Session) -> None:
        for step in steps:
            step(session)

    return Harm(name, where, do, position)


def _sql(statement: str) -> Step:
    return partial(_do, statement=statement)


def _cuts(ledger: Ledger) -> Iterator[Harm]:
    first, second = (checkpoint.size for checkpoint in ledger.checkpoints[:2])
    for size in (0, 1, first, first + 1, 255, 256, 257, second, second + 1, ledger.size - 1):
        over = ledger.first_over(size)
        yield _harm(f"cut to {size}", str(ledger.log), over, partial(cut, size=size))


def _rewritings(session: Session, ledger: Ledger) -> Iterator[Harm]:
    """A ballot says something else, and the checkpoints are whatever they can be made."""
    ballot = _position(session, "ballot.cast", "max")
    over = ledger.first_over(ballot)
    again = (partial(rewrite, position=ballot, change=_other_choice), rehash)
    sign = partial(sign_all, key=SigningKey.generate("forge.test"))
    stored, outside = "ledger_checkpoints", str(ledger.log)
    yield _harm("rewritten", stored, over, *again)
    yield _harm("rewritten, seen outside", outside, over, *again)
    yield _harm("rewritten and signed by another key", stored, over, *again, sign)
    yield _harm("rewritten and signed by another key, seen outside", outside, over, *again, sign)
    yield _harm("rewritten, nothing signed any more", outside, over, *again, drop_signed)

    other_time = partial(rewrite, position=ledger.member, change=_other_time)
    yield _harm("rewritten, tiles as before", "ledger_tiles", None, other_time, rehash_leaves)


def _announcements(session: Session, ledger: Ledger) -> Iterator[Harm]:
    """Entries about keys of the attacker's own."""
    stranger, (old, _) = SigningKey.generate("forge.test"), ledger.keys
    sign = partial(sign_all, key=stranger)
    yield _harm("the log's keys replaced", str(ledger.log), ledger.checkpoints[0].size,
                partial(replace_keys, stranger=stranger), rehash, sign)  # fmt: skip
    for name, key, replaces in (
        ("a key beside the log's", stranger, None),
        ("a key that endorses itself", stranger, old),
        ("the first key once more", old, None),
    ):
        announce = partial(_announce, key, replaces, key)
        rewritten = partial(rewrite, position=ledger.member, change=announce)
        yield _harm(name, "ledger_entries", ledger.member, rewritten, rehash, sign)
    first = _position(session, keys.KEY_ANNOUNCED.name, "min")
    nothing = partial(rewrite, position=first, change=_nothing)
    yield _harm("an announcement of nothing", "ledger_entries", first, nothing, rehash_leaves)


def _moves(ledger: Ledger) -> Iterator[Harm]:
    """Entries at other positions."""
    first, (good, over) = ledger.member, (one.size for one in ledger.checkpoints[:2])
    places = partial(swap, positions=(first, first + 5))
    columns = ("entry_id", "leaf_hash")
    yield _harm("two places swapped", "ledger_order", first, partial(places, columns=columns[:1]))
    both = partial(places, columns=columns)
    yield _harm("two places and leaves swapped", "ledger_order", good, both)
    yield _harm("two places swapped, all made to fit", "ledger_checkpoints", over, both, rehash)
    moved = f"UPDATE ledger_order SET position = position + 1 WHERE position >= {first}"
    yield _harm("positions moved", "ledger_order", first, _sql(moved))
    reversed_ = f"UPDATE ledger_order SET position = {ledger.size - 1} - position"
    yield _harm("positions reversed", "ledger_order", 0, _sql(reversed_), rehash)
    renumbered = "UPDATE ledger_entries SET id = id + 100000"
    yield _harm("entries renumbered", "ledger_entries", 0, _sql(renumbered))


def _signings(ledger: Ledger) -> Iterator[Harm]:
    """One checkpoint, with everything else as it was."""
    size, stored = ledger.checkpoints[1].size, "ledger_checkpoints"
    sign = partial(sign_all, key=SigningKey.generate("forge.test"), sizes=(size,))
    dropped = f"DELETE FROM ledger_checkpoints WHERE size = {size}"
    yield _harm("a checkpoint dropped", stored, size, _sql(dropped))
    yield _harm("a checkpoint signed by another key", stored, size, sign)
    yield _harm("a checkpoint signed twice", stored, size, partial(sign, beside=True))


_CHOSEN = "FROM ledger_order JOIN ledger_entries ON id = entry_id"


def _position(session: Session, kind: str, which: str) -> int:
    query = text(f"SELECT {which}(position) {_CHOSEN} WHERE kind = :kind")
    return int(session.execute(query, {"kind": kind}).scalar_one())


def rewrite(session: Session, position: int, change: Change) -> None:
    """Let another entry stand at a position."""
    query = text(f"SELECT id, body {_CHOSEN} WHERE position = :position")
    ((id_, body),) = run(session, query, position=position)
    document = json.loads(bytes(body))
    change(document)
    _do(
        session,
        "UPDATE ledger_entries SET body = :body, kind = :kind, subject = :subject WHERE id = :id",
        body=canonical_bytes(document),
        kind=document["kind"],
        subject=document["subject"],
        id=id_,
    )


def _other_choice(document: dict[str, Any]) -> None:
    data = document["data"]
    data["choice"] = "for" if data["choice"] == "against" else "against"


def _other_time(document: dict[str, Any]) -> None:
    document["at"] = "2001" + document["at"][4:]


def _nothing(document: dict[str, Any]) -> None:
    document["data"] = []


def _announce(
    key: SigningKey, replaces: SigningKey | None, endorser: SigningKey, document: dict[str, Any]
) -> None:
    """The entry announces a key; ``endorser`` signs for it if it claims to replace another."""
    endorsement = sign_note(keys.endorsement_text(key.verifier, keys.LOG), endorser)
    document |= {"kind": keys.KEY_ANNOUNCED.name, "subject": "ledger", "v": 1}
    document["data"] = {
        "vkey": key.verifier.to_text(),
        "role": keys.LOG,
        "replaces": None if replaces is None else replaces.verifier.to_text(),
        "endorsement": None if replaces is None else endorsement.to_text(),
    }


def replace_keys(session: Session, stranger: SigningKey) -> None:
    """The ledger always had the stranger's key, which was replaced by another of the stranger's."""
    query = text(f"SELECT position {_CHOSEN} WHERE kind = :kind ORDER BY position LIMIT 2")
    (first,), (second,) = run(session, query, kind=keys.KEY_ANNOUNCED.name)
    follower = SigningKey.generate("forge.test")
    rewrite(session, first, partial(_announce, stranger, None, stranger))
    rewrite(session, second, partial(_announce, follower, stranger, stranger))


def swap(session: Session, positions: tuple[int, int], columns: Sequence[str]) -> None:
    set_ = ", ".join(f"{name} = other.{name}" for name in columns)
    statement = f"""
        UPDATE ledger_order AS one SET {set_} FROM ledger_order AS other
        WHERE (one.position, other.position) IN ((:a, :b), (:b, :a))
    """
    _do(session, statement, a=positions[0], b=positions[1])


def cut(session: Session, size: int) -> None:
    """Nothing was ever there after the first ``size`` entries."""
    _do(session, """
        DELETE FROM ledger_entries
        WHERE id IN (SELECT entry_id FROM ledger_order WHERE position >= :size)
    """, size=size)  # fmt: skip
    _do(session, "DELETE FROM ledger_order WHERE position >= :size", size=size)
    kinds, committed = by_name(ENTRY_KINDS), set[str]()
    for (body,) in run(session, text("SELECT body FROM ledger_entries")):
        document = json.loads(bytes(body))
        committed |= set(kinds[document["kind"]].commitments(document))
    _do(session, "DELETE FROM texts WHERE commitment <> ALL (:kept)", kept=list(committed))
    rehash(session)
    _do(session, """
        DELETE FROM ledger_checkpoints
        WHERE size > :size OR NOT EXISTS (SELECT FROM ledger_keys WHERE role = 'log')
    """, size=size)  # fmt: skip
    _do(session, """
        DELETE FROM ledger_cosignatures
        WHERE size > :size OR witness NOT IN (SELECT vkey FROM ledger_keys)
    """, size=size)  # fmt: skip


def rehash_leaves(session: Session) -> None:
    _do(session, r"UPDATE ledger_entries SET leaf_hash = sha256('\x00'::bytea || body)")
    _do(session, """
        UPDATE ledger_order SET leaf_hash = entry.leaf_hash
        FROM ledger_entries AS entry WHERE entry.id = entry_id
    """)  # fmt: skip


def rehash(session: Session) -> None:
    """Leaves, order, tiles and derived rows as the entries now make them."""
    rehash_leaves(session)
    _do(session, "DELETE FROM ledger_tiles")
    extend_tiles(session, 0, read_hashes(session, 0, 0, sealed_size(session)))
    shadow(session, DERIVED)
    for _ in replay(session, ENTRY_KINDS):
        pass  # what does not fold is left out
    for table in DERIVED:
        columns = ", ".join(column.name for column in table.columns)
        _do(session, f"DELETE FROM public.{table}")
        _do(
            session, f"INSERT INTO public.{table} ({columns}) SELECT {columns} FROM pg_temp.{table}"
        )
        _do(session, f"DROP TABLE pg_temp.{table}")


def sign_all(
    session: Session, key: SigningKey, sizes: Sequence[int] = (), *, beside: bool = False
) -> None:
    """Every stored checkpoint, over the tree there is, by another key."""
    node = stored_nodes(session)
    for size, note in stored_checkpoints(session).items():
        if not sizes or size in sizes:
            signed = sign_checkpoint(Checkpoint(key.name, size, root(size, node)), key).to_text()
            if beside:
                signed = note + signed.rpartition("\n\n")[2]
            _do(session, "UPDATE ledger_checkpoints SET note = :note WHERE size = :size",
                note=signed, size=size)  # fmt: skip
            if not sizes:
                _do(session, "DELETE FROM ledger_cosignatures WHERE size = :size", size=size)


def drop_signed(session: Session) -> None:
    _do(session, "DELETE FROM ledger_checkpoints")
    _do(session, "DELETE FROM ledger_cosignatures")


# The copy outside


def outside_harms(ledger: Ledger) -> list[Harm]:
    """What somebody may do to the file; it is written anew before each harm."""
    lines, stranger = ledger.outside.splitlines(keepends=True), SigningKey.generate("forge.test")

    def harm(name: str, position: int | None, lines: Sequence[bytes]) -> Harm:
        written = b"".join(lines)
        return Harm(
            f"outside: {name}",
            str(ledger.log),
            lambda _: bool(ledger.log.write_bytes(written)) and None,
            position,
        )

    def replaced(n: int, line: bytes) -> list[bytes]:
        return [*lines[:n], line, *lines[n + 1 :]]

    def signed(checkpoint: Checkpoint) -> bytes:
        return json.dumps(sign_checkpoint(checkpoint, stranger).to_text()).encode() + b"\n"

    first = ledger.checkpoints[0].size
    harms = [
        harm("all lines gone", first, []),
        harm("a line of garbage", None, [*lines, b"garbage\n"]),
        harm("a line that is JSON and no note", None, [b"[1]\n", *lines]),
    ]
    for n, checkpoint in enumerate(ledger.checkpoints):
        size, other = checkpoint.size, Checkpoint(stranger.name, checkpoint.size, bytes(32))
        harms += [
            harm(f"line {n} dropped", size, replaced(n, b"")),
            harm(f"line {n} signed by another key", size, replaced(n, signed(checkpoint))),
            harm(f"line {n} with another root", size, replaced(n, signed(other))),
            *(
                harm(f"line {n} with byte {at} edited", size, replaced(n, _edited(lines[n], at)))
                for at in Random(n).sample(range(len(lines[n]) - 1), 5)
            ),
        ]
    return harms


def _edited(line: bytes, at: int) -> bytes:
    edited = bytearray(line)
    edited[at] ^= 1 << Random(f"{at}").randrange(8)
    return bytes(edited)
