"""The HTTP gateway as a process of its own: what is read, who is let in, and what is refused."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from forge_core.access import tokens
from forge_core.access.tokens import Scope
from forge_core.advisory.advising import give
from forge_core.advisory.constitution import PACKAGED
from forge_core.advisory.reading import read_matters
from forge_core.advisory.rules import analyse
from forge_core.database import transaction
from forge_workers import queries
from forge_workers.api import forms
from forge_workers.api.connections import PATIENCE
from forge_workers.api.gateway import AT_ONCE
from forge_workers.stack.gateway import GatewayServer
from forge_workers.stack.roles import create_database, drop_database
from forge_workers.words.advice import ADVISORY
from forge_workers.words.values import plain
from tests.conftest import TEMPLATE, _servers
from tests.core.conftest import _house
from tests.core.factories import House, found_house
from tests.support import Answer, ask, free_port, serving, short_folder, until

pytestmark = pytest.mark.processes

HOSTILE = "<script>alert(1)</script> \u202eevil \x07"


class Told(Answer):
    """A document or a problem."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """Somebody with a token."""

    port: int
    token: str | None

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Told:
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        answer = ask(self.port, path, method=method, headers=headers)
        return Told(answer.status, answer.headers, answer.body)


@pytest.fixture(scope="module")
def world(pytestconfig: pytest.Config) -> Iterator[SimpleNamespace]:
    """A house with an open and an executed proposal, a token, and the gateway over it."""
    with _house(_servers(pytestconfig), TEMPLATE) as house:
        found_house(house)
        executed = house.open(title="Be kind", payload={"text": "To everybody."})
        advise(house)
        house.approve(executed)
        house.close_now()
        house.perform("enforcement.execute")
        proposal = house.open(title="Be wise", description=HOSTILE, reason=HOSTILE)
        advise(house)
        house.vote(proposal, "cora", "against")
        house.perform("votes.count")
        folder, server = short_folder(), GatewayServer(free_port())
        url = house.server.url("forge_reader", house.name)
        with serving(server, folder, FORGE_READER_DATABASE_URL=url) as process:
            yield SimpleNamespace(
                house=house,
                proposal=proposal,
                executed=executed,
                process=process,
                port=server.port,
                caller=Caller(server.port, issue(house)),
            )
        shutil.rmtree(folder)


def advise(house: House) -> None:
    house.sweep()
    house.perform("advisory.analyse")


def issue(house: House) -> str:
    with transaction(house.app) as session:
        return tokens.issue(session, "portal", [Scope.READ], timedelta(days=1)).token


@pytest.fixture
def caller(world) -> Caller:
    return world.caller


def test_proposals_are_listed_with_votes_and_advice(world, caller):
    answer = caller.get("/v1/proposals")

    assert answer.status == 200
    newest, oldest = answer.json["proposals"]
    assert (newest["id"], newest["title"], newest["status"]) == (
        world.proposal,
        "Be wise",
        "active",
    )
    assert (newest["against_weight"], newest["advised_by"]) == ("5", "rules")
    assert newest["opened_at"].endswith("Z")
    assert oldest["status"] == "executed"


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("status=executed", ["Be kind"]),
        ("status=failed", []),
        ("type=policy&limit=1", ["Be wise"]),
        ("type=treasury_allocation", []),
    ],
)
def test_a_list_can_be_narrowed(caller, query, titles):
    found = caller.get(f"/v1/proposals?{query}").json["proposals"]

    assert [one["title"] for one in found] == titles


def test_a_list_is_read_page_by_page(world, caller):
    ids: list[str] = []
    before = ""
    for _ in range(10):
        page = caller.get(f"/v1/proposals?limit=1{before}").json
        ids += [one["id"] for one in page["proposals"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"

    assert ids == [one["id"] for one in caller.get("/v1/proposals").json["proposals"]]
    assert {world.proposal, world.executed} <= set(ids)
    assert len(ids) == len(set(ids))


def test_documents_have_the_forms_that_are_described(world, caller):
    page = caller.get("/v1/proposals").json
    advice = caller.get(f"/v1/proposals/{world.executed}/advice").json
    standing = caller.get("/v1/advice").json

    for form, document in (
        (forms.ProposalPage, page),
        (forms.ProposalRow, page["proposals"][0]),
        (forms.AdviceOnProposal, advice),
        (forms.Advice, advice["advice"][0]),
        (forms.Standing, standing),
        (forms.Outcomes, standing["calibration"][0]),
    ):
        form.model_validate(document)
        assert set(document) == set(form.model_fields)
    forms.ProblemForm.model_validate(caller.get("/v1/proposals/nothing").json)


def test_a_proposal_is_shown_as_the_command_line_shows_it(world, caller):
    found = caller.get(f"/v1/proposals/{world.executed}").json

    assert found["decision"]["outcome"] == "approved"
    assert found["advice"][0]["analysis"]["is_advisory"] is True
    assert found["history"][0]["kind"] == "proposal.created"
    with transaction(world.house.app) as session:
        told = queries.proposal(session, world.executed) | {"now": found["now"]}
    assert found == json.loads(json.dumps(told, default=plain))


def test_advice_is_given_with_what_came_of_the_like_of_it(world, caller):
    with transaction(world.house.app) as session:
        (matter,) = read_matters(session, world.house.catalogue, [world.proposal])
        give(session, {world.proposal: analyse(matter, PACKAGED)}, number=2)

    found = caller.get(f"/v1/proposals/{world.proposal}/advice").json

    assert found["note"] == ADVISORY
    assert [one["number"] for one in found["advice"]] == [2, 1]
    newest = found["advice"][0]
    assert newest["analysis"]["is_advisory"] is True
    assert newest["analysis"]["summary"]
    assert newest["confidence"] == newest["analysis"]["confidence"]
    earlier = found["earlier"]
    assert earlier is None or (earlier["source"], earlier["given"]) == ("rules", 1)


def test_what_came_of_the_like_of_it_counts_others_alone(world, caller):
    assert caller.get(f"/v1/proposals/{world.executed}/advice").json["earlier"] is None


def test_a_draft_has_no_advice(world, caller):
    draft = world.house.propose(title="Not yet")

    assert caller.get(f"/v1/proposals/{draft}/advice").json == {
        "note": ADVISORY, "advice": [], "earlier": None,
    }  # fmt: skip


def test_what_came_of_all_advice_is_told(caller):
    found = caller.get("/v1/advice?days=0").json

    assert found["note"] == ADVISORY
    (row,) = found["calibration"]
    assert (row["source"], row["given"], row["executed"]) == ("rules", 1, 1)
    assert set(found["brier"]) == {"rules"}
    assert found["terms"]["mode"] == "single"


def test_texts_come_as_they_were_written_and_nothing_takes_them_for_a_page(world, caller):
    answer = caller.get(f"/v1/proposals/{world.proposal}")

    assert answer.json["description"] == HOSTILE
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


CALLS = ["/v1/proposals", "/v1/proposals/{id}", "/v1/proposals/{id}/advice", "/v1/advice"]


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Basic Zm9yZ2U6eA==", "Bearer forge_" + "A" * 43,
     "bearer \xff", "Bearer " + "x" * 20_000],
)  # fmt: skip
def test_without_a_token_nothing_is_told(world, path, authorization):
    stranger = Caller(world.port, None)
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = stranger.get(path.format(id=world.proposal), **headers)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == "TOKEN_INVALID"
    assert b"Be wise" not in answer.body


def test_the_scheme_may_be_written_small(caller):
    assert caller.get("/v1/advice", Authorization=f"bearer {caller.token}").status == 200


def test_a_token_that_is_revoked_or_ended_opens_nothing_from_then_on(world):
    house, token = world.house, issue(world.house)
    caller = Caller(world.port, token)
    assert caller.get("/v1/advice").status == 200
    with transaction(house.app) as session:
        tokens.revoke(session, tokens.tokens(session, limit=1)[0]["id"])
    assert caller.get("/v1/advice").status == 401

    caller = Caller(world.port, issue(house))
    assert caller.get("/v1/advice").status == 200
    house.sql(
        "UPDATE access_tokens SET issued_at = now() - interval '2 d', expires_at = now()"
        " WHERE revoked_at IS NULL AND id = (SELECT id FROM access_tokens ORDER BY issued_at DESC"
        " LIMIT 1)"
    )
    assert caller.get("/v1/advice").status == 401


def test_a_token_for_something_else_is_told_what_it_lacks(world):
    caller = Caller(world.port, issue(world.house))
    world.house.sql(
        "UPDATE access_tokens SET scopes = '{vote}'"
        " WHERE id = (SELECT id FROM access_tokens ORDER BY issued_at DESC LIMIT 1)"
    )
    answer = caller.get("/v1/proposals")

    assert (answer.status, answer.json["code"]) == (403, "TOKEN_SCOPE")


@pytest.mark.parametrize(
    ("path", "status", "code", "says"),
    [
        ("/v1/proposals/p-nothing", 404, "PROPOSAL_UNKNOWN", "p-nothing"),
        ("/v1/proposals/p-nothing/advice", 404, "PROPOSAL_UNKNOWN", "p-nothing"),
        ("/v1/proposals/%00", 422, "ID_INVALID", "no spaces, control"),
        ("/v1/proposals/%ED%A0%80", 404, "PROPOSAL_UNKNOWN", "���"),
        ("/v1/proposals/" + "x" * 5_000, 422, "ID_INVALID", "an id has 1 to 200"),
        ("/v1/proposals?status=maybe", 422, "CALL_INVALID", "status: "),
        ("/v1/proposals?limit=0", 422, "CALL_INVALID", "limit: "),
        ("/v1/proposals?limit=501", 422, "CALL_INVALID", "limit: "),
        ("/v1/proposals?limit=many", 422, "CALL_INVALID", "limit: "),
        ("/v1/proposals?type=%00", 422, "ID_INVALID", "no spaces, control"),
        ("/v1/proposals?state=active", 422, "CALL_INVALID", "state: "),
        ("/v1/proposals?before=p-nothing", 404, "PROPOSAL_UNKNOWN", "p-nothing"),
        ("/v1/proposals?before=%00", 422, "ID_INVALID", "no spaces, control"),
        ("/v1/advice?days=91", 422, "CALL_INVALID", "days: "),
        ("/v1/advice?day=1", 422, "CALL_INVALID", "day: "),
        ("/v1/nothing", 404, "CALL_UNKNOWN", "/openapi.json"),
        ("/v1/proposals/", 404, "CALL_UNKNOWN", "/openapi.json"),
        ("/health/", 404, "CALL_UNKNOWN", "/openapi.json"),
        ("/", 404, "CALL_UNKNOWN", "/openapi.json"),
    ],
)
def test_what_is_wrong_is_named(caller, path, status, code, says):
    answer = caller.get(path)

    assert answer.status == status
    problem = answer.json
    assert (problem["code"], problem["status"], problem["type"]) == (code, status, "about:blank")
    assert says in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", CALLS)
def test_nothing_can_be_done_here(world, caller, method, path):
    answer = caller.get(path.format(id=world.proposal), method=method)

    assert (answer.status, answer.json["code"]) == (405, "CALL_NOT_ALLOWED")


def test_the_calls_are_described_for_programs(world):
    described = Caller(world.port, None).get("/openapi.json").json

    assert set(described["paths"]) == {"/health", *(c.replace("id", "proposal") for c in CALLS)}
    assert all(call["get"]["description"] for call in described["paths"].values())


def test_health_needs_no_token_and_tells_nothing(world):
    answer = Caller(world.port, None).get("/health")

    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert Caller(world.port, None).get("/health", method="HEAD").status == 200


def test_many_who_ask_at_once_are_all_answered(world, caller):
    """More than there are connections to the database, beside some who say nothing."""
    silent = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(20)]
    statuses: list[int] = []
    callers = [
        threading.Thread(
            target=lambda: statuses.append(caller.get(f"/v1/proposals/{world.executed}").status)
        )
        for _ in range(AT_ONCE * 5)
    ]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    for one in silent:
        one.close()

    assert statuses == [200] * AT_ONCE * 5


def test_whoever_connects_and_says_nothing_keeps_nobody_out(world, caller):
    """Neither at once nor for long: such connections are ended."""
    half = b"GET /health HTTP/1.1\r\nX: "
    idle = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(250)]
    for number, connection in enumerate(idle):
        if number % 2:
            connection.sendall(half)
    assert caller.get("/v1/advice").status == 200

    for connection in idle:
        connection.settimeout(60)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()


def test_a_connection_is_kept_while_it_is_used(world, caller):
    """For longer than a silent one."""
    connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=30)
    ours = set()
    for _ in range(6):
        connection.request("GET", "/v1/advice", headers={"Authorization": f"Bearer {caller.token}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        ours.add(connection.sock.getsockname())
        time.sleep(PATIENCE / 4)
    connection.close()
    assert len(ours) == 1


def test_a_fault_of_ours_is_told_as_such_and_no_text_is_logged(world, folder):
    """An analysis that cannot be read any more, as no version may bring about."""
    house = world.house
    proposal = house.open(title="Broken")
    advise(house)
    secret = "WORDS-OF-SOMEBODY"
    house.sql(
        "UPDATE texts SET body = %s WHERE commitment ="
        " (SELECT analysis FROM advice WHERE proposal_id = %s)",
        json.dumps({"summary": [secret]}),
        proposal,
    )
    server = GatewayServer(free_port())
    url = house.server.url("forge_reader", house.name)
    with serving(server, folder, FORGE_READER_DATABASE_URL=url) as process:
        answer = Caller(server.port, world.caller.token).get(f"/v1/proposals/{proposal}/advice")
        process.terminate()
        process.wait()
        said = process.stdout.read().decode()
    house.sql("DELETE FROM advice WHERE proposal_id = %s", proposal)

    assert (answer.status, answer.json["code"]) == (500, "INTERNAL")
    assert answer.headers["cache-control"] == "no-store"
    assert "gateway.failed" in said
    assert "validation error" in said
    assert secret not in said + answer.body.decode()


def test_health_waits_behind_nobody(world):
    """Not behind documents that wait for a lock, which no page takes but a migration does."""
    house, caller = world.house, world.caller
    with transaction(house.app) as session:
        session.execute(text("LOCK TABLE proposals IN ACCESS EXCLUSIVE MODE"))
        waiting = [
            threading.Thread(target=lambda: caller.get("/v1/proposals")) for _ in range(AT_ONCE * 3)
        ]
        for one in waiting:
            one.start()
        answer = Caller(world.port, None).get("/health")
    for one in waiting:
        one.join()

    assert (answer.status, answer.json["detail"]) == (503, "the database does not answer")
    until(lambda: Caller(world.port, None).get("/health").status == 200)


def test_a_database_of_another_version_is_not_well(servers, folder):
    name = f"bare_{uuid.uuid4().hex}"
    create_database(servers.postgres, name)
    server = GatewayServer(free_port())
    with serving_away(server, folder, servers.postgres.url("forge_reader", name)):
        answer = Caller(server.port, None).get("/health")
    drop_database(servers.postgres, name)

    assert answer.status == 503
    assert "not as the gateway knows it" in answer.json["detail"]


def test_without_a_database_it_says_so(world, folder):
    gone = "postgresql://forge_reader:secret-word@127.0.0.1:1/forge"
    server = GatewayServer(free_port())
    with serving_away(server, folder, gone):
        for path in ("/health", "/v1/advice"):
            answer = Caller(server.port, world.caller.token).get(path)
            assert (answer.status, answer.json["code"]) == (503, "UNAVAILABLE")
            assert answer.json["detail"] == "the database cannot be used now; try again"


def serving_away(server: GatewayServer, folder, url: str):
    """It listens all the same; its health says that it cannot read."""

    class Listening:
        program = staticmethod(server.program)

        @staticmethod
        def answers() -> bool:
            try:
                Caller(server.port, None).get("/openapi.json")
            except OSError:
                return False
            return True

    return serving(Listening(), folder, FORGE_READER_DATABASE_URL=url)


def test_it_ends_when_it_is_told_to(world, folder):
    server = GatewayServer(free_port())
    url = world.house.server.url("forge_reader", world.house.name)
    with serving(server, folder, FORGE_READER_DATABASE_URL=url) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in {0, -signal.SIGTERM}
