"""Present values: registered defaults, and what executed proposals have set since."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Value
from forge_core.capabilities.registry import Registry
from forge_core.database import run
from forge_core.ledger.entries import EntryKind
from forge_core.locks import lock_name

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

POLICY_ADOPTED = EntryKind.of(
    "policy.adopted",
    """
    INSERT INTO policies (proposal_id, title, text, adopted_at)
    SELECT subject, data ->> 'title', data ->> 'text', at FROM forge_entries(:ids)
    """,
    texts=("title", "text"),
)

_VALUES = text("SELECT key, value FROM setting_values")
_VALUE = text("SELECT value FROM setting_values WHERE key = :key")


def present_values(session: Session, registry: Registry) -> dict[str, Value]:
    """Every registered key with its present value."""
    return registry.with_defaults({row.key: row.value for row in run(session, _VALUES)})


def present_value(session: Session, registry: Registry, key: str) -> Value:
    """The present value of one key. ``UNKNOWN_CAPABILITY`` names near matches."""
    capability = registry.get(key)
    stored = session.execute(_VALUE, {"key": key}).scalar_one_or_none()
    return capability.default if stored is None else stored


def lock_value(session: Session, registry: Registry, key: str) -> Value:
    """The present value, locked against other writers until this transaction ends."""
    lock_name(session, f"setting.{key}")
    return present_value(session, registry, key)
