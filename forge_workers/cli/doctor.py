"""`forge doctor`: what would keep governance from working, looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import redis
import typer
from rich.markup import escape
from sqlalchemy import Engine, text

from forge_core.clock import rfc3339
from forge_core.database import MIGRATIONS, make_engine
from forge_core.errors import Unavailable
from forge_core.immune.health import PAGE, Symptom, symptoms_of
from forge_core.immune.vitals import read_vitals
from forge_core.ledger.guards import problems
from forge_core.settings import VARIABLES, Settings
from forge_workers.cli.immune_queries import incidents
from forge_workers.cli.output import UNAVAILABLE, AsJson, print_json, standard_output
from forge_workers.health import mirror_symptoms
from forge_workers.queues import QUEUE_OF
from forge_workers.reading import reading
from forge_workers.stack.external import Given

INCIDENTS_MOST: Final = 20
_PAGES: Final = {"broker_url": "broker", "redis_url": "redis"}

_FOUNDED = text("SELECT CASE WHEN sandbox THEN 'a sandbox' ELSE 'production' END FROM instance")
_GRANTS = text("""
    SELECT count(*) FROM pg_tables
    WHERE schemaname = 'public'
        AND has_table_privilege(format('%I.%I', schemaname, tablename), :powers)
""")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``remedy`` and ``runbook`` say what to do where it is not well.

    ``away``: a server that does not answer, so that little else can be said.
    """

    what: str
    well: bool
    found: str
    remedy: str = ""
    runbook: str = ""
    away: bool = False


def doctor(*, as_json: AsJson = False) -> None:
    """Check servers, schema, grants, who is at work and what waits.

    Status 1 when not all is well, 3 when a server is away.
    """
    findings = list(_examine(Settings.load()))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        console = standard_output()
        for finding in findings:
            mark = "[green]✓[/]" if finding.well else "[red]✗[/]"
            told = finding.found if finding.well else f"{finding.found} → {_advice(finding)}"
            console.print(f"{mark} {finding.what}: {escape(told)}", soft_wrap=True)
    if any(finding.away for finding in findings):
        raise typer.Exit(UNAVAILABLE)
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)


def _advice(finding: Finding) -> str:
    return f"{finding.remedy} ({finding.runbook})" if finding.runbook else finding.remedy


def _examine(settings: Settings) -> Iterator[Finding]:
    """One server that is away keeps nothing about the others from being said."""
    away = set[str]()
    for name, variable in VARIABLES.items():
        what = variable.removeprefix("FORGE_").removesuffix("_URL").lower()
        try:
            replace(Given(), **{name: getattr(settings, name)}).check()
        except Unavailable as error:
            away.add(name)
            page = f"{PAGE}#{_PAGES[name]}" if name in _PAGES else ""
            advice = "start it, or correct its address"
            yield Finding(what, False, str(error), advice, page, away=True)
        else:
            yield Finding(what, True, "answers")
    for name, examine in (
        ("database_url", _examine_database),
        ("client_database_url", _examine_client_role),
        ("reader_database_url", _examine_reader_role),
    ):
        if name not in away:
            engine = make_engine(getattr(settings, name), pool_size=1)
            try:
                yield from examine(engine)
            finally:
                engine.dispose()
    if not away & {"redis_url", "database_url"}:
        yield from map(_finding, mirror_symptoms(settings))
    redis_broker = settings.broker_url.startswith(("redis://", "rediss://"))
    if redis_broker and "broker_url" not in away:
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
        founded = session.execute(_FOUNDED).scalar_one_or_none()
        yield Finding("genesis", founded is not None, str(founded or "none"), "run `forge genesis`")
        wrong = problems(session)
        yield Finding(
            "ledger",
            not wrong,
            "; ".join(wrong) or "can only be read and added to",
            "use the role forge_app in FORGE_DATABASE_URL, and see docs/ledger.md",
        )
        yield from map(_finding, symptoms_of(read_vitals(session, QUEUE_OF)))
        for incident in incidents(session, past=False, limit=INCIDENTS_MOST):
            yield Finding(
                f"incident {incident['id']}",
                False,
                f"{incident['kind']}, open since {rfc3339(incident['opened_at'])}"
                f"{_about(incident['details'])}",
                "see `forge immune incidents`",
                f"{PAGE}#incident",
            )


def _about(details: Mapping[str, Any]) -> str:
    """What was unwell when an incident of health was opened."""
    names = [str(symptom["name"]) for symptom in details.get("symptoms", ())]
    return f": {', '.join(names)}" if names else ""


def _finding(symptom: Symptom) -> Finding:
    page = symptom.page if symptom.runbook else ""
    return Finding(symptom.name, symptom.well, symptom.found, symptom.remedy, page)


def _examine_client_role(engine: Engine) -> Iterator[Finding]:
    tables = _tables_open_to(engine, "SELECT, INSERT, UPDATE, DELETE")
    yield Finding(
        "client role",
        tables == 0,
        f"may use {tables} tables" if tables else "may only submit",
        "use the role forge_client in FORGE_CLIENT_DATABASE_URL",
    )


def _examine_reader_role(engine: Engine) -> Iterator[Finding]:
    tables = _tables_open_to(engine, "INSERT, UPDATE, DELETE")
    yield Finding(
        "reader role",
        tables == 0,
        f"may write {tables} tables" if tables else "may only read",
        "use the role forge_reader in FORGE_READER_DATABASE_URL",
    )


def _tables_open_to(engine: Engine, powers: str) -> int:
    with reading(engine) as session:
        return int(session.execute(_GRANTS, {"powers": powers}).scalar_one())


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
