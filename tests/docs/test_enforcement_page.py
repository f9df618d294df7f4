"""The page about enforcement shows the lifecycle as the edge table has it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from forge_core.proposals.lifecycle import edge_pairs

DOCS = Path(__file__).parents[2] / "docs"


def _lifecycle():
    spec = importlib.util.spec_from_file_location("lifecycle_page", DOCS / "lifecycle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagram_is_the_one_that_the_edge_table_makes() -> None:
    page = (DOCS / "enforcement.md").read_text(encoding="utf-8")

    assert _lifecycle().with_diagram(page) == page, "run `make docs`"


def test_the_diagram_shows_every_edge_and_no_other() -> None:
    """INV-01."""
    shown = {
        (words[0], words[2])
        for line in _lifecycle().diagram().splitlines()
        if len(words := line.split()) > 4 and words[0] != "[*]"
    }

    assert shown == set(edge_pairs())
