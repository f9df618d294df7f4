"""Receipts and erasures at their edges: what others hold, what is old, what is guessed."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from forge_core.database import transaction
from forge_core.ids import uuid7
from tests.core.factories import ISSUER, House

RECEIVE = text("SELECT * FROM forge_receive_commands(:issuer, CAST(:ids AS uuid[]))")


def test_whoever_holds_a_receipt_open_holds_up_no_step(house: House):
    """The client's role must not be able to keep commands from being carried out."""
    command = house.submit_id("members.delegate", "stan", {"delegate": "tara"})
    with transaction(house.client) as session:
        session.execute(RECEIVE, {"issuer": ISSUER, "ids": [str(command)]})
        house.perform("members.delegate")

        assert house.answer(command).state == "done"


def test_a_command_is_received_once_and_its_time_is_that_of_receiving(house: House):
    command = house.submit_id("members.delegate", "stan", {"delegate": "tara"})
    house.sql("UPDATE commands SET accepted_at = now() - interval '1 hour'")

    first, again = house.receive(command), house.receive(command)
    house.sql("DELETE FROM jobs")  # as pruning does in time

    assert first == again == house.receive(command)
    (entry,) = house.entries("command.received")
    assert entry["data"] == {"kind": "members.delegate"}
    assert first[0][2] > house.one("SELECT accepted_at FROM commands") + (
        house.one("SELECT interval '59 minutes'")
    )


def test_nobody_receives_the_commands_of_another_issuer(house: House):
    command = house.submit_id("members.delegate", "stan", {"delegate": "tara"})

    assert house.receive(command, issuer="stranger") == []
    assert house.receive(uuid7()) == []
    assert house.entries("command.received") == []


def test_an_old_snapshot_receives_nothing(house: House):
    command = house.submit_id("members.delegate", "stan", {"delegate": "tara"})
    steady = house.client.execution_options(isolation_level="REPEATABLE READ")

    with pytest.raises(DBAPIError), transaction(steady) as session:
        session.execute(RECEIVE, {"issuer": ISSUER, "ids": [str(command)]})


def test_after_an_erasure_no_guess_at_the_text_can_be_tried(house: House):
    command = uuid7()
    payload = {
        "type": "policy",
        "title": "A secret",
        "description": "What was said.",
        "payload": {},
        "voting_hours": 72,
    }
    house.command("proposals.create", "tara", payload, command_id=command)
    house.do("ledger.erase_text", "cora", reason="asked for",
             commitment=house.one("SELECT title FROM proposals"))  # fmt: skip

    right = house.submit("proposals.create", "tara", payload, command_id=command)
    wrong = house.submit("proposals.create", "tara", payload | {"title": "x"}, command_id=command)

    assert right.code == wrong.code == "COMMAND_CONFLICT"


def test_a_text_in_clear_of_the_first_schema_does_not_enter_a_new_entry(house: House):
    proposal = house.decided(payload={"text": "As it is now."})
    clear = json.dumps({"text": "In clear, as it was once."}, separators=(",", ":"))
    proposed_hash = house.column(proposal, "payload_hash")
    clear_hash = sha256(clear.encode()).hexdigest()
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ALL")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE proposals SET payload = convert_to(%s, 'UTF8'), payload_hash = %s"
            " WHERE id = %s",
            (clear, bytes.fromhex(clear_hash), proposal),
        )
        cursor.execute(
            "UPDATE ledger_entries"
            " SET body = convert_to(replace(convert_from(body, 'UTF8'), %s, %s), 'UTF8')"
            " WHERE kind = 'proposal.created' AND subject = %s",
            (proposed_hash.hex(), clear_hash, proposal),
        )

    house.perform("enforcement.execute")

    (adopted,) = house.entries("policy.adopted")
    kept = house.one("SELECT body FROM texts WHERE commitment = %s", adopted["data"]["text"])
    assert kept == "In clear, as it was once."
