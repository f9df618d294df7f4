"""`forge doctor`: what would keep governance from working, looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import redis
import typer
from rich.markup import escape
from sqlalchemy import Engine, text

from forge_core.database import MIGRATIONS, make_engine
from forge_core.errors import Unavailable
from forge_core.ledger.guards import problems
from forge_core.settings import VARIABLES, Settings
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.reading import reading
from forge_workers.stack.external import Given

MANY = 100_000  # entries: minutes of the fastest voting there is
LATE = 30  # seconds that work may wait or a deadline be past before somebody should look

_OLDEST_JOB = text("""
    SELECT extract(epoch FROM clock_timestamp() - min(greatest(created_at, not_before)))
    FROM jobs WHERE state = 'pending' AND not_before <= clock_timestamp()
""")
_OLDEST_BALLOT = text("SELECT extract(epoch FROM forge_now() - min(accepted_at)) FROM ballot_inbox")
_MOST_OVERDUE = text("""
    SELECT extract(epoch FROM forge_now() - min(closes_at)) FROM proposals
    WHERE status = 'active' AND closes_at < forge_now()
""")
_DEAD = text("SELECT count(*) FROM jobs WHERE state = 'dead'")
_UNDELIVERED = text("SELECT count(*) FROM outbox WHERE state = 'dead'")
_LETTERS = text("SELECT count(*) FROM dead_letters")
_FOUNDED = text("SELECT CASE WHEN sandbox THEN 'a sandbox' ELSE 'production' END FROM instance")
_UNSEALED = text("SELECT count(*) FROM ledger_unsealed")
_SEALED = text("SELECT coalesce(max(position) + 1, 0) FROM ledger_order")
_SIGNED = text("SELECT coalesce(max(size), 0) FROM ledger_checkpoints")
_FINDINGS = text("SELECT jsonb_array_length(findings) FROM ledger_audits")
_CLIENT_GRANTS = text("""
    SELECT count(*) FROM pg_tables
    WHERE schemaname = 'public' AND has_table_privilege(format('%I.%I', schemaname, tablename),
        'SELECT, INSERT, UPDATE, DELETE')
""")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``remedy`` says what to do where it is not well."""

    what: str
    well: bool
    found: str
    remedy: str = ""


def doctor(*, as_json: AsJson = False) -> None:
    """Check servers, schema, grants and waiting work. Status 1 when something is not well."""
    findings = list(_examine(Settings.load()))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        console = standard_output()
        for finding in findings:
            mark = "[green]✓[/]" if finding.well else "[red]✗[/]"
            remedy = "" if finding.well else f" → {finding.remedy}"
            console.print(f"{mark} {finding.what}: {escape(finding.found + remedy)}")
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)


def _examine(settings: Settings) -> Iterator[Finding]:
    # Without servers there is nothing to look at: these raise, and the exit status is 3.
    for name, variable in VARIABLES.items():
        replace(Given(), **{name: getattr(settings, name)}).check()
        yield Finding(variable.removeprefix("FORGE_").removesuffix("_URL").lower(), True, "answers")
    for url, examine in (
        (settings.database_url, _examine_database),
        (settings.client_database_url, _examine_client_role),
    ):
        engine = make_engine(url, pool_size=1)
        try:
            yield from examine(engine)
        finally:
            engine.dispose()
    if settings.broker_url.startswith(("redis://", "rediss://")):
        yield _broker_keeps_messages(settings.broker_url)


def _examine_database(engine: Engine) -> Iterator[Finding]:
    # Slow to import, and every command would wait for it.
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    newest = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    yield Finding("schema", present == newest, f"at {present}", f"run `forge migrate` to {newest}")
    if present != newest:
        return
    with reading(engine) as session:

        def value(query: object) -> object:
            return session.execute(query).scalar_one_or_none()  # type: ignore[call-overload]

        founded = value(_FOUNDED)
        yield Finding("genesis", founded is not None, str(founded or "none"), "run `forge genesis`")
        wrong = problems(session)
        yield Finding(
            "ledger",
            not wrong,
            "; ".join(wrong) or "can only be read and added to",
            "use the role forge_app in FORGE_DATABASE_URL, and see docs/ledger.md",
        )
        counts = (int(str(value(q))) for q in (_UNSEALED, _SEALED, _SIGNED, _FINDINGS))
        yield from _examine_ledger(*counts)
        lateness: dict[str, tuple[object, str]] = {
            "oldest waiting job": (value(_OLDEST_JOB), "is a worker running for each queue?"),
            "oldest uncounted ballot": (value(_OLDEST_BALLOT), "is a worker serving votes?"),
            "most overdue voting": (value(_MOST_OVERDUE), "are beat and a worker for closure up?"),
        }
        for what, (seconds, remedy) in lateness.items():
            late = float(str(seconds or 0))
            found = "none" if seconds is None else f"{late:.1f} s"
            yield Finding(what, late < LATE, found, remedy)
        dead = value(_DEAD)
        yield Finding("dead jobs", dead == 0, str(dead), "see `forge jobs dead`")
        undelivered = value(_UNDELIVERED)
        yield Finding("dead effects", undelivered == 0, str(undelivered), "see `forge outbox list`")
        yield Finding("dead letters", True, str(value(_LETTERS)))


def _examine_ledger(unsealed: int, sealed: int, signed: int, findings: int) -> Iterator[Finding]:
    yield Finding(
        "unsealed entries",
        unsealed < MANY,
        f"{unsealed:,}",
        "are beat and a worker for the queue ledger up?",
    )
    yield Finding(
        "signed entries",
        sealed - signed < MANY and (signed > 0 or sealed == 0),
        f"{signed:,} of {sealed:,}",
        "has the worker for ledger its key? see its log for checkpoint.refused",
    )
    yield Finding(
        "verification", findings == 0, f"{findings} discrepancies", "run `forge ledger verify`"
    )


def _examine_client_role(engine: Engine) -> Iterator[Finding]:
    with reading(engine) as session:
        tables = session.execute(_CLIENT_GRANTS).scalar_one()
    yield Finding(
        "client role",
        tables == 0,
        f"may use {tables} tables" if tables else "may only submit",
        "use the role forge_client in FORGE_CLIENT_DATABASE_URL",
    )


def _broker_keeps_messages(url: str) -> Finding:
    client = redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3)
    try:
        memory, persistence = client.info("memory"), client.info("persistence")
    except redis.RedisError as error:
        raise Unavailable(f"the broker cannot be used now: {error}") from None
    finally:
        client.close()
    policy, kept = memory["maxmemory_policy"], bool(persistence["aof_enabled"])
    return Finding(
        "broker memory",
        policy == "noeviction" and kept,
        f"{policy}, append-only file {'on' if kept else 'off'}",
        "set maxmemory-policy noeviction and appendonly yes",
    )
