"""Outgoing events on a real broker: at least once, in order, whatever is killed, lost or wiped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Queue
from kombu.transport.redis import Channel
from sqlalchemy import Engine
from structlog.testing import capture_logs

from forge_core.database import make_engine, transaction
from forge_core.errors import Misconfigured, Refused
from forge_core.ledger.publishing import LEASE, claim, progress, rewind
from forge_core.settings import VARIABLES, Settings
from forge_workers import ledger_events
from forge_workers.app import app
from forge_workers.ledger_events import CONTENT_TYPE, EXCHANGE, Publisher, _Bound, parse_queues
from tests.conftest import Database, TestServers
from tests.core.factories import House, found_house, signer
from tests.support import in_child

NOWHERE = "redis://:nobody@127.0.0.1:1/0"
ALL = "all=#"
PAGE = Path(__file__).parents[2] / "docs" / "events.md"


@pytest.fixture
def house(servers: TestServers, database: Database) -> Iterator[House]:
    """Founded and sealed: ten events wait."""
    house = House(servers.postgres, database.name)
    found_house(house)
    house.seal()
    yield house
    house.close()


@dataclass
class Site:
    """One process that publishes, and what a consumer of its queues would get."""

    engine: Engine
    broker_url: str
    publisher: Publisher
    queues: str = ALL

    def publish(self) -> None:
        self.publisher.publish(self.engine, parse_queues(self.queues))

    def another(self, broker_url: str | None = None) -> Site:
        url = broker_url or self.broker_url
        return Site(self.engine, url, Publisher(app, broker_url=url), self.queues)

    def waiting(self, name: str = "all") -> list[Any]:
        """Take every message out of a queue, oldest first."""
        found = []
        with Connection(self.broker_url, transport="kombu.transport.redis:Transport") as broker:
            queue = Queue(name)(broker.default_channel)
            while message := queue.get(no_ack=True, accept=[CONTENT_TYPE]):
                found.append(message)
        return found

    def events(self, name: str = "all") -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.waiting(name)]

    def cursor(self) -> int:
        with transaction(self.engine) as session:
            return progress(session).position


@pytest.fixture
def site(settings: Settings, house: House) -> Iterator[Site]:  # noqa: ARG001  # sealed
    engine = make_engine(settings.database_url)
    site = Site(engine, settings.broker_url, Publisher(app, broker_url=settings.broker_url))
    yield site
    site.publisher.close()
    engine.dispose()


def positions(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["id"]) for event in events]


def ledger(house: House) -> list[dict[str, Any]]:
    rows = house.sql(
        "SELECT body FROM ledger_order JOIN ledger_entries ON id = entry_id ORDER BY position"
    )
    return [json.loads(bytes(body)) for (body,) in rows]


def kept_by_consumer(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a consumer keeps that knows the ids it has seen."""
    kept: dict[str, dict[str, Any]] = {}
    for event in events:
        kept.setdefault(event["id"], event)
    return list(kept.values())


def end_lease(house: House) -> None:
    """As if its thirty seconds were over."""
    house.sql("UPDATE event_cursors SET lease_until = clock_timestamp()")


