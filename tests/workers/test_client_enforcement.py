"""The client from approval to the change and back; workers are played by a thread that performs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forge_core.errors import Refused
from forge_core.settings import Settings
from forge_workers.client import Ballot, GovernanceClient
from tests.cli.conftest import Attended, working
from tests.conftest import Database, TestServers
from tests.core.factories import APPROVERS, FULL_FOUNDERS, House, found_house

SWITCH = {"feature": "exchange", "enabled": False}


@pytest.fixture
def house(servers: TestServers, database: Database) -> Iterator[House]:
    """A sandbox with founders for every track, and a worker."""
    house = Attended(servers.postgres, database.name)
    found_house(house, FULL_FOUNDERS)
    with working(house):
        yield house
    house.close()


@pytest.fixture
def client(settings: Settings, house: House) -> Iterator[GovernanceClient]:  # noqa: ARG001  # at work
    with GovernanceClient(issuer="test", settings=settings) as client:
        yield client


def created(client: GovernanceClient, **given: object) -> str:
    texts = {"title": "A title", "description": "What for."}
    command = client.create_proposal(proposer="carl", **texts, **given)
    return str(client.wait(command).require_done()["proposal_id"])


def through_vote(client: GovernanceClient, house: House, proposal: str) -> None:
    client.wait(client.activate(proposal, actor="carl")).require_done()
    for answer in client.vote_many([Ballot(proposal, name, "for") for name in APPROVERS]):
        assert answer.accepted
    house.end_voting(proposal)


def test_a_change_is_reviewed_signed_off_executed_and_rolled_back(client, house) -> None:
    proposal = created(client, type="feature_activation", payload=SWITCH)
    through_vote(client, house, proposal)
    reviews = [
        client.review(proposal, actor=name, approves=True, comment="Read it.")
        for name in ("rae", "ray", "rex", "ria", "rob")
    ]
    for answer in client.wait_many(reviews):
        assert answer.require_done()["status"] == "approved"
    for name in APPROVERS[:6]:
        signed = client.wait(client.sign_off(proposal, actor=name)).require_done()
    assert signed["status"] == "queued"
    assert client.setting("feature.exchange") is True
    house.ripen(proposal)
    house.settle()
    assert client.setting("feature.exchange") is False

    texts = {"title": "Open it again", "description": "It was fine."}
    undoing = client.wait(client.rollback(proposal, proposer="carl", **texts)).require_done()
    assert house.column(undoing["proposal_id"], "type") == "rollback"
    assert house.column(undoing["proposal_id"], "track") == "protected"


def test_a_warning_of_the_simulation_comes_with_the_answer_and_retry_needs_an_operator(
    client, house
) -> None:
    stale = {"key": "rate_limit.CORE", "new_value": 5, "old_value": 6}
    given = {"title": "A title", "description": "What for.", "payload": stale}
    command = client.create_proposal(proposer="carl", type="configuration", **given)
    result = client.wait(command).require_done()
    assert result["code"] == "STALE_VALUE"
    proposal = str(result["proposal_id"])
    through_vote(client, house, proposal)
    house.settle()
    assert house.status(proposal) == "failed"

    with pytest.raises(Refused) as refusal:
        client.wait(client.retry(proposal, actor="carl", reason="Again.")).require_done()
    assert refusal.value.code == "POWER_MISSING"
    client.wait(client.retry(proposal, actor="otto", reason="Again.")).require_done()
    assert house.column(proposal, "queued_count") == 2


def test_a_predecessor_is_named_at_creation(client, house) -> None:
    first = created(client, type="policy", payload={})
    second = created(client, type="policy", payload={}, predecessor=first)
    assert house.column(second, "predecessor") == first


def test_a_key_that_governance_added_is_a_setting(client, house) -> None:
    declaration = {
        "klass": "ordinary",
        "type": "boolean",
        "description": "A switch.",
        "default": False,
    }
    payload = {"kind": "parameter", "name": "calm", "declaration": declaration}
    proposal = created(client, type="registry_extension", payload=payload)
    with pytest.raises(Refused, match="UNKNOWN_CAPABILITY"):
        client.setting("calm")
    through_vote(client, house, proposal)
    house.through_gates(proposal)
    house.ripen(proposal)
    house.settle()
    assert client.setting("calm") is False
