"""Present values: registered defaults, and what executed proposals and rules have set since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Value
from forge_core.capabilities.registry import Registry
from forge_core.database import run
from forge_core.ledger.entries import EntryKind

SETTING_CHANGED = EntryKind.of(
    "setting.changed",
    """
    INSERT INTO setting_values (key, value, version, proposal_id, changed_at)
    SELECT subject, data -> 'after', 1, data ->> 'proposal', at FROM forge_entries(:ids)
    ON CONFLICT (key) DO UPDATE
    SET value = excluded.value, version = setting_values.version + 1,
        proposal_id = excluded.proposal_id, changed_at = excluded.changed_at
    """,
)

# The row as it was before, whoever had written it then; nothing, where the default stood.
SETTING_RESTORED = EntryKind.of(
    "setting.restored",
    """
    DELETE FROM setting_values USING forge_entries(:ids) AS entry
    WHERE key = entry.subject AND data ->> 'writer' IS NULL
    """,
    """
    UPDATE setting_values SET value = data -> 'after', version = version - 1,
        proposal_id = data ->> 'writer', changed_at = entry.at
    FROM forge_entries(:ids) AS entry
    WHERE key = entry.subject AND data ->> 'writer' IS NOT NULL
    """,
)

POLICY_ADOPTED = EntryKind.of(
    "policy.adopted",
    """
    INSERT INTO policies (proposal_id, action, title, text, adopted_at)
    SELECT subject, coalesce((data ->> 'action')::integer, 0), data ->> 'title', data ->> 'text', at
    FROM forge_entries(:ids)
    """,
    version=2,
    texts={"title": 1, "text": 1},
)

POLICY_REPEALED = EntryKind.of(
    "policy.repealed",
    """
    DELETE FROM policies USING forge_entries(:ids) AS entry
    WHERE proposal_id = entry.subject AND action = (data ->> 'action')::integer
    """,
)

_VALUES = text("SELECT key, value FROM setting_values")
_SETTING = text("SELECT value, proposal_id FROM setting_values WHERE key = :key")


@dataclass(frozen=True)
class Setting:
    """What stands in a key now. ``writer`` is who set it; None where the default stands."""

    value: Any
    writer: str | None


def present_values(session: Session, registry: Registry) -> dict[str, Value]:
    """Every registered key with its present value."""
    return registry.with_defaults({row.key: row.value for row in run(session, _VALUES)})


def present_setting(session: Session, registry: Registry, key: str) -> Setting:
    """The present value of one key and its writer. ``UNKNOWN_CAPABILITY`` names near matches."""
    capability = registry.get(key)
    row = session.execute(_SETTING, {"key": key}).one_or_none()
    return Setting(capability.default, None) if row is None else Setting(row.value, row.proposal_id)
