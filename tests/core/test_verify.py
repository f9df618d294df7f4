"""Verification of an honest ledger: nothing to report, whatever has happened in it."""

from __future__ import annotations

from forge_core.ledger.checkpoints import CheckpointFile
from forge_core.ledger.verifying import Erased
from tests.core.factories import House
from tests.core.histories import live_through


def test_a_ledger_in_which_everything_happened_is_clean(house: House, tmp_path):
    live_through(house)
    house.checkpoint(tmp_path)

    found = house.verify(CheckpointFile(tmp_path / "checkpoints"))

    assert [str(one) for one in found if not isinstance(one, Erased)] == []
    assert len(found) == 1