@pytest.fixture
def when(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Do something when the publisher first reaches a point."""
    awaited: dict[str, Callable[[], None]] = {}
    monkeypatch.setattr(ledger_events, "reach", lambda name: awaited.pop(name, lambda: None)())
    return awaited.__setitem__


def test_the_whole_ledger_comes_once_and_in_order(house, site) -> None:
    site.publish()
    site.publish()

    events = site.events()
    assert positions(events) == list(range(len(ledger(house))))
    assert [event["data"] for event in events] == ledger(house)
    assert site.cursor() == len(events) == 10


def test_an_event_is_a_cloudevent_in_structured_mode(house, site, folder) -> None:
    house.checkpoint(folder)
    house.seal()
    site.publish()

    [*_, last] = site.waiting()
    assert last.content_type == CONTENT_TYPE == "application/cloudevents+json"
    event = json.loads(last.body)
    entry = ledger(house)[-1]
    assert event == {
        "specversion": "1.0",
        "id": str(len(ledger(house)) - 1),
        "source": "forge/forge.test",
        "type": "forge.ledger.key_announced",
        "subject": "ledger",
        "time": entry["at"],
        "datacontenttype": "application/json",
        "data": entry,
    }
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert last.delivery_info["routing_key"] == entry["kind"]
    assert signer(folder).key.verifier.name == "forge.test"


def test_before_any_key_the_source_is_the_ledger(site) -> None:
    site.publish()

    assert {event["source"] for event in site.events()} == {"forge/ledger"}


def test_no_personal_text_goes_out(house, site) -> None:
    house.propose(title="Ann's own words", description="Ann lives here.")
    house.seal()
    site.publish()

    assert not any(b"Ann" in message.body for message in site.waiting())


def test_a_queue_gets_the_kinds_it_is_bound_to_before_any_consumer_came(house, site) -> None:
    house.open()
    house.seal()
    site.queues = "all=#;site=proposal.*,policy.*;founding=ledger.founded"
    site.publish()

    wanted = [entry for entry in ledger(house) if entry["kind"].startswith("proposal.")]
    assert [event["data"] for event in site.events("site")] == wanted != []
    assert positions(site.events("all")) == list(range(len(ledger(house))))


def test_without_queues_the_cursor_moves_and_nothing_is_kept(house, site) -> None:
    site.queues = ""
    site.publish()

    assert site.cursor() == len(ledger(house))
    with redis.Redis.from_url(site.broker_url) as broker:
        assert [key for key in broker.scan_iter() if broker.type(key) == b"list"] == []


def test_while_nothing_is_bound_the_cursor_goes_to_the_end_at_once(
    house, site, monkeypatch
) -> None:
    monkeypatch.setattr(ledger_events, "MOST_ENTRIES", 2)
    monkeypatch.setattr(ledger_events, "TURN", 0)
    site.queues = ""
    site.publish()

    assert site.cursor() == len(ledger(house)) > 2


def test_a_queue_that_its_consumer_declared_gets_events(house, site) -> None:
    site.queues = ""
    with Connection(site.broker_url, transport="kombu.transport.redis:Transport") as broker:
        Queue("own", EXCHANGE, routing_key="#")(broker.default_channel).declare()
    site.publish()

    assert positions(site.events("own")) == list(range(len(ledger(house))))


def test_who_binds_while_a_run_goes_on_gets_the_next_piece(site, when, monkeypatch) -> None:
    monkeypatch.setattr(ledger_events, "MOST_ENTRIES", 2)

    def bind() -> None:
        with Connection(site.broker_url, transport="kombu.transport.redis:Transport") as broker:
            Queue("own", EXCHANGE, routing_key="#")(broker.default_channel).declare()

    when("publish.sent", bind)
    site.publish()

    assert positions(site.events("own")) == list(range(2, 10))


def test_bindings_are_asked_for_once_a_piece(site, monkeypatch) -> None:
    get_table, asked = Channel.get_table, []

    def counted(self, exchange):
        asked.append(exchange)
        return get_table(self, exchange)

    monkeypatch.setattr(Channel, "get_table", counted)
    monkeypatch.setattr(ledger_events, "MOST_ENTRIES", 5)
    site.publish()

    assert sorted(asked) == ["forge.ledger", "forge.ledger", *["forge.ledger.live"] * 2]


def test_a_broker_that_cannot_tell_what_is_bound_is_sent_everything() -> None:
    bound = _Bound(object(), EXCHANGE)  # as a channel of AMQP

    assert bound.anything()
    assert bound.reached_by("proposal.decided")


def test_pieces_join_without_seam(house, site, monkeypatch) -> None:
    monkeypatch.setattr(ledger_events, "MOST_ENTRIES", 2)
    site.publish()

    assert positions(site.events()) == list(range(len(ledger(house))))


def test_a_run_gives_up_its_turn_and_the_next_one_goes_on(site, monkeypatch) -> None:
    monkeypatch.setattr(ledger_events, "MOST_ENTRIES", 2)
    monkeypatch.setattr(ledger_events, "TURN", 0)
    site.publish()
    assert site.cursor() == 1

    site.publish()
    assert positions(site.events()) == [0, 1]


def test_a_turn_also_ends_within_a_piece(site, monkeypatch) -> None:
    """A worker that shuts down waits for a run, and a slow broker may need minutes for a piece."""
    put = Channel._put
    real, late = ledger_events.monotonic, []

    def slow(self, queue, message, **kwargs):
        late.append(ledger_events.TURN / 2)
        return put(self, queue, message, **kwargs)

    monkeypatch.setattr(Channel, "_put", slow)
    monkeypatch.setattr(ledger_events, "monotonic", lambda: real() + sum(late))
    site.publish()

    assert positions(site.events()) == [0, 1]
    assert site.cursor() == 2


def test_a_run_without_news_writes_nothing(house, site) -> None:
    site.publish()
    before = house.sql("SELECT xmin::text, * FROM event_cursors")
    site.publish()

    assert house.sql("SELECT xmin::text, * FROM event_cursors") == before


@pytest.mark.parametrize("point", ["publish.claimed", "publish.sent", "publish.advanced"])
def test_killed_between_two_steps_nothing_is_missing(house, site, settings, point) -> None:
    named = {variable: getattr(settings, name) for name, variable in VARIABLES.items()}
    done = subprocess.run(
        [sys.executable, "-c", "from forge_workers.ledger_events import publish; publish()"],
        env={**os.environ, **named, "FORGE_EVENT_QUEUES": ALL, "FORGE_FAILPOINTS": f"{point}=kill"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    house.open()
    house.seal()
    end_lease(house)

    site.publish()

    events = site.events()
    assert [event["data"] for event in kept_by_consumer(events)] == ledger(house)
    assert positions(kept_by_consumer(events)) == list(range(len(ledger(house))))
    again = len(events) - len(ledger(house))
    assert again > 0 if point == "publish.sent" else again == 0


def test_of_two_publishers_at_once_one_publishes(house, site, when) -> None:
    when("publish.claimed", site.another().publish)
    site.publish()

    assert positions(site.events()) == list(range(len(ledger(house))))


def test_a_lease_that_nobody_gave_back_ends_by_itself(house, site) -> None:
    with transaction(site.engine) as session:
        assert claim(session) is not None
    site.publish()
    assert site.events() == []

    end_lease(house)
    site.publish()
    assert site.cursor() == len(ledger(house))


def test_who_lost_the_claim_moves_nothing_and_sends_no_more(house, site, when, monkeypatch) -> None:
    monkeypatch.setattr(ledger_events, "MOST_ENTRIES", 2)

    def be_taken_over() -> None:
        end_lease(house)
        with monkeypatch.context() as patch:
            patch.setattr(ledger_events, "TURN", 0)  # it sends one event
            site.another().publish()

    when("publish.sent", be_taken_over)
    with capture_logs() as logs:
        site.publish()

    assert [line["event"] for line in logs] == ["events.claim_lost"]
    assert positions(site.events()) == [0, 1, 0]
    assert site.cursor() == 1


def test_who_slept_through_the_lease_stops_before_the_next_event(
    house, site, when, monkeypatch
) -> None:
    real = ledger_events.monotonic

    def sleep() -> None:
        asleep = LEASE.total_seconds() + 1
        monkeypatch.setattr(ledger_events, "monotonic", lambda: real() + asleep)
        end_lease(house)
        site.another().publish()

    when("publish.claimed", sleep)
    site.publish()

    assert positions(site.events()) == list(range(len(ledger(house))))
    assert site.cursor() == len(ledger(house))


def test_a_rewind_wins_over_a_publisher_at_work(house, site, when) -> None:
    def go_back() -> None:
        with transaction(site.engine) as session:
            rewind(session, 3)

    site.publish()
    house.open()
    house.seal()
    when("publish.sent", go_back)
    site.publish()
    assert site.cursor() == 3

    site.events()
    site.publish()
    assert positions(site.events()) == list(range(3, len(ledger(house))))


def test_a_rewind_only_goes_back(site) -> None:
    with transaction(site.engine) as session, pytest.raises(Refused, match="POSITION_AHEAD"):
        rewind(session, 1)
    site.publish()
    with transaction(site.engine) as session:
        rewind(session, site.cursor())
    with transaction(site.engine) as session, pytest.raises(Refused, match="POSITION_AHEAD"):
        rewind(session, site.cursor() + 1)


def test_a_broker_that_is_away_moves_nothing_and_the_next_run_delivers(house, site) -> None:
    with capture_logs() as logs:
        site.another(NOWHERE).publish()
    assert [line["event"] for line in logs] == ["events.publish_failed"]
    assert "nobody" not in str(logs)
    assert site.cursor() == 0

    site.publish()
    assert positions(site.events()) == list(range(len(ledger(house))))


def test_a_broker_that_fails_midway_is_gone_on_with_where_it_failed(
    house, site, monkeypatch
) -> None:
    """A full broker that takes one message now and then makes progress, not copies."""
    put, taken = Channel._put, []

    def full_after_three(self, queue, message, **kwargs):
        if len(taken) == 3:
            raise redis.ResponseError("OOM command not allowed")
        taken.append(queue)
        return put(self, queue, message, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "_put", full_after_three)
        site.publish()
    assert site.cursor() == 3

    site.publish()
    assert positions(site.events()) == list(range(len(ledger(house))))


def test_who_only_looks_never_holds_up_who_consumes(house, site, monkeypatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise redis.NoPermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "_put_fanout", refused)
        site.publish()

    assert positions(site.events()) == list(range(len(ledger(house))))
    assert site.cursor() == len(ledger(house))


def test_a_connection_that_was_cut_is_opened_anew(house, site) -> None:
    site.publish()
    house.open()
    house.seal()
    with redis.Redis.from_url(site.broker_url) as broker:
        for other in broker.client_list(_type="normal"):
            if other["id"] != str(broker.client_id()):
                broker.client_kill_filter(_id=other["id"])

    site.publish()  # may have noticed
    site.publish()

    assert positions(kept_by_consumer(site.events())) == list(range(len(ledger(house))))


def test_after_a_wipe_queues_are_declared_again(house, site) -> None:
    site.publish()
    before = site.cursor()
    with redis.Redis.from_url(site.broker_url) as broker:
        broker.flushdb()
    house.open()
    house.seal()

    site.publish()
    after = positions(site.events())
    assert after == list(range(before, len(ledger(house))))

    with transaction(site.engine) as session:
        rewind(session, 0)
    site.publish()
    assert positions(site.events()) == list(range(len(ledger(house))))


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("=#", "'' is no name"),
        ("a b=#", "'a b' is no name"),
        (f"{'x' * 101}=#", "is no name"),
        ("votes=#", "the queue votes is not free"),
        ("_kombu.binding.forge.ledger=#", "is not free"),
        ("unacked=#", "is not free"),
        ("audit", "the queue audit has the binding ''"),
        ("audit=#,", "has the binding ''"),
        ("audit=proposal..x", "has the binding 'proposal..x'"),
        ("audit=#;audit=ballot.*", "the queue audit is named twice"),
        ("audit=#\x1b[2J", r"'#\\x1b[2J'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, problem: str) -> None:
    with pytest.raises(Misconfigured) as refusal:
        parse_queues(setting)
    assert str(refusal.value).startswith("FORGE_EVENT_QUEUES: ")
    assert problem.replace("\\\\", "\\") in str(refusal.value)


def test_a_setting_may_be_blank_and_spaced() -> None:
    assert parse_queues(" ; ") == ()
    names = [queue.name for queue in parse_queues(" audit = # ; site=proposal.*, policy.adopted ;")]
    assert names == ["audit", "site"]


def test_the_page_s_consumer_runs_as_it_stands(house, site, monkeypatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    site.queues = "audit=#"
    site.publish()
    monkeypatch.setenv("FORGE_BROKER_URL", site.broker_url)
    with in_child(code) as child:
        rest = [child.stdout.readline() for _ in range(len(ledger(house)) - 1)]
    assert rest[-1].split() == [str(len(ledger(house)) - 1), f"forge.{ledger(house)[-1]['kind']}"]
    assert EXCHANGE.name in code
