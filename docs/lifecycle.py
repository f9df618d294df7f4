"""Write the lifecycle's diagram into ``docs/enforcement.md``, from the edge table itself.

``python docs/lifecycle.py`` rewrites the block; a test compares it, so that it cannot go stale.
"""

from __future__ import annotations

import re
from pathlib import Path

from forge_core.proposals.lifecycle import FINAL, Status, edge_pairs

PAGE = Path(__file__).parent / "enforcement.md"
BLOCK = re.compile(r"(?<=<!-- lifecycle -->\n).*?(?=<!-- /lifecycle -->)", re.DOTALL)

# What takes a proposal along each edge; an edge without a word here is an error.
CAUSES = {
    ("draft", "active"): "activate",
    ("draft", "cancelled"): "cancel",
    ("draft", "expired"): "lifetime over",
    ("active", "approved"): "close",
    ("active", "rejected"): "close",
    ("active", "cancelled"): "cancel",
    ("approved", "queued"): "gates complete",
    ("approved", "cancelled"): "guardian",
    ("approved", "expired"): "gates open too long",
    ("queued", "executed"): "eta reached",
    ("queued", "failed"): "stale, refused, error",
    ("queued", "cancelled"): "guardian",
    ("queued", "expired"): "grace over",
    ("failed", "queued"): "retry, audited",
    ("failed", "cancelled"): "guardian",
    ("executed", "rolled_back"): "rollback executed",
}


def diagram() -> str:
    """The edge table as a Mermaid state diagram, in a fenced block."""
    if unknown := set(CAUSES) - set(edge_pairs()):
        raise ValueError(f"no edges of the table: {sorted(unknown)}")
    lines = [
        "    [*] --> draft : create",
        *(f"    {one} --> {other} : {CAUSES[one, other]}" for one, other in edge_pairs()),
        *(f"    {status} --> [*]" for status in Status if status in FINAL),
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def with_diagram(page: str) -> str:
    """The page with the block between its markers made anew."""
    made, times = BLOCK.subn(lambda _: diagram(), page)
    if times != 1:
        raise ValueError("the page has no place for the diagram, or two")
    return made


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
