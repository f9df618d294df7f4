"""A served house: a sandbox with founders, whose jobs a thread performs, and `forge` beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from forge_core.ids import uuid7
from forge_core.settings import VARIABLES, Settings
from forge_workers.cli.app import app
from tests.conftest import Database, TestServers
from tests.core.factories import FULL_FOUNDERS, Answer, House, found_house
from tests.support import until


@dataclass(frozen=True)
class Said:
    """What one `forge` command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Forge = Callable[..., Said]


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    """Run one command without any server known, unless another fixture names some."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Said:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment names an empty, migrated database and a broker."""
    monkeypatch.setenv("FORGE_HOME", str(settings.home))
    for name, variable in VARIABLES.items():
        monkeypatch.setenv(variable, getattr(settings, name))
    return settings


class Attended(House):
    """A house with somebody at work beside it: the answer to a command is waited for."""

    def command(
        self, kind: str, actor: str | None, payload: object, *, command_id: UUID | None = None
    ) -> Answer:
        command_id = command_id or uuid7()
        answer = super().command(kind, actor, payload, command_id=command_id)
        if answer.state == "pending":
            until(lambda: self.answer(command_id).state != "pending", seconds=60)
            answer = self.answer(command_id)
        return answer

    def settle(self) -> None:
        """What is to do may be in the hands of whoever works beside."""
        super().settle()
        until(lambda: not self.one("SELECT count(*) FROM jobs WHERE state = 'running'"), 60)

    def end_voting(self, proposal: str) -> None:
        """The same of the closing."""
        super().end_voting(proposal)
        until(lambda: self.status(proposal) != "active", seconds=60)


@pytest.fixture
def house(named: Settings, servers: TestServers, database: Database) -> Iterator[House]:
    """The named database, without genesis and with nobody working."""
    assert named.database_url == database.app_url
    house = Attended(servers.postgres, database.name)
    yield house
    house.close()


@pytest.fixture
def served(house: House) -> Iterator[House]:
    """A sandbox with the founders of `tests.core.factories`, and a worker."""
    found_house(house)
    with working(house):
        yield house


@pytest.fixture
def full(house: House) -> Iterator[House]:
    """The same with enough founders for every track."""
    found_house(house, FULL_FOUNDERS)
    with working(house):
        yield house


@contextmanager
def working(house: House) -> Iterator[None]:
    """Perform whatever is to do, in a thread, for as long as the block lasts."""
    ending = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not ending.wait(0.01):
                house.settle()
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    assert not failures
