"""Old ledgers stay readable: entries of every schema there ever was make the rows that they made.

``golden/NUMBER.entries.jsonl`` are the bodies of a ledger that was written under that migration,
and ``NUMBER.rows.jsonl`` the derived rows that they made then. They are never written again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import forge_verify
from forge_core.ledger.entries import EntryKind
from forge_core.ledger.replay import by_name
from forge_core.wiring import ENTRY_KINDS
from tests.core.factories import House

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = sorted(path.name.partition(".")[0] for path in GOLDEN.glob("*.entries.jsonl"))
KINDS = by_name(ENTRY_KINDS)


def _bodies(schema: str) -> list[str]:
    return (GOLDEN / f"{schema}.entries.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def _golden_rows(schema: str) -> list[tuple[str, dict[str, object]]]:
    text = (GOLDEN / f"{schema}.rows.jsonl").read_text(encoding="utf-8")
    given = [_exact(line) for line in text.split("\n")[:-1]]
    return [(one["table"], one["row"]) for one in given]


def _exact(text: str) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return given


def _as_text(table: str, row: dict[str, object], columns: Mapping[str, Container[str]]) -> str:
    """A row that compares by value: 0.0 and 0 are the same weight."""
    known = columns.get(table, row.keys())  # others came with a later schema
    shown = {column: value for column, value in row.items() if column in known}
    return f"{table} {json.dumps(shown, sort_keys=True, default=_plain)}"


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

    then = _golden_rows(schema)
    columns = {table: row.keys() for table, row in then}
    made = Counter(
        _as_text(table, _exact(row), columns)
        for table in house.derived_rows()
        for (row,) in house.sql(f"SELECT to_jsonb(t)::text FROM {table} AS t")
    )
    assert made == Counter(_as_text(table, row, columns) for table, row in then)


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


def test_every_golden_entry_is_read_by_whoever_verifies_without_the_house():
    """INV-45: a raised version is also raised in the file that strangers run."""
    for schema in SCHEMAS:
        for position, body in enumerate(_bodies(schema)):
            assert forge_verify.parse_entry(body, position).kind in KINDS
