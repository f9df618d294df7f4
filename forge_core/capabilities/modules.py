"""The register of modules: targets of upgrades, each with its owner and its way back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.errors import Refused
from forge_core.ledger.entries import EntryKind

MODULE_REGISTERED = EntryKind.of(
    "module.registered",
    """
    INSERT INTO modules (name, version, owner, governs, rollback, proposal_id, changed_at)
    SELECT subject, data ->> 'version', data ->> 'owner', data ->> 'governs', data ->> 'rollback',
        data ->> 'proposal', at
    FROM forge_entries(:ids)
    """,
)

MODULE_REMOVED = EntryKind.of(
    "module.removed",
    "DELETE FROM modules USING forge_entries(:ids) AS entry WHERE name = entry.subject",
)

MODULE_UPDATED = EntryKind.of(
    "module.updated",
    """
    UPDATE modules SET version = entry.data ->> 'after',
        proposal_id = entry.data ->> 'proposal', changed_at = entry.at
    FROM forge_entries(:ids) AS entry WHERE name = entry.subject
    """,
)

_MODULE = text("SELECT name, version FROM modules WHERE name = :name")


@dataclass(frozen=True)
class ModuleNow:
    """A registered module as of now."""

    name: str
    version: str


def find_module(session: Session, name: str) -> ModuleNow | None:
    """The module of that name, if it is registered."""
    row = session.execute(_MODULE, {"name": name}).one_or_none()
    return None if row is None else ModuleNow(row.name, row.version)


def require_module(session: Session, name: str) -> ModuleNow:
    """The module. Raises ``Refused`` MODULE_UNKNOWN."""
    found = find_module(session, name)
    if found is None:
        raise Refused(
            "MODULE_UNKNOWN",
            f"there is no module {name!r}; a registry_extension of kind module adds one",
        )
    return found
