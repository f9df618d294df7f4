"""`forge immune`: what watches the platform, what it found and did, and how people overrule it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from sqlalchemy.orm import Session

from forge_core.clock import as_utc, parse_moment
from forge_core.immune.explaining import Explained
from forge_core.immune.explaining import explain as explained
from forge_core.immune.rulebook import (
    CAPABILITIES,
    GOVERNED,
    InForce,
    Mode,
    Rung,
)
from forge_workers.cli import immune_acts, immune_outlook, immune_replay
from forge_workers.cli import immune_queries as queries
from forge_workers.cli.output import (
    REFUSED,
    AsJson,
    complain,
    print_json,
    print_rows,
    standard_output,
)
from forge_workers.cli.servers import database

All = Annotated[bool, typer.Option("--all", help="Those that are over as well.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]

STATUS_MOST: Final = 5


class SubjectKind(StrEnum):
    """Whom a response can be about."""

    OVERLAY = "overlay"
    ADDRESS = "address"
    MEMBER = "member"
    HOST = "host"
    PROPOSAL = "proposal"


app = typer.Typer(
    no_args_is_help=True,
    help="The immune system: what it watches, found and did, and overruling it.",
)


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show at a glance who is contained, what pauses or waits, and what was told of late."""
    with database(writes=False) as session:
        found = _status(session)
    if as_json:
        print_json(found)
    else:
        immune_outlook.print_status(standard_output(), found)


def _status(session: Session) -> dict[str, Any]:
    rules = InForce.of(queries.values(session))
    now = queries.moments(session)
    incidents = queries.incidents(session, past=False, limit=STATUS_MOST)
    stages = queries.stages(session)
    modes = Counter(rules.modes[name].value for name in GOVERNED)
    return {
        "now": now["now"],
        "mode": rules.responses.mode.value,
        "pause": queries.pause(session),
        "rules": {mode.value: modes[mode.value] for mode in reversed(Mode)},
        "overlays": {
            stage: stages.get(stage, 0) for stage in ("active", "quarantined", "probation", "held")
        },
        "contained": queries.contained(session),
        "leases": queries.leases(session),
        "held": queries.held(session, STATUS_MOST),
        "warnings": queries.warnings(session, STATUS_MOST),
        "strangers": queries.strangers(session, now["hour"], STATUS_MOST),
        "incidents": incidents,
        "pending": queries.actions(session, past=False, limit=STATUS_MOST),
        "unjudged": queries.unjudged(session),
        "told": {
            "minute": now["minute"],
            "hour": now["hour"],
            "events": queries.told(session, now["minute"], now["hour"]),
        },
    }


