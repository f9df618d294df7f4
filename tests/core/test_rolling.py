"""The rolling verification: piece by piece, round and round, and no alarm while the house grows."""

from __future__ import annotations

import pytest

from forge_core.database import transaction
from forge_core.ledger.checkpoints import CheckpointFile
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.rolling import verify_piece
from tests.core.factories import House


@pytest.fixture
def log(tmp_path) -> CheckpointFile:
    return CheckpointFile(tmp_path / "checkpoints")


def _many(house: House, folder, count: int = 700) -> None:
    members = [{"id": f"m{n}"} for n in range(count)]
    house.do("members.admit", "cora", source="tests", members=members)
    house.checkpoint(folder)


def _piece(house: House, log: CheckpointFile, most: int = 256) -> list[Discrepancy]:
    with transaction(house.app) as session:
        return verify_piece(session, [log], most)


def _state(house: House) -> tuple[int, bool]:
    ((position, whole),) = house.sql("SELECT position, completed_at IS NOT NULL FROM ledger_audits")
    return position, whole


def test_pieces_come_to_the_end_and_find_nothing_in_an_honest_ledger(house, tmp_path, log):
    _many(house, tmp_path)
    size = house.one("SELECT count(*) FROM ledger_order")

    found = [one for _ in range(4) for one in _piece(house, log)]

    assert found == []
    assert _state(house) == (size, True)


def test_what_is_sealed_after_a_round_is_verified_without_another_round(house, tmp_path, log):
    _many(house, tmp_path)
    _piece(house, log, most=10_000)
    more = [{"id": f"n{n}"} for n in range(600)]
    house.do("members.admit", "cora", source="tests", members=more)
    house.checkpoint(tmp_path)

    assert _piece(house, log, most=10_000) == []
    assert _state(house)[0] == house.one("SELECT count(*) FROM ledger_order")


def test_an_hour_after_a_round_the_next_one_begins(house, tmp_path, log):
    _many(house, tmp_path)
    _piece(house, log, most=10_000)
    assert _piece(house, log, most=300) == []
    house.sql("UPDATE ledger_audits SET completed_at = now() - interval '2 hours'")

    _piece(house, log, most=300)

    assert _state(house)[0] == 300


def test_a_changed_entry_is_found_and_kept_until_a_round_is_clean(house, tmp_path, log):
    """INV-45."""
    _many(house, tmp_path)
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ALL")
        cursor.execute(
            "UPDATE ledger_entries SET body = body || '\\x20' WHERE id = ("
            "SELECT entry_id FROM ledger_order WHERE position = 250)"
        )

    found = [one for _ in range(4) for one in _piece(house, log)]

    assert ("ledger_entries", 250) in {(one.where, one.position) for one in found}
    assert {one.where for one in found} >= {"ledger_checkpoints", str(log.path), "ledger_tiles"}
    kept = "SELECT jsonb_array_length(findings) FROM ledger_audits"
    assert house.one(kept) == len(found)
    house.sql("UPDATE ledger_audits SET completed_at = now() - interval '2 hours'")
    _piece(house, log)
    assert house.one(kept) > 0, "until the next round has seen everything"


def test_two_at_once_do_one_piece(house, tmp_path, log):
    _many(house, tmp_path)
    with transaction(house.app) as first:
        verify_piece(first, [log], 256)
        assert _piece(house, log) == []
    assert _state(house)[0] == 256
