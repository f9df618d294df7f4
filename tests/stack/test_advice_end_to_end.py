"""A model that never answers, asked by real workers: nothing waits for it, and it is got rid of."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from forge_core.advisory.report import advice_on
from forge_core.clock import forge_now
from forge_core.database import make_engine, transaction
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_workers.client import Ballot, Command, GovernanceClient
from forge_workers.stack import up
from forge_workers.stack.house import WORKERS
from forge_workers.stack.up import Stack, running_stack
from tests.advice.asking import KEY_OF_TESTS, advises
from tests.advice.messages_api import MessagesApi, never_starts
from tests.support import short_folder, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

NEEDED = tuple(one for one in WORKERS if one.name in ("decide", "count", "advise"))
GENEROUS = 90.0


@pytest.fixture
def api() -> Iterator[MessagesApi]:
    with MessagesApi(never_starts()) as api:
        yield api


@pytest.fixture
def stack(api: MessagesApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY_OF_TESTS)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
    folder = short_folder()
    try:
        with running_stack(folder / "home", web=False, workers=NEEDED) as stack:
            yield stack
    finally:
        shutil.rmtree(folder)


def test_nothing_waits_for_a_model_and_only_the_adviser_knows_its_key(
    stack: Stack, api: MessagesApi
) -> None:
    engine = make_engine(stack.settings.database_url)

    def sources(proposal: str) -> list[str]:
        with transaction(engine) as session:
            return [one["source"] for one in advice_on(session, proposal)]

    with GovernanceClient(issuer="tests", settings=stack.settings) as client:
        with transaction(engine) as session:
            founders = [Founder("ada", TrustLevel.CORE, (Role.ADMIN,))]
            found(session, founders, sandbox=True)

        def done(kind: str, **payload: object) -> dict[str, object]:
            (sent,) = client.commands([Command(kind, "ada", payload)])
            return dict(client.wait_many([sent])[0].require_done())

        def opened(title: str) -> str:
            draft = {"type": "policy", "title": title, "description": "Be kind.", "payload": {}}
            made = done("proposals.create", **draft)
            done("proposals.activate", proposal_id=made["proposal_id"])
            return str(made["proposal_id"])

        asked = opened("While a model is asked")
        until(lambda: api.at_once == 1, GENEROUS)

        # While it thinks, rules advise on another one, and the first is decided and executed.
        other = opened("Another one")
        until(lambda: sources(other) == ["rules"], GENEROUS)
        assert client.vote(Ballot(asked, "ada", "for")).accepted
        done("clock.advance", seconds=timedelta(hours=73).total_seconds().__int__())
        until(lambda: _status(engine, asked) == "executed", GENEROUS)
        assert sources(asked) == ["rules"]

        # Whoever is killed while it asks is replaced, and goes on.
        (worker,) = [one for one in _processes() if _knows_the_key(one) and _is_main(one)]
        worker.send_signal(signal.SIGKILL)
        api.plays(advises())
        third = opened("After a crash")
        until(lambda: "rules" in sources(third), GENEROUS)

    knowing = {" ".join(one.cmdline()) for one in _processes() if _knows_the_key(one)}
    assert knowing
    assert all("--queues=analysis" in words for words in knowing)
    logs = Path(stack.servers.home.path / "logs")
    assert not any(KEY_OF_TESTS in log.read_text() for log in logs.glob("*.log"))
    engine.dispose()


def _status(engine: object, proposal: str) -> str:
    from sqlalchemy import text

    with transaction(engine) as session:  # type: ignore[arg-type]
        assert forge_now(session)
        return str(
            session.execute(
                text("SELECT status FROM proposals WHERE id = :id"), {"id": proposal}
            ).scalar_one()
        )


def _processes() -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process(os.getpid()).children(recursive=True)
        if one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    ]


def _knows_the_key(process: psutil.Process) -> bool:
    return process.environ().get("ANTHROPIC_API_KEY") == KEY_OF_TESTS


def _is_main(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is None or not _knows_the_key(parent)


def test_a_demo_is_given_no_key(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """It opens hundreds of proposals, on which nobody wants to pay for advice."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY_OF_TESTS)
    asked: list[bool] = []

    def ends(*_: object, models: bool, **__: object) -> None:
        asked.append(models)
        raise KeyboardInterrupt

    with monkeypatch.context() as stand_in:
        stand_in.setattr(up, "running_stack", ends)
        for demo in (lambda _: None, None):
            up.run_stack(home=folder, demo=demo)
    assert asked == [False, True]

    advisers = tuple(one for one in WORKERS if one.name == "advise")
    with running_stack(folder / "home", web=False, beat=False, workers=advisers, models=False):
        assert _processes()
        assert not [one for one in _processes() if _knows_the_key(one)]
