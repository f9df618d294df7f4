"""The client against a real database; workers are played by performing a kind in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from forge_core.database import make_engine, transaction
from forge_core.errors import Refused, Unavailable
from forge_core.jobs.perform import perform
from forge_core.members.genesis import Founder, found
from forge_core.members.levels import Role, TrustLevel
from forge_core.settings import Settings
from forge_core.wiring import JOB_KINDS
from forge_workers.client import Ballot, Command, GovernanceClient

KINDS = {kind.name: kind for kind in JOB_KINDS}
NOWHERE = "redis://:nobody@127.0.0.1:1/0"


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = make_engine(settings.database_url)
    with transaction(engine) as session:
        founders = [
            Founder("alice", TrustLevel.CORE, (Role.ADMIN,)),
            *(Founder(f"voter-{number}", TrustLevel.STANDARD) for number in range(20)),
        ]
        found(session, founders, sandbox=True)
    yield engine
    engine.dispose()


@pytest.fixture
def client(settings: Settings, engine: Engine) -> Iterator[GovernanceClient]:  # noqa: ARG001  # founded
    with GovernanceClient(issuer="test", settings=settings, patience=2) as client:
        yield client


def opened(client: GovernanceClient, engine: Engine) -> str:
    created = client.create_proposal(
        proposer="alice", type="policy", title="Quiet hours", description="After ten.", payload={}
    )
    perform(engine, KINDS["proposals.create"])
    proposal = str(client.wait(created).require_done()["proposal_id"])
    activated = client.activate(proposal, actor="alice")
    perform(engine, KINDS["proposals.activate"])
    client.wait(activated).require_done()
    return proposal


def test_ballots_are_answered_in_order_and_a_bad_one_is_refused_alone(client, engine) -> None:
    proposal = opened(client, engine)
    answers = client.vote_many(
        [
            Ballot(proposal, "voter-1", "for"),
            Ballot(proposal, "voter-2\x00", "for"),
            Ballot(proposal, "voter-3", "perhaps"),
            Ballot("p-unknown", "voter-4", "for"),
            Ballot(proposal, "voter-5", "against"),
        ]
    )
    refusals = [answer.refusal for answer in answers]
    assert refusals == [None, "ID_INVALID", "CHOICE_INVALID", "PROPOSAL_UNKNOWN", None]
    accepted = [answer.ballot_id for answer in answers if answer.accepted]
    assert accepted == sorted(accepted)


def test_the_same_ballot_again_gets_its_first_answer(client, engine) -> None:
    ballot = Ballot(opened(client, engine), "voter-1", "for")
    first, second = client.vote(ballot), client.vote(ballot)
    assert (first.ballot_id, first.accepted_at) == (second.ballot_id, second.accepted_at)
    assert (first.duplicate, second.duplicate) == (False, True)
    other = client.vote(replace(ballot, choice="against"))
    assert other.refusal == "COMMAND_CONFLICT"


def test_ballots_of_many_threads_share_batches_and_none_is_lost(client, engine) -> None:
    proposal = opened(client, engine)
    threads = [
        threading.Thread(target=lambda n=number: client.vote(Ballot(proposal, f"voter-{n}", "for")))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with transaction(engine) as session:
        stored = session.execute(text("SELECT count(*) FROM ballot_inbox")).scalar_one()
    assert stored == 20


def test_a_broker_that_is_away_is_no_error(settings, engine) -> None:
    with GovernanceClient(
        issuer="test", settings=replace(settings, broker_url=NOWHERE), patience=2
    ) as client:
        proposal = opened(client, engine)
        assert client.vote(Ballot(proposal, "voter-1", "for")).accepted


def test_a_database_that_is_away_is_unavailable_after_patience(settings) -> None:
    gone = "postgresql+psycopg2://forge_client:x@127.0.0.1:1/forge"
    with (
        GovernanceClient(
            issuer="test", settings=replace(settings, client_database_url=gone), patience=0.2
        ) as client,
        pytest.raises(Unavailable, match="did not answer"),
    ):
        client.command("clock.advance", "alice", {"seconds": 1})


def test_an_answer_that_does_not_come_is_unavailable_and_the_command_is_kept(client) -> None:
    command = client.command("clock.advance", "alice", {"seconds": 1})
    with pytest.raises(Unavailable, match="no answer within"):
        client.wait(command, timeout=0.05)
    assert client.answer(command).state == "pending"


def test_an_answer_to_a_command_never_sent_is_refused(client) -> None:
    with pytest.raises(Refused) as refusal:
        client.answer(uuid4())
    assert refusal.value.code == "COMMAND_UNKNOWN"


def test_one_issuer_cannot_read_the_answers_of_another(client, settings) -> None:
    command = client.command("clock.advance", "alice", {"seconds": 1})
    with (
        GovernanceClient(issuer="somebody-else", settings=settings) as other,
        pytest.raises(Refused) as refusal,
    ):
        other.answer(command)
    assert refusal.value.code == "COMMAND_UNKNOWN"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"title": "a\x00b"}, "TEXT_NUL"),
        ({"title": "a\ud800b"}, "TEXT_SURROGATE"),
        ({"payload": {"new_value": float("nan")}}, "PAYLOAD_NOT_JSON"),
        ({"payload": {"new_value": float("inf")}}, "PAYLOAD_NOT_JSON"),
        ({"payload": b"bytes"}, "PAYLOAD_NOT_JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_before_it_is_sent(client, payload, code) -> None:
    with pytest.raises(Refused) as refusal:
        client.command("proposals.create", "alice", payload)
    assert refusal.value.code == code


def test_a_command_id_with_other_content_is_a_conflict(client) -> None:
    id_ = uuid4()
    client.command("clock.advance", "alice", {"seconds": 1}, command_id=id_)
    client.command("clock.advance", "alice", {"seconds": 1}, command_id=id_)
    with pytest.raises(Refused) as refusal:
        client.command("clock.advance", "alice", {"seconds": 2}, command_id=id_)
    assert refusal.value.code == "COMMAND_CONFLICT"


def test_an_unknown_kind_of_command_is_refused_by_name(client) -> None:
    with pytest.raises(Refused) as refusal:
        client.commands([Command("treasury.empty", "alice", {})])
    assert refusal.value.code == "COMMAND_INVALID"


def test_settings_stand_at_their_default_until_changed(client) -> None:
    assert client.setting("rate_limit.CORE") == 10_000
    with pytest.raises(Refused, match="rate_limit") as refusal:
        client.setting("rate_limit.KORE")
    assert refusal.value.code == "UNKNOWN_CAPABILITY"


def test_delegating_and_revoking(client, engine) -> None:
    expires = datetime.now(UTC) + timedelta(days=1)
    made = client.delegate("voter-1", "voter-2", scope="policy", expires_at=expires)
    perform(engine, KINDS["members.delegate"])
    client.wait(made).require_done()
    ended = client.revoke_delegation("voter-1", scope="policy")
    perform(engine, KINDS["members.revoke_delegation"])
    client.wait(ended).require_done()


def test_a_refused_command_raises_its_own_code_when_done_is_required(client, engine) -> None:
    command = client.create_proposal(
        proposer="voter-1", type="policy", title="Mine", description="Too little trust", payload={}
    )
    perform(engine, KINDS["proposals.create"])
    with pytest.raises(Refused) as refusal:
        client.wait(command).require_done()
    assert refusal.value.code == "TRUST_TOO_LOW"
