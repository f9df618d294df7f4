"""What commands give: results on stdout, complaints on stderr, JSON on request, a status."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forge_workers.words.values import plain, shown

REFUSED = 1
WRONG_USAGE = 2
UNAVAILABLE = 3

_WIDTH_OF_A_FILE = 200
_IDS = {"id", "proposal_id", "member_id", "key"}

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, not a table.")]


def standard_output() -> Console:
    """Results for people. Made anew each time, so that redirection is respected."""
    # Without a terminal nobody knows a width; narrow tables would cut what a script looks for.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


def standard_error() -> Console:
    """Progress and complaints."""
    return Console(stderr=True, highlight=False)


def complain(sentence: str) -> None:
    """Print one line on stderr."""
    standard_error().print(f"[red]{escape(' '.join(sentence.split()))}[/]", soft_wrap=True)


def warn(sentence: str) -> None:
    """Print one line on stderr about something that was done all the same."""
    standard_error().print(f"[yellow]{escape(' '.join(sentence.split()))}[/]", soft_wrap=True)


def print_json(document: object) -> None:
    """Print one JSON document; times as RFC 3339 and decimals as strings."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=plain))


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print rows of equal keys as a table or as a JSON array."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    console = standard_output()
    if not rows:
        console.print(empty)
        return
    table = Table()
    for name in rows[0]:
        # An id that is cut short cannot be copied.
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=name in _IDS)
    for row in rows:
        table.add_row(*(escape(shown(value)) for value in row.values()))
    console.print(table)
