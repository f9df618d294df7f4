"""Summaries by the minute: what baselines, comparisons among peers and replays are made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json
from forge_core.immune.detectors.hosts import thousandths
from forge_core.immune.intake.events import (
    ApiRequestWindow,
    AuthAttempted,
    OverlayInvoked,
    ResourceSampled,
    RuntimeEvent,
)
from forge_core.immune.intake.told import Told

Measured = Mapping[str, int]
_Key = tuple[str, datetime]


class Summary:
    """A table of summaries: rows of one key add up; of ``most`` the greater one stays."""

    def __init__(
        self, table: str, subject: str, measures: Sequence[str], *, most: Collection[str] = ()
    ) -> None:
        self._most: Final = frozenset(most)
        self.subject: Final = subject
        added = ", ".join(f"{name} = {self._joined(table, name)}" for name in measures)
        columns = ", ".join((subject, "minute", *measures))
        types = ", ".join(f"{name} bigint" for name in measures)
        # Rows are locked in one order, so that consumers at once wait and do not deadlock.
        self.upsert: Final = text(f"""
            INSERT INTO {table} ({columns})
            SELECT {columns}
            FROM json_to_recordset(CAST(:rows AS json))
                AS given ({subject} text, minute timestamptz, {types})
            ORDER BY {subject}, minute
            ON CONFLICT ({subject}, minute) DO UPDATE SET {added}
        """)  # noqa: S608  # the names are those below

    def _joined(self, table: str, column: str) -> str:
        if column in self._most:
            return f"greatest({table}.{column}, excluded.{column})"
        return f"{table}.{column} + excluded.{column}"

    def rows(self, measured: Mapping[_Key, Sequence[Measured]]) -> list[dict[str, Any]]:
        """One row for each subject and minute."""
        return [
            {self.subject: subject, "minute": minute.isoformat()}
            | {name: self._join(name, [one[name] for one in all_]) for name in all_[0]}
            for (subject, minute), all_ in measured.items()
        ]

    def _join(self, name: str, values: Sequence[int]) -> int:
        return max(values) if name in self._most else sum(values)


OVERLAYS: Final = Summary(
    "overlay_minutes",
    "overlay",
    ("calls", "failed", "slow", "exhausted", "excused", "milliseconds"),
)
ADDRESSES: Final = Summary("address_minutes", "address", ("attempts", "failed"))
# Several gateways may each have counted a part of a member's minute.
MEMBERS: Final = Summary(
    "member_minutes", "member", ("allowed", "used", "refused"), most={"allowed"}
)
_GAUGES: Final = ("memory", "disk", "queue_depth", "connections")
HOSTS: Final = Summary("host_minutes", "host", _GAUGES, most=_GAUGES)


def summarise(session: Session, new: Sequence[Told]) -> None:
    """Add events that were never added before to the summaries of their minutes."""
    measured: dict[Summary, dict[_Key, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for told in new:
        found = _measured(told)
        if found is not None:
            summary, measures = found
            measured[summary][told.subject.id, _minute(told.event)].append(measures)
    for summary in (OVERLAYS, ADDRESSES, MEMBERS, HOSTS):
        if summary in measured:
            rows = as_json(summary.rows(measured[summary]))
            session.execute(summary.upsert, {"rows": rows})


def _minute(event: RuntimeEvent) -> datetime:
    return event.time.replace(second=0, microsecond=0)


def _measured(told: Told) -> tuple[Summary, Measured] | None:
    match told.event:
        case OverlayInvoked(data=call):
            counts = told.success is not None
            return OVERLAYS, {
                "calls": int(counts),
                "failed": int(told.success is False),
                "slow": int(told.slow),
                "exhausted": int(told.exhausted),
                "excused": int(not counts),
                "milliseconds": call.execution_ms if counts else 0,
            }
        case AuthAttempted(data=attempt):
            return ADDRESSES, {"attempts": 1, "failed": int(not attempt.success)}
        case ApiRequestWindow(data=window):
            return MEMBERS, {
                "allowed": window.limit,
                "used": window.used,
                "refused": window.refused,
            }
        case ResourceSampled(data=sample):
            return HOSTS, {
                "memory": thousandths(sample.memory),
                "disk": thousandths(sample.disk),
                "queue_depth": sample.queue_depth,
                "connections": sample.connections,
            }
        case _:
            return None
