"""Verification of an honest ledger: nothing to report, whatever has happened in it."""

from __future__ import annotations

import threading

from forge_core.ledger.checkpoints import CheckpointFile
from forge_core.ledger.discrepancy import Discrepancy
from forge_core.ledger.verifying import Erased
from tests.core.factories import House


def test_a_ledger_in_which_everything_happened_is_clean(lived_house: House, tmp_path):
    house = lived_house
    house.checkpoint(tmp_path)

    found = house.verify(CheckpointFile(tmp_path / "checkpoints"))

    assert [str(one) for one in found if not isinstance(one, Erased)] == []
    assert len(found) == 1


def _attack(house: House, *statements: str) -> None:
    """As a superuser who first takes away what would refuse."""
    with house.superuser() as connection, connection.cursor() as cursor:
        for statement in (
            "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
            "ALTER TABLE ledger_entries ALTER COLUMN leaf_hash DROP EXPRESSION",
            "ALTER TABLE ledger_unsealed DROP CONSTRAINT ledger_unsealed_pkey",
            *statements,
        ):
            cursor.execute(statement)


def test_a_false_leaf_is_found_while_its_entry_still_waits(house: House):
    """INV-45: the sealer would place it."""
    _attack(house, "UPDATE ledger_entries SET leaf_hash = sha256('x') WHERE id ="
            " (SELECT max(entry_id) FROM ledger_unsealed)")  # fmt: skip

    assert [one.where for one in house.verify() if isinstance(one, Discrepancy)] == [
        "ledger_entries"
    ]


def test_an_entry_that_waits_twice_is_found(house: House):
    _attack(house, "INSERT INTO ledger_unsealed SELECT max(entry_id) FROM ledger_unsealed")

    assert "ledger_unsealed" in {
        one.where for one in house.verify() if isinstance(one, Discrepancy)
    }


def test_no_alarm_while_the_house_is_at_work(lived_house: House, tmp_path):
    """INV-45: verification sees one moment, whatever is appended, sealed and signed meanwhile."""
    house = lived_house
    house.checkpoint(tmp_path)
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            house.propose("gus", title="meanwhile")
            house.seal()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(3):
            found = house.verify(CheckpointFile(tmp_path / "checkpoints"))
            assert [str(one) for one in found if isinstance(one, Discrepancy)] == []
    finally:
        ending.set()
        worker.join()
