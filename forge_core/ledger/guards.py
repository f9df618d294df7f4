"""The self-check at every start: whether this database still refuses what it has to refuse."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import Misconfigured

# The tables that only grow; the trigger that puts entries before the sealer counts as well.
_REQUIRED = {
    "ledger_entries": {"append_only", "no_truncate", "await_sealing"},
    "ledger_order": {"append_only", "no_truncate"},
    "ledger_tiles": {"append_only", "no_truncate"},
    "ledger_checkpoints": {"append_only", "no_truncate"},
    "ledger_cosignatures": {"append_only", "no_truncate"},
    "ballots": {"append_only"},
}

_TRIGGERS = text("""
    SELECT tgrelid::regclass::text AS table, tgname AS name, tgenabled = 'A' AS always
    FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY(:tables)
""")
_POWERS = text("""
    SELECT role.name AS role, tablename AS table, power.name AS power
    FROM pg_tables, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS power (name),
        (SELECT current_user::text AS name
            UNION SELECT rolname::text FROM pg_roles
                WHERE rolname IN ('forge_app', 'forge_client', 'forge_reader')
        ) AS role
    WHERE schemaname = 'public' AND tablename = ANY(:tables)
        AND CASE power.name
            WHEN 'UPDATE'
            THEN has_any_column_privilege(role.name, format('public.%I', tablename), 'UPDATE')
            ELSE has_table_privilege(role.name, format('public.%I', tablename), power.name)
        END
    UNION ALL
    SELECT current_user::text, tablename, 'owner'
    FROM pg_tables
    WHERE schemaname = 'public' AND tablename = ANY(:tables)
        AND pg_has_role(current_user, tableowner, 'MEMBER')
    ORDER BY 1, 2, 3
""")


def problems(session: Session) -> list[str]:
    """What is not as it has to be: triggers that are off or gone, powers that are too wide."""
    present = {
        (row.table, row.name): row.always
        for row in run(session, _TRIGGERS, tables=sorted(_REQUIRED))
    }
    found = []
    for table, names in _REQUIRED.items():
        for name in sorted(names):
            always = present.get((table, name))
            if not always:
                state = "missing" if always is None else "not enabled always"
                found.append(f"the trigger {name} of {table} is {state}")
    for row in run(session, _POWERS, tables=sorted(_REQUIRED)):
        said = "owns" if row.power == "owner" else f"may {row.power}"
        found.append(f"{row.role} {said} {row.table}")
    return found


def require_guarded(session: Session) -> None:
    """``Misconfigured``, with everything that is wrong, when history could be rewritten here."""
    found = problems(session)
    if found:
        raise Misconfigured(
            "the ledger is not protected, and nothing runs on it until it is: "
            f"{'; '.join(found)}; see docs/ledger.md"
        )
