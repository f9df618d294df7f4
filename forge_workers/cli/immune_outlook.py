"""The immune system for people: how it stands, what it answered and why, what a rule would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console

from forge_core.immune.answer import Why
from forge_core.immune.rulebook import GOVERNED
from forge_workers.cli.outlook import say
from forge_workers.words.values import names, shown, when

Json = Mapping[str, Any]

MOST_LISTED: Final = 10
_ERASED: Final = "(erased)"
_LEASES: Final = (
    ("blocked", "address", "addresses"),
    ("throttled", "overlay", "overlays"),
    ("restricted", "member", "members"),
)
_STAGES: Final = {
    "active": "is active again",
    "quarantined": "is quarantined",
    "probation": "is on probation",
    "held": "is held until somebody releases it",
}


def print_status(console: Console, status: Json) -> None:
    """How everything stands, on one screen."""
    say(console, _mode(status))
    _print_overlays(console, status)
    held = [
        _number(status["leases"].get(verdict, 0), one, many) + f" {verdict}"
        for verdict, one, many in _LEASES
        if status["leases"].get(verdict)
    ]
    say(console, f"In force: {', '.join(held)}" if held else "Nobody is blocked or restricted.")
    for lease in status["held"]:
        until = f" until {shown(lease['until_at'])}" if lease["until_at"] else ""
        say(console, f"{lease['kind']} {shown(lease['subject'])} {lease['verdict']}{until}", 2)
    for warning in status["warnings"]:
        say(console, f"Found, and nobody touched: {_subject(warning)}")
        say(console, _found({**warning, "reason": None, "imposed_by": None}), 2)
        say(console, warning["id"], 4)
    for incident in status["incidents"]:
        say(console, f"Open incident, {incident['kind']}: {_about(incident)}")
        ends = "; `forge immune resume` ends its pause" if incident["pauses_until"] else ""
        say(console, f"{incident['id']}{ends}", 2)
    for action in status["pending"]:
        say(console, f"Waits for two operators: {action['rung']} of {_subject(action)}")
        say(console, f"{action['id']}{_confirmed(action)}", 2)
        say(console, f"`forge immune confirm {action['id']}`; until then its calls go through", 4)
    unjudged = status["unjudged"]
    if unjudged["waiting"]:
        events = _number(unjudged["waiting"], "event", "events")
        say(console, f"Not judged yet: {events}, the oldest for {unjudged['oldest_seconds']} s")
    if not (status["incidents"] or status["pending"] or unjudged["waiting"]):
        say(console, "No incident is open, and nothing waits.")
    if status["strangers"]:
        names = ", ".join(shown(name) for name in status["strangers"])
        say(console, f"Told of overlays that are not registered, and never answered: {names}")
    _print_told(console, status["told"])


def _mode(status: Json) -> str:
    if status["pause"] is not None:
        return f"Automatic action PAUSES until {shown(status['pause']['until'])}."
    if status["mode"] == "off":
        return "The immune system is OFF: nothing is looked for (immune.responses)."
    if status["mode"] == "observe":
        return "The immune system only OBSERVES: nobody is touched (immune.responses)."
    rules = [f"{count} {mode}" for mode, count in status["rules"].items() if count]
    return f"The immune system acts by itself; of its rules {', '.join(rules)}."


def _print_overlays(console: Console, status: Json) -> None:
    stages = status["overlays"]
    if not sum(stages.values()):
        say(console, "No overlay is registered.")
    elif not status["contained"]:
        say(console, f"Overlays: {stages['active']:,} active, none contained.")
    else:
        line = ", ".join(f"{count:,} {stage}" for stage, count in stages.items() if count)
        say(console, f"Overlays: {line}")
    for one in status["contained"][:MOST_LISTED]:
        until = f" until {shown(one['until_at'])}" if one["until_at"] else ""
        since = f"since {shown(one['since'])}"
        say(console, f"{shown(one['overlay'])} {one['stage']} {since}{until}", 2)
        why = one["says"] or f"by {shown(one['imposed_by'])}"
        say(console, f"{one['response_id']}  {why}", 4)
    more = len(status["contained"]) - MOST_LISTED
    if more > 0:
        say(console, f"and {more:,} more; `forge immune responses` lists them", 2)


def _print_told(console: Console, told: Json) -> None:
    counts = [one for one in told["events"] if one["hour"]]
    if not counts:
        say(console, "No event came in within the last hour.")
        return
    minute, hour = (f"{told[key]:%H:%M %Z}" for key in ("minute", "hour"))
    say(console, f"{'Events':<20} {'since ' + minute:>16} {'since ' + hour:>16}")
    for one in counts:
        say(console, f"{one['type']:<18} {one['minute']:>16,} {one['hour']:>16,}", 2)


def print_responses(console: Console, rows: Sequence[Json]) -> None:
    """Leases, each with what was found or the reason that somebody gave."""
    for row in rows:
        print_lease(console, row)
        say(console, _found(row), 2)


def print_lease(console: Console, row: Json) -> None:
    """Whom it is about, how far it goes and until when."""
    say(console, f"{row['rung'].upper()}  {_subject(row)}: {_standing(row)}")
    say(console, f"{row['id']}  since {shown(row['began_at'])}", 2)


def _standing(row: Json) -> str:
    if row["ended_at"] is not None:
        return f"ended {shown(row['ended_at'])} by {shown(row['ended_by'])}"
    if not row["in_force"]:
        return f"over since {shown(row['until_at'])}"
    if row["stage"] == "probation":
        return "on probation"
    if row["stage_until"] is not None:
        return f"until {shown(row['stage_until'])}, then on probation"
    return f"until {shown(row['until_at'])}" if row["until_at"] else "until somebody releases it"


def _found(row: Json) -> str:
    if row["rule"] is None:
        return f"by {shown(row['imposed_by'])}: {shown(row['reason'] or _ERASED)}"
    less = "" if row["why"] == Why.LADDER else f" ({row['rung']} and no more: {row['why']})"
    return f"{row['rule']}: {shown(row['says'])}{less}"


def print_explanation(console: Console, found: Json) -> None:
    """One response from its evidence to what became of its subject."""
    print_lease(console, found)
    evidence = found["evidence"]
    if evidence is None:
        say(
            console, f"Imposed by {shown(found['imposed_by'])}: {shown(found['reason'] or _ERASED)}"
        )
    else:
        _print_evidence(console, found, evidence)
    for action in found["pending"]:
        say(
            console, f"Asked of people: {action['rung']} of {_subject(action)} ({action['status']})"
        )
        say(console, f"{action['id']}{_confirmed(action)}", 2)
    if found["afterwards"]:
        say(console, "Afterwards")
    for one in found["afterwards"]:
        say(console, f"{shown(one['at'])}  {_step(found, one)}", 2)
    if evidence is not None and found["replayed"]["holds"]:
        say(console, "Applied to this evidence again, the rule comes to the same verdict.")


def _print_evidence(console: Console, found: Json, evidence: Json) -> None:
    say(console, f"Found by {evidence['rule']}, version {evidence['version']}")
    say(console, f"{evidence['severity']}: {shown(evidence['says'])}", 2)
    say(console, f"from {when(evidence['since'])} until {when(evidence['until'])}", 2)
    say(console, f"counted: {_pairs(evidence['measures'])}", 2)
    say(console, f"terms of the rule then: {_pairs(evidence['terms'])}", 2)
    if evidence["samples"]:
        say(console, f"events such as {shown(evidence['samples'])}", 2)
    governed = GOVERNED.get(evidence["rule"])
    if found["why"] != Why.LADDER:
        say(console, f"Answered with {found['rung']} and no more: {shown(found['why'])}")
    elif governed is not None and len(governed.ladder) > 1:
        say(console, f"Answered with {found['rung']}, on the ladder {_ladder(governed.ladder)}")
    else:
        say(console, f"Answered with {found['rung']}, as the rule says")


def _step(found: Json, one: Json) -> str:
    if one["what"] == "answered":
        return f"answered again, with {one['rung']}: {one['response']}"
    by = "" if one["actor"] == "system" else f", by {shown(one['actor'])}"
    why = f": {shown(one['reason'])}" if one["reason"] else ""
    if one["what"] == "ended":
        return f"this response was ended{by}{why}"
    until = f" until {shown(one['until'])}" if one["until"] else ""
    canaries = ""
    if one["canaries"]:
        calls, failed = one["canaries"]["calls"], one["canaries"]["failed"]
        canaries = f", after {_number(calls, 'call', 'calls')} on probation, {failed} failed"
    stands = _STAGES.get(one["stage"], one["stage"])
    return f"{_subject(found)} {stands}{until}{canaries}{by}"


def print_pending(console: Console, rows: Sequence[Json]) -> None:
    """What two people confirm."""
    for row in rows:
        say(console, f"{row['status'].upper()}  {row['rung']} of {_subject(row)}")
        say(console, f"{row['id']}, asked by {row['response_id']}", 2)
        say(console, f"opened {shown(row['opened_at'])}, lapses {shown(row['lapses_at'])}", 2)
        for person, at in (("first_by", "first_at"), ("second_by", "second_at")):
            if row[person] is not None:
                say(console, f"confirmed by {shown(row[person])} at {shown(row[at])}", 2)


def print_incidents(console: Console, rows: Sequence[Json]) -> None:
    """What no single response can mend."""
    for row in rows:
        say(console, f"{row['status'].upper()}  {row['kind']}: {shown(row['subject'])}")
        say(console, f"{row['id']}  since {shown(row['opened_at'])}, by {row['opened_by']}", 2)
        if row["pauses_until"] is not None:
            say(console, f"automatic action pauses until {shown(row['pauses_until'])}", 2)
        if row["reason"] is not None:
            say(console, shown(row["reason"]), 2)
        if row["details"]:
            say(console, _pairs(row["details"]), 2)
        if row["closed_at"] is not None:
            say(console, f"closed {shown(row['closed_at'])} by {shown(row['closed_by'])}", 2)


def print_rules(console: Console, rules: Sequence[Json]) -> None:
    """Every rule; of a term that was changed, its default too."""
    for rule in rules:
        say(console, f"{rule['key']}{_answers(rule)}")
        say(console, rule["description"], 2)
        say(console, ", ".join(_terms(rule["terms"])), 2)


def _answers(rule: Json) -> str:
    if rule["mode"] is None:
        return ""
    lower = "" if rule["set_mode"] == rule["mode"] else f" (set to {rule['set_mode']})"
    ladder = f", answers with {_ladder(rule['ladder'])}" if rule["ladder"] else ""
    return f": {rule['mode'].upper()}{lower}{ladder}"


def _ladder(rungs: Sequence[str]) -> str:
    return ", then ".join(rungs)


def _terms(terms: Mapping[str, Json]) -> Iterator[str]:
    for name, term in terms.items():
        value, default = shown(term["value"]), shown(term["default"])
        changed = "" if value == default else f" (default {default})"
        yield f"{name}={value}{changed}"


def print_replay(console: Console, found: Json) -> None:
    """What a rule would have found, as it is set and as it would be."""
    now, changed = found["now"], found["changed"]
    say(console, f"{found['rule']} since {shown(found['since'])}, from the summaries")
    say(console, f"as it is set now ({_pairs(now['value'])}): {_findings(now)}", 2)
    if changed is not None:
        given = {name: changed["value"][name] for name in found["given"]}
        say(console, f"with {_pairs(given)}: {_findings(changed)}", 2)
        for key, head in (("only_now", "No longer found"), ("only_changed", "Newly found")):
            say(console, f"{head}: {names(found[key])}", 2)
    if found["subjects"]:
        say(console, "Found most often" + ("" if changed is None else ", now → changed"))
    for one in found["subjects"][:MOST_LISTED]:
        counts = f"{one['now']}" if changed is None else f"{one['now']} → {one['changed']}"
        say(console, f"{shown(one['subject'])}: {counts}; first: {shown(one['says'])}", 2)
    say(
        console,
        "Summaries know minutes and not single events: this is close, and not exact. A subject "
        "that was found is not found again for an hour.",
    )


def _findings(counted: Json) -> str:
    findings = _number(counted["findings"], "finding", "findings")
    return f"{findings} about {_number(counted['subjects'], 'subject', 'subjects')}"


def _about(incident: Json) -> str:
    reason = f", {shown(incident['reason'])}" if incident["reason"] else ""
    return f"{shown(incident['subject'])}{reason}, by {shown(incident['opened_by'])}"


def _confirmed(action: Json) -> str:
    by = f", confirmed by {shown(action['first_by'])}" if action["first_by"] else ""
    by += f" and {shown(action['second_by'])}" if action["second_by"] else ""
    lapses = f", lapses {shown(action['lapses_at'])}" if action["status"] == "open" else ""
    return by + lapses


def _subject(row: Json) -> str:
    return f"{row['subject_kind']} {shown(row['subject'] or _ERASED)}"


def _pairs(values: Json) -> str:
    return ", ".join(f"{shown(name)}={shown(value)}" for name, value in sorted(values.items()))


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