@app.command()
def responses(  # one option a column
    *,
    past: All = False,
    subject_type: Annotated[
        SubjectKind | None, typer.Option(help="Only about one of these.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this one.")] = None,
    rung: Annotated[Rung | None, typer.Option(help="Only those that go this far.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what is in force, newest first: on whom, how far, until when, and why."""
    with database(writes=False) as session:
        rows = queries.responses(
            session, past=past, kind=subject_type, subject=subject, rung=rung, limit=limit
        )
    if rows and not as_json:
        immune_outlook.print_responses(standard_output(), rows)
    else:
        empty = "there is no such response" + ("" if past else " in force")
        print_rows(rows, as_json=as_json, empty=empty)


@app.command()
def explain(
    response: Annotated[str, typer.Argument(help="The id that `forge immune responses` shows.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what was found, on what evidence, what it led to; and apply the rule to it once more.

    Exit status 1 when the rule does not come to the same verdict.
    """
    with database(writes=False) as session:
        found = explained(session, response)
        document = _explained(session, found)
    if as_json:
        print_json(document)
    else:
        immune_outlook.print_explanation(standard_output(), document)
    if not found.holds:
        complain(_differs(found))
        raise typer.Exit(REFUSED)


def _explained(session: Session, found: Explained) -> dict[str, Any]:
    (listed,) = queries.responses(session, past=True, id_=found.id, limit=1)
    verdict = found.verdict
    replayed = {
        "holds": found.holds,
        "version": found.version,
        "severity": None if verdict is None else verdict.severity.value,
        "says": None if verdict is None else verdict.says,
    }
    return {
        **listed,
        "evidence": found.evidence,
        "replayed": None if found.evidence is None else replayed,
        "pending": queries.actions(session, past=True, response=found.id, limit=STATUS_MOST),
        "afterwards": _afterwards(session, found),
    }


def _afterwards(session: Session, found: Explained) -> list[dict[str, Any]]:
    """What became of the subject: of an overlay until it is active again."""
    overlay = found.subject if found.subject_kind == "overlay" else None
    steps = [
        {"at": as_utc(row["began_at"]), "what": "answered", "rung": row["rung"]}
        | {"response": row["id"]}
        for row in queries.later_responses(session, found.id)
    ]
    for row in queries.entries_after(session, found.id, overlay):
        data, ended = row["data"], row["kind"] == "immune.ended"
        step = {
            "at": parse_moment(data["ended" if ended else "since"]),
            "what": "ended" if ended else "stands",
            "actor": row["actor"],
            "reason": row["reason"],
        }
        if not ended:
            step |= {"stage": data["stage"], "until": parse_moment(data["until"])}
            step["canaries"] = data.get("canaries")
        steps.append(step)
    steps.sort(key=lambda step: step["at"])
    back = next((step["at"] for step in steps if step.get("stage") == "active"), None)
    return [step for step in steps if back is None or step["at"] <= back]


def _differs(found: Explained) -> str:
    evidence = found.evidence
    assert evidence is not None  # noqa: S101  # what a person imposed always holds
    rule = evidence["rule"]
    if found.version is None:
        return f"there is no rule {rule} any more, so nothing can be replayed"
    finds = "nothing" if found.verdict is None else f"{found.verdict.says!r}"
    if found.version == evidence["version"]:
        why = f"its version is the same, {found.version}: the evidence is not what it saw"
    else:
        was = evidence["version"]
        why = f"the evidence is of version {was}, and the rule is at version {found.version} now"
    return f"NOT the same verdict: on this evidence {rule} finds {finds}; {why}"


@app.command()
def pending(*, past: All = False, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List what the immune system may not do alone, and two operators confirm."""
    with database(writes=False) as session:
        rows = queries.actions(session, past=past, limit=limit)
    if rows and not as_json:
        immune_outlook.print_pending(standard_output(), rows)
    else:
        print_rows(rows, as_json=as_json, empty="nothing waits for people")


@app.command()
def incidents(*, past: All = False, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List what no single response can mend, and what pauses automatic action."""
    with database(writes=False) as session:
        rows = queries.incidents(session, past=past, limit=limit)
    if rows and not as_json:
        immune_outlook.print_incidents(standard_output(), rows)
    else:
        print_rows(
            rows, as_json=as_json, empty="no incident is open" if not past else "no incident"
        )


@app.command()
def rules(*, as_json: AsJson = False) -> None:
    """List every rule: its mode, what it answers with, its terms now, and their defaults."""
    with database(writes=False) as session:
        values = queries.values(session)
    rows = _rules(values)
    if as_json:
        print_json(rows)
    else:
        immune_outlook.print_rules(standard_output(), rows)


def _rules(values: dict[str, Any]) -> list[dict[str, Any]]:
    """What holds for all of them first; the allowlist has no mode."""
    now = InForce.of(values)
    of_rules = {one.key: one for one in GOVERNED.values()}
    rows = []
    for one in sorted(CAPABILITIES, key=lambda one: one.key in of_rules):
        set_: Any = one.check(values.get(one.key, {}))
        default: Any = one.default
        governed = of_rules.get(one.key)
        own = set_.get("mode")
        mode = own if governed is None else now.modes[governed.rule.name].value
        terms = {name: value for name, value in set_.items() if name != "mode"}
        rows.append(
            {
                "key": one.key,
                "mode": mode,
                "set_mode": own,
                "ladder": [] if governed is None else [rung.value for rung in governed.ladder],
                "description": one.description,
                "terms": {
                    name: {"value": value, "default": default[name]}
                    for name, value in terms.items()
                },
            }
        )
    return rows


app.command()(immune_replay.replay)
for _act in (
    immune_acts.quarantine,
    immune_acts.hold,
    immune_acts.release,
    immune_acts.block,
    immune_acts.unblock,
    immune_acts.confirm,
    immune_acts.halt,
    immune_acts.resume,
):
    app.command()(_act)
