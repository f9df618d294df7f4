"""Advice that was kept stays readable: analyses as each schema wrote them, never written anew.

Whoever changes the form of an analysis gives what is new a default, and adds a file of that schema.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forge_core.advisory.analysis import Analysis
from forge_workers.cli import advice_outlook
from forge_workers.cli.output import standard_output

KEPT = Path(__file__).parent / "kept"
LINES = [
    pytest.param(line, id=f"{path.stem} {number}")
    for path in sorted(KEPT.glob("*.jsonl"))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines())
]


@pytest.mark.parametrize("line", LINES)
def test_a_kept_analysis_is_read_and_shown(line, capsys):
    told = Analysis.model_validate_json(line).model_dump(mode="json")

    assert told.items() >= json.loads(line).items()
    advice_outlook.print_advice(standard_output(), [{**told, "analysis": told}], whole=True)
    assert told["summary"] in " ".join(capsys.readouterr().out.split())


def test_there_are_some():
    assert len(LINES) >= 2
