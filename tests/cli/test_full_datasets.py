"""The whole public data sets through a private stack: `FORGE_DATASETS=DIR pytest -m full`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Forge

DATASETS = Path(os.environ.get("FORGE_DATASETS") or "absent")


@pytest.mark.full
@pytest.mark.processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "proposals", "ballots"),
    [("polis-opendata", 2_782, 269_103), ("decentraland-dao", 859, 18_101)],
)
def test_every_proposal_comes_out_exactly(
    forge: Forge,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    proposals: int,
    ballots: int,
) -> None:
    if not (DATASETS / name).is_dir():
        pytest.skip(f"FORGE_DATASETS names no directory with {name}")
    monkeypatch.setenv("FORGE_HOME", str(folder))

    said = forge("replay", DATASETS / name, "--json")

    assert said.status == 0, said.err
    assert said.json["proposals_matching"] == said.json["proposals_total"] == proposals
    assert said.json["ballot_entries"] == said.json["ballots_sent"] == ballots
    assert said.json["duplicates_suppressed"] == 0
