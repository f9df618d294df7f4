"""What governance added to the declarations of the code: entries and the stored rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.ledger.entries import EntryKind

EXTENSION_ADDED = EntryKind.of(
    "extension.added",
    """
    INSERT INTO extensions (name, kind, declaration, proposal_id, added_at)
    SELECT subject, data ->> 'kind', data -> 'declaration', data ->> 'proposal', at
    FROM forge_entries(:ids)
    """,
)

EXTENSION_REMOVED = EntryKind.of(
    "extension.removed",
    "DELETE FROM extensions USING forge_entries(:ids) AS entry WHERE name = entry.subject",
)

_EXTENSIONS = text("SELECT name, kind, declaration FROM extensions ORDER BY name")


@dataclass(frozen=True)
class Extension:
    """A stored declaration: a parameter, a feature, a type of proposal, or a source."""

    name: str
    kind: str
    declaration: dict[str, Any]


def extensions(session: Session) -> Sequence[Extension]:
    """All of them, by name."""
    return [Extension(row.name, row.kind, row.declaration) for row in run(session, _EXTENSIONS)]
