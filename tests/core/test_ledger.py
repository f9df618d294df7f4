"""The ledger: canonical bytes, right leaf hashes, and folds that make the same rows again."""

from __future__ import annotations

import hashlib
import json

import pytest
import rfc8785

from forge_core.wiring import ENTRY_KINDS
from tests.core.factories import House

KINDS = {kind.name: kind for kind in ENTRY_KINDS}


@pytest.fixture(scope="module")
def history(lived_shared: House, tmp_path_factory) -> House:
    """Something of everything that can happen."""
    lived_shared.checkpoint(tmp_path_factory.mktemp("log"))
    return lived_shared


def test_every_kind_of_entry_has_happened(history):
    """So that the tests below speak of all of them."""
    happened = {name for (name,) in history.sql("SELECT DISTINCT kind FROM ledger_entries")}

    assert happened == set(KINDS)


def test_every_leaf_hash_is_that_of_rfc_9162(history):
    """INV-45."""
    for body, leaf in history.sql("SELECT body, leaf_hash FROM ledger_entries"):
        assert hashlib.sha256(b"\x00" + bytes(body)).digest() == bytes(leaf)


def test_every_body_is_canonical_and_says_what_its_columns_say(history):
    """INV-45: RFC 8785."""
    for kind, subject, body in history.sql("SELECT kind, subject, body FROM ledger_entries"):
        document = json.loads(bytes(body))
        assert rfc8785.dumps(document) == bytes(body)
        assert (document["kind"], document["subject"]) == (kind, subject)
        assert document["v"] == KINDS[kind].version
        assert document["actor"]


def test_no_number_in_the_ledger_is_a_binary_float(history):
    """INV-12."""
    for (body,) in history.sql("SELECT body FROM ledger_entries"):
        json.loads(bytes(body), parse_float=pytest.fail)


def test_titles_descriptions_and_reasons_are_only_committed_to(history):
    """They can be erased without touching the ledger."""
    texts = {body for (body,) in history.sql("SELECT body FROM texts")}
    said = texts & {"A title", "What for.", "looked odd", "nothing there", "enough", "lapses"}
    assert len(said) == 6

    for (body,) in history.sql("SELECT body FROM ledger_entries"):
        assert [words for words in said if f'"{words}"'.encode() in bytes(body)] == []


def test_every_commitment_is_of_the_text_beside_it(history):
    for commitment, salt, body in history.sql("SELECT commitment, salt, body FROM texts"):
        assert hashlib.sha256(bytes(salt) + body.encode()).hexdigest() == commitment
        assert len(bytes(salt)) == 16


def test_ballot_entries_carry_each_command_id_once(history):
    """INV-29, INV-46: as many entries as ballots in the history."""
    entries = history.entries("ballot.cast")
    ids = [(entry["data"]["issuer"], entry["data"]["command"]) for entry in entries]

    assert len(ids) == len(set(ids)) == history.one("SELECT count(*) FROM ballots")
    accepted = history.sql("SELECT issuer, command_id::text FROM commands WHERE state = 'accepted'")
    assert set(ids) == set(accepted)


def test_every_command_that_was_done_is_named_by_its_entry(history):
    """INV-46."""
    done = {
        f"{issuer}/{command}"
        for issuer, command in history.sql(
            "SELECT issuer, command_id FROM jobs WHERE state = 'done' AND issuer IS NOT NULL"
            " AND kind NOT IN ('members.admit', 'clock.advance')"
        )
    }
    named = {
        entry["command"]
        for entry in history.entries()
        if "command" in entry and entry["kind"] != "command.received"
    }

    assert named == done


@pytest.mark.parametrize("ballots_at_once", [False, True])
def test_folding_all_entries_again_makes_every_derived_row_again(history, ballots_at_once):
    """INV-44: nothing but the entries is needed, and the database's rules hold on the way."""
    before = history.derived_rows()
    assert all(before.values()), "a table without rows proves nothing"

    history.refold(ballots_at_once=ballots_at_once)

    assert history.derived_rows() == before


def test_folding_reads_nothing_but_the_entries():
    """INV-44: no fold looks at the clock, and none makes an id."""
    for kind in ENTRY_KINDS:
        for statement in kind.folds:
            lowered = str(statement).lower()
            for word in ("now()", "clock_timestamp", "current_timestamp", "nextval", "random"):
                assert word not in lowered, (kind.name, word)


def test_a_step_that_fails_leaves_neither_entry_nor_row(house, monkeypatch):
    """INV-46: the state change and its entry are in one transaction."""
    proposal = house.open()
    before = house.image(proposal), house.one("SELECT count(*) FROM ledger_entries")

    def refuse(*_: object) -> None:
        raise RuntimeError("after the entries were written")

    monkeypatch.setattr("forge_core.jobs.perform.finish", refuse)
    id_ = house.submit("proposals.cancel", "tara", {"proposal_id": proposal, "reason": "r"})
    house.perform("proposals.cancel")

    assert id_.state == "pending"
    assert (house.image(proposal), house.one("SELECT count(*) FROM ledger_entries")) == before
