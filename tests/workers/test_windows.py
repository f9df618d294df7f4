"""Windows in a real Valkey beside real rows: never fewer failures, whatever is lost on the way."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from forge_core.database import as_json, make_engine, transaction
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.usage import HYPERLOGLOG_ERROR
from forge_core.immune.intake.windows import Failures, Outcome, RowWindows
from forge_workers.windows import KEPT, ValkeyWindows
from tests.support import until
from tests.workers.own_valkey import own_valkey

NOWHERE = "redis://:nobody@127.0.0.1:1/0"
SUBJECTS = (Subject("overlay", "o-1"), Subject("overlay", "o-2"), Subject("address", "10.0.0.1"))
OVERLAY, _, ADDRESS = SUBJECTS

_INSERT = text("""
    INSERT INTO runtime_events (source, id, at, type, subject_kind, subject, success, data)
    SELECT 's', id, at, type, kind, subject, success, data
    FROM json_to_recordset(CAST(:rows AS json)) AS given (
        id text, at timestamptz, type text, kind text, subject text, success boolean, data jsonb
    )
    ON CONFLICT DO NOTHING
""")


@dataclass
class Place:
    """A database, a Valkey, and the windows between them."""

    engine: Engine
    valkey: redis.Redis
    windows: ValkeyWindows
    now: datetime
    sql: Callable[[str], None]

    def at(self, seconds: float) -> datetime:
        """So long before now."""
        return self.now - timedelta(seconds=seconds)

    def outcome(self, seconds: float, *, success: bool = False, id_: str = "") -> Outcome:
        return Outcome(self.at(seconds), f"s {id_ or uuid.uuid4()}", success)

    def insert(self, session: Session, told: dict[Subject, list[Outcome]]) -> None:
        rows = [
            {
                "id": one.id.removeprefix("s "),
                "at": one.at.isoformat(),
                "type": "overlay.invoked" if subject.kind == "overlay" else "auth.attempted",
                "kind": subject.kind,
                "subject": subject.id,
                "success": one.success,
                "data": {},
            }
            for subject, outcomes in told.items()
            for one in outcomes
        ]
        session.execute(_INSERT, {"rows": as_json(rows)})

    def flush(self, told: dict[Subject, list[Outcome]]) -> tuple[dict, dict]:
        """As a consumer does: insert, then ask. Also what the rows say then."""
        with transaction(self.engine) as session:
            self.insert(session, told)
            said = dict(self.windows.failures(session, told))
            return said, dict(RowWindows().failures(session, told))

    def settled(self, *subjects: Subject) -> None:
        """Opened by a flush, then loaded when whatever else the cluster has under way has ended."""
        told = {one: [self.outcome(1, success=True)] for one in subjects}
        self.flush(told)

        def complete() -> bool:
            with transaction(self.engine) as session:
                self.windows.failures(session, told)
            return all(self.state(one).startswith("!") for one in subjects)

        until(complete, 60)

    def key(self, subject: Subject) -> str:
        (key,) = self.valkey.keys(f"forge:window:*:{subject.kind}:{subject.id}")
        return key

    @contextmanager
    def without_rows(self) -> Iterator[Session]:
        """What only the windows can know."""
        self.sql("TRUNCATE runtime_events")
        with transaction(self.engine) as session:
            yield session

    def state(self, subject: Subject) -> str:
        return str(self.valkey.zrange(self.key(subject), -1, -1)[0])


@pytest.fixture
def place(servers, database, redis_url) -> Iterator[Place]:
    engine = make_engine(database.app_url)
    windows = ValkeyWindows(redis_url)
    with (
        servers.postgres.superuser(database.name) as connection,
        connection.cursor() as cursor,
        redis.Redis.from_url(redis_url, decode_responses=True) as valkey,
    ):
        cursor.execute("SELECT forge_roll_events()")
        yield Place(engine, valkey, windows, datetime.now(UTC), cursor.execute)
    windows.close()
    engine.dispose()


def test_a_window_answers_alone_once_it_is_complete(place) -> None:
    place.settled(*SUBJECTS)
    told = {one: [place.outcome(0), place.outcome(400)] for one in SUBJECTS}
    with place.without_rows() as session:
        said = place.windows.failures(session, told)
    assert said[OVERLAY] == Failures(2, 2)
    assert said[ADDRESS].hour == 2


def test_a_window_holds_what_the_rows_held_when_it_was_opened(place) -> None:
    with transaction(place.engine) as session:
        place.insert(session, {one: [place.outcome(n) for n in range(9)] for one in SUBJECTS})
    place.settled(*SUBJECTS)
    with place.without_rows() as session:
        said = place.windows.failures(session, {one: [place.outcome(0)] for one in SUBJECTS})
    assert set(said.values()) == {Failures(10, 10)}


def test_an_overlay_is_judged_by_its_last_fifty_calls_and_an_address_by_its_hour(place) -> None:
    place.settled(OVERLAY, ADDRESS)
    place.flush({OVERLAY: [place.outcome(300 - n, success=n >= 20) for n in range(70)]})
    place.flush({ADDRESS: [place.outcome(100 * n) for n in range(1, 40)]})
    now = {one: [place.outcome(0)] for one in (OVERLAY, ADDRESS)}
    said, rows = place.flush(now)
    assert said == rows
    assert said[OVERLAY] == Failures(1, 1)
    assert said[ADDRESS] == Failures(4, 37)


def test_outcomes_told_again_are_counted_once(place) -> None:
    place.settled(*SUBJECTS)
    told = {one: [place.outcome(n) for n in range(5)] for one in SUBJECTS}
    for _ in range(3):
        with Session(place.engine) as session:
            place.insert(session, told)
            said = place.windows.failures(session, told)
            session.rollback()
    assert set(said.values()) == {Failures(5, 5)}


def test_a_flood_of_failures_counts_as_more_than_any_threshold(place) -> None:
    place.settled(ADDRESS)
    for start in range(0, 400, 50):
        said, rows = place.flush({ADDRESS: [place.outcome(400 - start - n) for n in range(50)]})
    assert said[ADDRESS].hour >= rows[ADDRESS].hour == 400
    assert said[ADDRESS].recent >= rows[ADDRESS].recent


@pytest.mark.parametrize("subject", [OVERLAY, ADDRESS])
def test_no_window_takes_more_room_than_a_small_set_does(place, subject) -> None:
    place.settled(subject)
    for flush in (1, 30, 700, 5):
        place.flush({subject: [place.outcome(n, success=n % 3 == 0) for n in range(flush)]})
    key = place.key(subject)
    assert place.valkey.zcard(key) <= KEPT + 1
    assert place.valkey.object("encoding", key) == "listpack"
    assert 0 < place.valkey.pttl(key) <= 300_000


def test_a_window_that_was_lost_while_somebody_had_told_it_waits_for_them(place) -> None:
    place.settled(OVERLAY)
    with Session(place.engine) as slow:
        told = {OVERLAY: [place.outcome(n) for n in range(5)]}
        place.insert(slow, told)
        place.windows.failures(slow, told)
        place.valkey.flushdb()
        for _ in range(4):
            place.flush({OVERLAY: [place.outcome(0, success=True)]})
        assert place.state(OVERLAY).startswith("?")
        slow.commit()
    for _ in range(2):
        said, _ = place.flush({OVERLAY: [place.outcome(0)]})
    assert place.state(OVERLAY).startswith("!")
    assert said[OVERLAY] == Failures(7, 7)


def test_the_rows_answer_while_valkey_is_away_and_nothing_is_missed_after_it(place) -> None:
    place.settled(*SUBJECTS)
    reached, place.windows = place.windows, ValkeyWindows(NOWHERE)
    for _ in range(2):  # the second time it is left alone
        said, rows = place.flush({one: [place.outcome(5)] for one in SUBJECTS})
        assert said == rows
    place.windows.close()
    place.windows = reached
    for _ in range(3):
        said, rows = place.flush({one: [place.outcome(0)] for one in SUBJECTS})
        assert said == rows
    assert set(said.values()) == {Failures(5, 5)}


def test_a_server_that_restarts_has_forgotten_everything_and_nothing_is_missed(place) -> None:
    place.windows.close()
    with own_valkey() as own:
        place.windows = ValkeyWindows(own.url)
        for between in (own.restart, own.stop, own.start):
            for _ in range(3):
                said, rows = place.flush({one: [place.outcome(0)] for one in SUBJECTS})
                assert said == rows
            between()
        said, rows = place.flush({one: [place.outcome(0)] for one in SUBJECTS})
        assert said == rows
    assert set(said.values()) == {Failures(10, 10)}


def test_memory_that_runs_out_costs_windows_and_no_failures(place) -> None:
    place.windows.close()
    with own_valkey() as own, redis.Redis.from_url(own.url) as valkey:
        place.windows = ValkeyWindows(own.url)
        valkey.config_set("maxmemory", valkey.info("memory")["used_memory"] + 300_000)
        addresses = [Subject("address", f"10.0.{n // 250}.{n % 250}") for n in range(1_000)]
        for _ in range(3):
            for start in range(0, len(addresses), 100):
                told = {one: [place.outcome(0)] for one in addresses[start : start + 100]}
                said, rows = place.flush(told)
                assert said == rows
        assert valkey.info("stats")["evicted_keys"]


def test_scripts_that_the_server_has_forgotten_are_told_again(place) -> None:
    place.settled(OVERLAY)
    place.valkey.script_flush()
    with place.without_rows() as session:
        said = place.windows.failures(session, {OVERLAY: [place.outcome(0)]})
    assert said[OVERLAY] == Failures(1, 1)


def test_a_key_of_another_kind_is_as_good_as_none(place) -> None:
    place.settled(OVERLAY)
    place.valkey.set(place.key(OVERLAY), "not a window")
    said, rows = place.flush({OVERLAY: [place.outcome(0)]})
    assert said == rows


# How long ago, and whether it went well.
_TOLD = st.tuples(
    st.integers(0, len(SUBJECTS) - 1),
    st.one_of(st.integers(0, 20), st.integers(250, 350), st.integers(3_500, 11_000)),
    st.booleans(),
)
_FEW = st.lists(_TOLD, min_size=1, max_size=5)
_STEPS = st.one_of(
    st.tuples(st.just("flush"), st.lists(_TOLD, min_size=1, max_size=60)),
    st.tuples(st.sampled_from(["flush", "undo", "hold", "out_of_reach"]), _FEW),
    st.tuples(st.just("again"), st.integers(0, 100)),
    st.tuples(st.just("evict"), st.integers(0, len(SUBJECTS) - 1)),
    st.tuples(st.sampled_from(["release", "empty"]), st.none()),
)


class Run:
    """One history, of subjects of its own; each flush compares what windows and rows say."""

    def __init__(self, place: Place) -> None:
        self.place = place
        run = uuid.uuid4().hex[:12]
        self.subjects = [Subject(one.kind, f"{run}-{one.id}") for one in SUBJECTS]
        self.flushes: list[dict[Subject, list[Outcome]]] = []
        self.failed: dict[Subject, set[Outcome]] = {one: set() for one in self.subjects}
        self.away = ValkeyWindows(NOWHERE)
        self.slow = Session(place.engine)

    def close(self) -> None:
        self.slow.close()
        self.away.close()

    def tell(self, session: Session, told, windows: ValkeyWindows | None = None) -> None:
        self.place.insert(session, told)
        said = (windows or self.place.windows).failures(session, told)
        rows = RowWindows().failures(session, told)
        for one in told:
            assert said[one].recent >= rows[one].recent
            assert said[one].hour >= rows[one].hour
            if one.kind == "overlay":
                assert said[one].hour <= len(self.failed[one])

    def heard(self, items) -> dict[Subject, list[Outcome]]:
        told: dict[Subject, list[Outcome]] = {}
        for which, seconds, success in items:
            outcome = self.place.outcome(seconds, success=success)
            told.setdefault(self.subjects[which], []).append(outcome)
            if not success:
                self.failed[self.subjects[which]].add(outcome)
        self.flushes.append(told)
        return told

    def flush(self, items) -> None:
        with transaction(self.place.engine) as session:
            self.tell(session, self.heard(items))

    def undo(self, items) -> None:
        """Rolled back, and done again."""
        told = self.heard(items)
        with Session(self.place.engine) as session:
            self.tell(session, told)
        with transaction(self.place.engine) as session:
            self.tell(session, told)

    def hold(self, items) -> None:
        """By somebody who does not commit before the next release."""
        self.tell(self.slow, self.heard(items))

    def again(self, which: int) -> None:
        self.release()  # it may hold the same events
        if self.flushes:
            with transaction(self.place.engine) as session:
                self.tell(session, self.flushes[which % len(self.flushes)])

    def out_of_reach(self, items) -> None:
        with transaction(self.place.engine) as session:
            self.tell(session, self.heard(items), self.away)

    def release(self, _: object = None) -> None:
        self.slow.commit()

    def evict(self, which: int) -> None:
        for key in self.place.valkey.keys(f"forge:window:*{self.subjects[which].id}"):
            self.place.valkey.delete(key)

    def empty(self, _: object = None) -> None:
        self.place.valkey.flushdb()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEPS, min_size=3, max_size=25))
def test_there_are_never_fewer_failures_than_the_rows_hold(place, steps) -> None:
    """Told late, twice, in any order and by two at once; evicted, emptied, out of reach."""
    run = Run(place)
    try:
        for step, detail in steps:
            getattr(run, step)(detail)
        run.release()
        for _ in range(3):
            run.flush([(which, 0, False) for which in range(len(SUBJECTS))])
    finally:
        run.close()


def download(place: Place, session: Session, items: list[str]) -> None:
    session.execute(
        text("""
            INSERT INTO runtime_events (source, id, at, type, subject_kind, subject, data)
            VALUES ('s', :id, :at, 'data.downloaded', 'member', 'mia', CAST(:data AS jsonb))
        """),
        {"id": str(uuid.uuid4()), "at": place.at(1), "data": as_json({"items": items})},
    )


def fetched(place: Place, items: list[str]) -> tuple[int, int]:
    """Download them; what the window says, and what the rows do."""
    with transaction(place.engine) as session:
        download(place, session, items)
        said = place.windows.different_items(session, {"mia": items})["mia"]
        return said, RowWindows().different_items(session, {"mia": items})["mia"]


def items_are_complete(place: Place) -> bool:
    """Loaded: when whatever else the cluster has under way has ended."""
    with transaction(place.engine) as session:
        place.windows.different_items(session, {"mia": []})
    (state,) = place.valkey.keys("forge:items:*mia")
    return place.valkey.get(state) == "!"


def test_different_items_are_estimated_within_the_error_that_is_allowed(place) -> None:
    for start in range(0, 6_000, 500):
        items = [f"item-{n}" for n in range(start, start + 600)]
        said, rows = fetched(place, items)
        assert float(rows * (1 - HYPERLOGLOG_ERROR)) <= said <= float(rows * 1.03)
    until(lambda: items_are_complete(place), 60)
    with place.without_rows() as session:
        assert place.windows.different_items(session, {"mia": ["item-0"]})["mia"] > 5_000


@pytest.mark.parametrize("lost", ["forge:items:*", "forge:items:*mia", "forge:items:*seen"])
def test_items_that_were_forgotten_are_counted_in_the_rows(place, lost) -> None:
    for part in "abc":
        fetched(place, [f"{part}-{n}" for n in range(10)])
    for key in place.valkey.keys(lost):
        place.valkey.delete(key)
    assert fetched(place, ["one-more"]) == (31, 31)
    assert fetched(place, ["and-another"]) == (32, 32)

    until(lambda: items_are_complete(place), 60)
    with place.without_rows() as session:
        assert place.windows.different_items(session, {"mia": []}) == {"mia": 32}


def test_items_are_counted_in_the_rows_while_valkey_is_away(place) -> None:
    fetched(place, ["a"])
    place.windows.close()
    place.windows = ValkeyWindows(NOWHERE)
    assert fetched(place, ["b", "c"]) == (3, 3)
