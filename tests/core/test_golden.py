"""Old ledgers stay readable: entries of every schema there ever was make the rows that they made.

``golden/NUMBER.entries.jsonl`` are the bodies of a ledger that was written under that migration,
and ``NUMBER.rows.jsonl`` the derived rows that they made then. They are never written again.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from forge_core.ledger.entries import EntryKind
from forge_core.ledger.replay import by_name
from forge_core.wiring import ENTRY_KINDS
from tests.core.factories import House

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = sorted(path.name.partition(".")[0] for path in GOLDEN.glob("*.entries.jsonl"))
KINDS = by_name(ENTRY_KINDS)


def _bodies(schema: str) -> list[str]:
    return (GOLDEN / f"{schema}.entries.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def _rows(text: str) -> tuple[str, str]:
    """A row as text that compares by value: 0.0 and 0 are the same weight."""
    given = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return given["table"], json.dumps(given["row"], sort_keys=True, default=_plain)


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_entries_of_each_schema_make_the_rows_that_they_made_then(empty_house: House, schema):
    """INV-44."""
    house = empty_house
    for body in _bodies(schema):
        document = json.loads(body)
        house.sql(
            "INSERT INTO ledger_entries (kind, subject, body)"
            " VALUES (%s, %s, convert_to(%s, 'UTF8'))",
            document["kind"],
            document["subject"],
            body,
        )
    house.refold()

    made = Counter(
        _rows(f'{{"table": "{table}", "row": {row}}}')
        for table in house.derived_rows()
        for (row,) in house.sql(f"SELECT to_jsonb(t)::text FROM {table} AS t")
    )
    text = (GOLDEN / f"{schema}.rows.jsonl").read_text(encoding="utf-8")
    assert made == Counter(_rows(line) for line in text.split("\n")[:-1])


def test_every_present_kind_and_version_is_in_a_golden_file():
    """So that who raises a version, or adds a kind, leaves an example for later."""
    shown = {
        (document["kind"], document["v"])
        for schema in SCHEMAS
        for document in map(json.loads, _bodies(schema))
    }

    assert {(kind.name, kind.version) for kind in ENTRY_KINDS} <= shown


def test_every_golden_entry_is_of_a_kind_that_is_known():
    for schema in SCHEMAS:
        for document in map(json.loads, _bodies(schema)):
            kind: EntryKind = KINDS[document["kind"]]
            assert 1 <= document["v"] <= kind.version
