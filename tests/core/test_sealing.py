"""Sealing under kills, rivals and storms: every committed entry gets one position, none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from random import Random

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from forge_core.database import make_engine, transaction
from forge_core.jobs.perform import perform_chore
from forge_core.ledger import merkle
from forge_core.ledger.entries import Entry, append
from forge_core.ledger.received import COMMAND_RECEIVED
from forge_core.ledger.sealing import seal
from forge_core.ledger.tree import sealed_size, stored_nodes
from tests.core.factories import CHORE, House
from tests.support import until

LONG = bool(os.environ.get("FORGE_LONG"))
STORM_SECONDS = 60 if LONG else 4
AT = datetime(2026, 1, 1, tzinfo=UTC)

_numbers = count()


def drafted(entries: int) -> list[Entry]:
    """Entries that fold into nothing, each on a subject of its own."""
    subjects = [f"command:tests/{next(_numbers)}" for _ in range(entries)]
    return [Entry(COMMAND_RECEIVED, AT, "issuer:tests", s, {"kind": "x"}) for s in subjects]


def appended(engine: Engine, entries: int) -> list[int]:
    with transaction(engine) as session:
        return append(session, drafted(entries))


@contextmanager
def engine_of(house: House, connections: int = 1) -> Iterator[Engine]:
    engine = make_engine(house.server.url("forge_app", house.name), pool_size=connections)
    try:
        yield engine
    finally:
        engine.dispose()


class Oracle:
    """RFC 9162, 2.1, word for word over leaf hashes in memory; nothing of the house is used."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, size: int) -> bytes:
        return self._mth(0, size) if size else sha256().digest()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return self._path(index, 0, size)

    def consistency(self, size1: int, size2: int) -> list[bytes]:
        return self._subproof(size1, 0, size2, whole=True)

    def _mth(self, start: int, end: int) -> bytes:
        if end - start == 1:
            return self._leaves[start]
        if (start, end) not in self._known:
            middle = start + _split(end - start)
            pair = self._mth(start, middle) + self._mth(middle, end)
            self._known[start, end] = sha256(b"\x01" + pair).digest()
        return self._known[start, end]

    def _path(self, m: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        k = _split(end - start)
        middle = start + k
        if m < k:
            return [*self._path(m, start, middle), self._mth(middle, end)]
        return [*self._path(m - k, middle, end), self._mth(start, middle)]

    def _subproof(self, m: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if m == end - start:
            return [] if whole else [self._mth(start, end)]
        k = _split(end - start)
        middle = start + k
        if m <= k:
            return [*self._subproof(m, start, middle, whole=whole), self._mth(middle, end)]
        return [*self._subproof(m - k, middle, end, whole=False), self._mth(start, middle)]


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def placed(house: House) -> list[int]:
    """The identity numbers in the order of positions; positions are 0, 1, 2, ..."""
    rows = house.sql("SELECT position, entry_id FROM ledger_order ORDER BY position")
    assert [position for position, _ in rows] == list(range(len(rows)))
    return [entry_id for _, entry_id in rows]


def assert_each_entry_sealed_once(house: House) -> None:
    """INV-45, INV-46."""
    committed = [id_ for (id_,) in house.sql("SELECT id FROM ledger_entries ORDER BY id")]
    order = placed(house)
    assert sorted(order) == committed
    assert house.one("SELECT count(*) FROM ledger_unsealed") == 0
    bodies = house.sql(
        "SELECT body FROM ledger_order JOIN ledger_entries ON id = entry_id ORDER BY position"
    )
    oracle = Oracle([sha256(b"\x00" + bytes(body)).digest() for (body,) in bodies])
    with transaction(house.app) as session:
        assert merkle.root(len(order), stored_nodes(session)) == oracle.root(len(order))
    assert house.verify() == []


# Kills

CRASH = """
import sys
from forge_core.database import make_engine
from forge_core.jobs.perform import perform_chore
from forge_core.wiring import CHORES
(chore,) = (chore for chore in CHORES if chore.name == "ledger.seal")
perform_chore(make_engine(sys.argv[1]), chore)
"""
POINTS = ("seal.locked", "seal.placed", "seal.extended", "jobs.finished", "jobs.committed")


def crash(house: House, point: str) -> None:
    """Seal in a process that kills itself at a failpoint, and see the server let go of it."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH, house.server.url("forge_app", house.name)],
        env={**os.environ, "FORGE_FAILPOINTS": f"{point}=kill"},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    open_ = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state LIKE 'idle in%%'"
    until(lambda: house.one(open_, house.name) == 0)


@pytest.mark.parametrize("point", POINTS)
def test_a_sealer_killed_between_any_two_steps_loses_nothing_and_repeats_nothing(house, point):
    """INV-45, INV-46: nothing of it before the commit, all of it after."""
    house.seal()
    before = len(placed(house))
    appended(house.app, 700)

    crash(house, point)

    assert len(placed(house)) == before + (700 if point == "jobs.committed" else 0)
    house.seal()
    assert_each_entry_sealed_once(house)


def test_sealers_killed_one_after_the_other_while_entries_come_in(house):
    """INV-46."""
    for point in POINTS:
        appended(house.app, 150)
        crash(house, point)
    appended(house.app, 150)
    house.seal()

    assert_each_entry_sealed_once(house)


# Rivals


def test_a_second_sealer_has_nothing_to_do_while_the_first_is_at_it(house):
    house.seal()
    before = len(placed(house))
    appended(house.app, 3)
    with transaction(house.app) as first:
        assert seal(first, most=2)  # a full load: more may wait
        appended(house.app, 3)
        with transaction(house.app) as second:
            assert not seal(second)
        assert len(placed(house)) == before

    house.seal()

    assert_each_entry_sealed_once(house)


def test_two_sealers_at_once_seal_every_entry_once(house):
    """INV-46: they set out together, a hundred times, while entries are appended."""
    together = threading.Barrier(2)

    def seal_often() -> None:
        with engine_of(house) as engine:
            for _ in range(100):
                together.wait(timeout=30)
                with transaction(engine) as session:
                    seal(session, most=5)

    with ThreadPoolExecutor(2) as pool:
        sealers = [pool.submit(seal_often) for _ in range(2)]
        while not all(sealer.done() for sealer in sealers):
            appended(house.app, 2)
        for sealer in sealers:
            sealer.result()
    house.seal()

    assert_each_entry_sealed_once(house)


# Storms


class Aborted(Exception):
    """A writer's own reason to roll back."""


@dataclass
class Storm:
    """Writers that delay, abort and commit late, and one sealer, all at the same time."""

    committed: set[int] = field(default_factory=set)
    aborted: int = 0
    batches: list[list[int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def rage(self, house: House, seconds: float, writers: int = 16) -> None:
        with engine_of(house, writers + 2) as engine, ThreadPoolExecutor(writers + 1) as pool:
            sealer = pool.submit(self._seal, engine)
            try:
                self._commit_late(engine)
                until_ = time.monotonic() + seconds
                for done in [pool.submit(self._write, engine, n, until_) for n in range(writers)]:
                    done.result()
            finally:
                self.over.set()
            sealer.result()

    def lost_by_following_ids(self) -> int:
        """How many of these entries a sealer that asks for ``id > last`` would never have seen."""
        last = lost = 0
        for batch in self.batches:
            lost += sum(id_ < last for id_ in batch)
            last = max(last, *batch)
        return lost

    def _seal(self, engine: Engine) -> None:
        known = 0
        while True:
            last_time = self.over.is_set()
            perform_chore(engine, CHORE["ledger.seal"])
            with transaction(engine) as session:
                batch = order_from(session, known)
            if batch:
                self.batches.append(batch)
                known += len(batch)
            elif last_time:
                return

    def _commit_late(self, engine: Engine) -> None:
        """The one case that has to happen: an early number, committed after later ones."""
        with transaction(engine) as session:
            early = append(session, drafted(1))
            later = appended(engine, 1)
            until(lambda: any(later[0] in batch for batch in self.batches))
        self.committed.update(early, later)

    def _write(self, engine: Engine, number: int, until_: float) -> None:
        random = Random(number)
        while time.monotonic() < until_:
            with suppress(Aborted):
                self.committed.update(self._write_once(engine, random))

    def _write_once(self, engine: Engine, random: Random) -> list[int]:
        with transaction(engine) as session:
            ids = append(session, drafted(random.randint(1, 4)))
            long = random.random() < 0.05
            time.sleep(random.uniform(0.1, 0.5) if long else random.uniform(0, 0.01))
            ids += append(session, drafted(random.randint(0, 2)))
            if random.random() < 0.15:
                self.aborted += 1
                raise Aborted
        return ids


def order_from(session: Session, position: int) -> list[int]:
    """Identity numbers by position, from one on; only this sealer adds to them."""
    statement = "SELECT entry_id FROM ledger_order WHERE position >= %(first)s ORDER BY position"
    rows = session.connection().exec_driver_sql(statement, {"first": position})
    return list(rows.scalars())


@pytest.mark.timeout(0 if LONG else 120)
def test_nothing_is_lost_when_writers_commit_late_and_abort(house):
    """INV-45, INV-46: what is committed is sealed, once, in identity order within a batch."""
    storm = Storm()
    founding = {id_ for (id_,) in house.sql("SELECT id FROM ledger_entries")}

    storm.rage(house, STORM_SECONDS)

    order = placed(house)
    assert set(order) == storm.committed | founding
    assert [id_ for batch in storm.batches for id_ in batch] == order
    assert all(batch == sorted(batch) for batch in storm.batches)
    assert storm.aborted > 0
    assert storm.lost_by_following_ids() > 0
    assert_each_entry_sealed_once(house)


def test_following_identity_numbers_would_lose_what_is_committed_late(house):
    """INV-46: the trap, step by step, and that sealing does not fall into it."""
    house.seal()
    after = "SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM ledger_entries WHERE id > %s"
    last = house.one("SELECT max(id) FROM ledger_entries")
    with transaction(house.app) as session:
        (early,) = append(session, drafted(1))
        (later,) = appended(house.app, 1)
        followed = house.one(after, last)
        house.seal()

    assert followed == [later]
    assert house.one(after, later) == []  # whoever follows has seen the last of it
    house.seal()
    assert placed(house)[-2:] == [later, early]
    assert_each_entry_sealed_once(house)


def test_a_position_is_taken_by_no_entry_that_was_rolled_back(house):
    with suppress(Aborted), transaction(house.app) as session:
        append(session, drafted(300))
        house.seal()
        raise Aborted
    appended(house.app, 1)
    house.seal()

    assert_each_entry_sealed_once(house)


# The stored tree

BORDERS = (1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537)
MANY = """
    INSERT INTO ledger_entries (kind, subject, body)
    SELECT 'command.received', subject, convert_to(
        '{"actor":"issuer:tests","at":"2026-01-01T00:00:00.000000Z","data":{"kind":"x"},'
        || '"kind":"command.received","subject":"' || subject || '","v":1}', 'UTF8')
    FROM (SELECT 'command:many/' || n AS subject FROM generate_series(1, 65537) AS n) AS given
"""


def test_roots_and_proofs_across_tile_borders_are_those_of_rfc_9162(empty_house):
    """INV-45: sealed up to each border in turn, so that batches end on it and beside it."""
    house = empty_house
    house.sql(MANY)
    leaves = house.sql("SELECT body FROM ledger_entries ORDER BY id")
    oracle = Oracle([sha256(b"\x00" + bytes(body)).digest() for (body,) in leaves])

    for size in BORDERS:
        with transaction(house.app) as session:
            seal(session, most=size - sealed_size(session))
        with transaction(house.app) as session:
            assert sealed_size(session) == size
            node = stored_nodes(session)
            for smaller in (border for border in BORDERS if border <= size):
                assert merkle.root(smaller, node) == oracle.root(smaller)
                proof = merkle.consistency_proof(smaller, size, node)
                assert proof == oracle.consistency(smaller, size)
                for index in {0, smaller // 2, smaller - 1}:
                    assert merkle.inclusion_proof(index, size, node) == oracle.inclusion(
                        index, size
                    )
    assert house.sql("SELECT level, count(*) FROM ledger_tiles GROUP BY level ORDER BY level") == [
        (0, 256),
        (1, 1),
    ]
