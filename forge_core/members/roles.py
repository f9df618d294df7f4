"""Roles: given at genesis, and after that only by executed proposals."""

from __future__ import annotations

from forge_core.ledger.entries import EntryKind

ROLE_GRANTED = EntryKind.of(
    "member.role_granted",
    """
    INSERT INTO member_roles (member_id, role)
    SELECT subject, data ->> 'role' FROM forge_entries(:ids)
    """,
)

ROLE_WITHDRAWN = EntryKind.of(
    "member.role_withdrawn",
    """
    DELETE FROM member_roles USING forge_entries(:ids) AS entry
    WHERE member_id = entry.subject AND role = data ->> 'role'
    """,
)
