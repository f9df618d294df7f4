"""`forge immune replay`: what other terms of a rule would have found in the last days."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from forge_core.immune.replaying import replay as replayed
from forge_core.immune.responses import real_now
from forge_core.immune.rulebook import GOVERNED, PREFIX, Governed, InForce
from forge_core.text import shown
from forge_workers.cli import immune_outlook
from forge_workers.cli import immune_queries as queries
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.cli.servers import database

_WHOLE = re.compile("-?[0-9]{1,15}", re.ASCII)


def replay(
    *,
    rule: Annotated[str, typer.Option(help="Such as overlay.failure_rate.")],
    terms: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TERM=VALUE", help="A term to change; or mode."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=8, help="So far back.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Tell what a rule, as it is set and as you would set it, would have found; changes nothing."""
    name = rule.removeprefix(PREFIX)
    given = dict(_term(term) for term in terms or ())
    if len(given) != len(terms or ()):
        raise typer.BadParameter("--set: give each term once")
    with database(writes=False) as session:
        found = _replayed(session, name, given, days)
    if as_json:
        print_json(found)
    else:
        immune_outlook.print_replay(standard_output(), found)


def _term(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"--set {shown(text)}: write TERM=VALUE, such as rate=0.4")
    return name, value


def _replayed(session: Session, name: str, given: Mapping[str, str], days: int) -> dict[str, Any]:
    values = queries.values(session)
    since = real_now(session) - timedelta(days=days)
    governed = GOVERNED.get(name)
    value = {} if governed is None else _checked(governed, values.get(governed.key, {}), {})
    wanted = _checked(governed, value, given) if governed is not None and given else None
    now, changed = _Found(session, name, values, since), None
    if governed is not None and wanted is not None:
        changed = _Found(session, name, {**values, governed.key: wanted}, since)
    return {
        "rule": name,
        "since": since,
        "given": list(given),
        "now": {"value": value, **now.counts},
        "changed": None if changed is None else {"value": wanted, **changed.counts},
        "only_now": [] if changed is None else now.besides(changed),
        "only_changed": [] if changed is None else changed.besides(now),
        "subjects": _subjects(now, changed or now),
    }


class _Found:
    """How often each subject was found, and what was said of it first."""

    def __init__(
        self, session: Session, rule: str, values: Mapping[str, Any], since: datetime
    ) -> None:
        self.times: Counter[str] = Counter()
        self.says: dict[str, str] = {}
        for finding in replayed(session, rule, InForce.of(values).terms, since):
            self.times[finding.subject.id] += 1
            self.says.setdefault(finding.subject.id, finding.verdict.says)

    @property
    def counts(self) -> dict[str, int]:
        return {"findings": self.times.total(), "subjects": len(self.times)}

    def besides(self, other: _Found) -> list[str]:
        """Subjects that the other one did not find, those found most often first."""
        return [subject for subject, _ in self.times.most_common() if subject not in other.times]


def _subjects(now: _Found, changed: _Found) -> list[dict[str, Any]]:
    return [
        {
            "subject": subject,
            "now": now.times[subject],
            "changed": changed.times[subject],
            "says": now.says.get(subject) or changed.says[subject],
        }
        for subject, _ in (now.times | changed.times).most_common()
    ]


def _checked(
    governed: Governed, value: Mapping[str, Any], given: Mapping[str, str]
) -> dict[str, Any]:
    """The rule's value with these terms, as a proposal to set it would be checked."""
    terms = {
        name: int(text) if _is_whole(governed, name, text) else text for name, text in given.items()
    }
    checked: Any = governed.capability.check({**value, **terms})
    return dict(checked)


def _is_whole(governed: Governed, name: str, text: str) -> bool:
    term = governed.terms.get(name)
    whole = term is not None and isinstance(term.default, int)
    return whole and _WHOLE.fullmatch(text) is not None
