"""The benchmarks still run, at sizes that say nothing; `make bench` measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Not "ready": tests/stack starts `forge up` already.
NAMES = (
    "ballots",
    "commands",
    "memory",
    "closing",
    "questions",
    "recount",
    "opening",
    "ledger",
    "executing",
)


@pytest.mark.processes
@pytest.mark.timeout(400)
@pytest.mark.skipif(not os.environ.get("FORGE_LONG"), reason="a minute; `make long` runs it")
def test_every_benchmark_runs_to_its_end_and_shows_its_parts():
    only = [word for name in NAMES for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert len(figures) == len(NAMES) + 6  # ballots beside two peers, two of the questions, …
    for figure in figures:
        assert figure["value"] > 0
        assert figure["parts"]
