"""`forge events`: what is shown is the ledger, each entry once, whatever the broker does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from kombu import Connection

from forge_core.settings import Settings
from forge_workers.app import app
from forge_workers.cli.events import CLIENT_NAME, _Live
from forge_workers.ledger_events import LIVE, Publisher
from tests.cli.conftest import Forge
from tests.core.factories import House, found_house
from tests.support import until

TAIL = [sys.executable, "-c", "from forge_workers.cli import main; main()", "events", "tail"]


@pytest.fixture
def founded(house: House) -> House:
    """Ten entries, sealed and not published."""
    found_house(house)
    house.seal()
    return house


def publish(house: House, settings: Settings) -> None:
    publisher = Publisher(app, broker_url=settings.broker_url)
    publisher.publish(house.app, ())
    publisher.close()


@contextmanager
def tailing(settings: Settings, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A tail that is listening."""
    until(lambda: not is_listened_to(settings))  # the one before was killed
    with subprocess.Popen(
        [*TAIL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as child:
        try:
            until(lambda: is_listened_to(settings), 30)
            yield child
        finally:
            child.kill()


def is_listened_to(settings: Settings) -> bool:
    """Whether a tail listens in this test's own logical database."""
    with redis.Redis.from_url(settings.broker_url) as broker:
        wanted = (CLIENT_NAME, str(broker.get_connection_kwargs()["db"]), "1")
        clients = broker.client_list()
    return wanted in [(client["name"], client["db"], client["psub"]) for client in clients]


def lines(child: subprocess.Popen[str], count: int) -> list[str]:
    assert child.stdout is not None
    return [child.stdout.readline() for _ in range(count)]


def test_from_a_position_on_the_ledger_is_shown(forge: Forge, founded: House) -> None:
    said = forge("events", "tail", "--from", 2, "--limit", 8, "--json")

    assert said.status == 0
    shown = [json.loads(line) for line in said.out.splitlines()]
    assert [event["id"] for event in shown] == [str(number) for number in range(2, 10)]
    assert [event["data"] for event in shown] == founded.entries()[2:]


@pytest.mark.usefixtures("founded")
def test_a_line_says_position_time_type_subject_and_actor(forge: Forge) -> None:
    said = forge("events", "tail", "--from", 0, "--limit", 1)

    position, time, *rest = said.out.split()
    assert position == "0"
    assert time.endswith("Z")
    assert rest[0] == "forge.ledger.founded"
    assert len(rest) == 3


def test_a_binding_chooses_kinds(forge: Forge, founded: House) -> None:
    founded.open()
    founded.seal()
    words = ["--from", 0, "--limit", 2, "--binding", "proposal.*", "--json"]
    said = forge("events", "tail", *words)

    types = [json.loads(line)["type"] for line in said.out.splitlines()]
    assert types == ["forge.proposal.created", "forge.proposal.activated"]


def test_the_ledger_goes_over_into_what_is_live_without_seam(
    founded: House, named: Settings
) -> None:
    with tailing(named, "--from", "7", "--limit", "5", "--json") as child:
        publish(founded, named)  # all ten: seven of them before the position, three shown already
        founded.open()
        founded.seal()
        publish(founded, named)
        shown = [json.loads(line) for line in lines(child, 5)]
        assert child.wait(30) == 0

    assert [event["id"] for event in shown] == ["7", "8", "9", "10", "11"]


@pytest.mark.usefixtures("founded")
def test_what_the_broker_does_not_deliver_is_read_from_the_ledger(
    founded: House, named: Settings
) -> None:
    with tailing(named, "--json") as child:
        founded.open()
        founded.seal()  # and nobody publishes
        shown = [json.loads(line) for line in lines(child, 2)]
        assert child.poll() is None

    assert [event["id"] for event in shown] == ["10", "11"]


@pytest.fixture
def live(named: Settings) -> Iterator[_Live]:
    """Listening already."""
    until(lambda: not is_listened_to(named))
    live = _Live(named.broker_url)
    assert live.next(0.05) is None
    until(lambda: is_listened_to(named))
    yield live
    live.close()


def test_what_is_heard_is_what_was_published_in_order(
    founded: House, named: Settings, live: _Live
) -> None:
    publish(founded, named)

    heard = [live.next(5) for _ in range(10)]
    assert [event and event["id"] for event in heard] == [str(number) for number in range(10)]


NONSENSE = ["{", "[]", "7", '{"id": "x"}', '{"id": "1", "type": 2, "data": {}}', '{"id": "1"}']


def test_nonsense_on_the_exchange_is_passed_over(
    founded: House, named: Settings, live: _Live
) -> None:
    with Connection(named.broker_url) as broker:
        for body in NONSENSE:
            broker.Producer().publish(body, exchange=LIVE, routing_key="x.y", content_type="a/b")
    publish(founded, named)

    heard = []
    until(lambda: heard.append(live.next(0.05)) or heard[-1])
    heard += [live.next(5) for _ in range(9)]
    assert [event["id"] for event in heard if event] == [str(number) for number in range(10)]


def test_nothing_is_left_in_the_broker_by_who_only_looked(founded: House, named: Settings) -> None:
    with tailing(named):
        pass  # it is killed
    publish(founded, named)

    with redis.Redis.from_url(named.broker_url) as broker:
        assert [key for key in broker.scan_iter() if broker.type(key) == b"list"] == []


@pytest.mark.usefixtures("founded")
def test_interrupting_a_tail_is_no_failure(named: Settings) -> None:
    with tailing(named) as child:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""


@pytest.mark.usefixtures("founded")
def test_without_a_broker_the_ledger_is_still_shown(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_BROKER_URL", "redis://:nobody@127.0.0.1:1/0")
    said = forge("events", "tail", "--from", 0, "--limit", 10)

    assert said.status == 0
    assert len(said.out.splitlines()) == 10


def test_status_and_rewind(forge: Forge, founded: House, named: Settings) -> None:
    wanted = {"cursor": 0, "head": 10, "lag": 10}
    assert forge("events", "status", "--json").json == wanted
    publish(founded, named)
    assert forge("events", "status").out == "10 of 10 entries are published, 0 wait\n"

    assert forge("events", "rewind", 4).out == "6 events are published again, from 4 on\n"
    assert forge("events", "status", "--json").json == {"cursor": 4, "head": 10, "lag": 6}
    said = forge("events", "rewind", 5)
    assert said.status == 1
    assert "POSITION_AHEAD" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["tail", "--from", "-1"],
        ["tail", "--limit", "0"],
        ["tail", "--binding", "proposal..x"],
        ["rewind", "-1"],
        ["rewind", "soon"],
    ],
)
def test_wrong_usage_is_status_2(forge: Forge, words: list[str]) -> None:
    said = forge("events", *words)

    assert said.status == 2
    assert not said.out
