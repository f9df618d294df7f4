"""A runtime for the tests: what it tells is recorded, checked and answered, without processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from forge_core.clock import forge_now, rfc3339
from forge_core.database import transaction
from forge_core.immune.checking import STEPS
from forge_core.immune.intake.events import RuntimeEvent, read_event
from forge_core.immune.intake.recording import Recorded, record
from forge_core.immune.intake.windows import RowWindows, Windows
from forge_core.ledger.entries import Entry, append, keep_texts
from forge_core.overlays.register import REGISTERED, TRUST_CHANGED
from tests.core.factories import House

SECOND = timedelta(seconds=1)


@dataclass
class Runtime:
    """Tells the house of calls, attempts and use. ``start`` is when its first event happened."""

    house: House
    windows: Windows = field(default_factory=RowWindows)
    start: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=30))
    count: int = 0

    def __post_init__(self) -> None:
        with transaction(self.house.app) as session:
            session.execute(text("SELECT forge_roll_events()"))

    # The register

    def register(self, *overlays: str, trust: str | None = None, **manifest: Any) -> None:
        """As executed proposals would."""
        with transaction(self.house.app) as session:
            at = forge_now(session)
            for overlay in overlays:
                (name,) = keep_texts(session, f"The overlay {overlay}")
                data = {"name": name, "version": "1.0.0", "description": None, "proposal": "p"}
                entries = [Entry(REGISTERED, at, "tara", overlay, {**data, **manifest})]
                if trust is not None:
                    change = {"before": "SANDBOX", "after": trust, "proposal": "p-test"}
                    entries.append(Entry(TRUST_CHANGED, at, "tara", overlay, change))
                append(session, entries)

    def set(self, key: str, value: Any) -> None:
        """As an executed proposal of the protected track would."""
        from forge_core.capabilities.values import SETTING_CHANGED

        checked = self.house.catalogue.get(key).check(value)
        with transaction(self.house.app) as session:
            data = {"before": None, "after": checked, "proposal": "p-test"}
            append(session, [Entry(SETTING_CHANGED, forge_now(session), "tara", key, data)])

    # Events

    def event(
        self, type_: str, data: dict[str, Any], *, at: datetime | None = None, id_: str = ""
    ) -> RuntimeEvent:
        self.count += 1
        given = {
            "specversion": "1.0",
            "id": id_ or f"e{self.count:07}",
            "source": "runtime",
            "type": type_,
            "time": rfc3339(self.start + self.count * SECOND if at is None else at),
            "data": data,
        }
        return read_event(given, datetime.now(UTC))

    def call(self, overlay: str, outcome: str, *, at: datetime | None = None, **more: Any) -> Any:
        """``outcome``: s a success, f a failure, c one by the caller's fault, p the platform's."""
        fault = {"s": None, "f": "overlay", "c": "caller", "p": "platform"}[outcome]
        data = {"overlay": overlay, "success": outcome == "s", "fault": fault, **more}
        return self.event("overlay.invoked", data, at=at)

    def calls(self, overlay: str, outcomes: str, **more: Any) -> list[RuntimeEvent]:
        return [self.call(overlay, outcome, **more) for outcome in outcomes]

    def attempt(
        self, ip: str, *, success: bool = False, member: str | None = "tara", **more: Any
    ) -> RuntimeEvent:
        data = {"ip": ip, "member": member, "success": success}
        return self.event("auth.attempted", data, **more)

    def attempts(self, ip: str, count: int, **more: Any) -> list[RuntimeEvent]:
        return [self.attempt(ip, **more) for _ in range(count)]

    def window(self, member: str, used: int, *, limit: int = 100, refused: int = 0, **more: Any):
        data = {"member": member, "limit": limit, "used": used, "refused": refused}
        return self.event("api.request_window", data, **more)

    # What the house makes of them

    def tell(self, events: Iterable[RuntimeEvent]) -> Recorded:
        """One flush of the consumer, and the checks that it calls for."""
        recorded = self.record(events)
        self.check()
        return recorded

    def record(self, events: Iterable[RuntimeEvent]) -> Recorded:
        with transaction(self.house.app) as session:
            return record(session, list(events), self.windows)

    def check(self) -> None:
        for kind in STEPS:
            self.house.perform(kind)

    def go_on(self) -> None:
        """Let the sweep find what has elapsed, and do it."""
        self.house.sweep()
        self.house.perform("immune.recover")

    def time_passes(self, by: timedelta) -> None:
        """As if everything had happened so much earlier: leases run on real time."""
        with self.house.superuser() as connection, connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            for table, columns in {
                "containments": ("since", "until_at"),
                "immune_responses": ("began_at", "until_at", "ended_at"),
                "immune_actions": ("opened_at", "lapses_at"),
                "incidents": ("opened_at", "pauses_until"),
                "restrictions": ("imposed_at", "until"),
                "runtime_events": ("at", "recorded_at"),
            }.items():
                if table == "runtime_events":  # what would be older than a day has left
                    cursor.execute(
                        "DELETE FROM runtime_events"
                        " WHERE at - %(by)s < clock_timestamp() - INTERVAL '23 hours'",
                        {"by": by},
                    )
                changes = ", ".join(f"{column} = {column} - %(by)s" for column in columns)
                cursor.execute(f"UPDATE {table} SET {changes}", {"by": by})

    # What there is to see

    def responses(self, rung: str | None = None) -> list[dict[str, Any]]:
        rows = self.house.sql(
            "SELECT to_jsonb(r) FROM immune_responses AS r WHERE %s::text IS NULL OR rung = %s"
            " ORDER BY began_at, id",
            rung,
            rung,
        )
        return [row for (row,) in rows]

    def rungs(self) -> list[str]:
        return [response["rung"] for response in self.responses()]

    def stage(self, overlay: str) -> str:
        rows = self.house.sql("SELECT stage FROM containments WHERE overlay = %s", overlay)
        return rows[0][0] if rows else "active"

    def leases(self) -> dict[tuple[str, str], str]:
        """As the client role sees them."""
        with transaction(self.house.client) as session:
            rows = session.execute(text("SELECT * FROM forge_leases()")).all()
        return {(row.kind, row.subject): row.verdict for row in rows}

    def incidents(self) -> Sequence[str]:
        return [kind for (kind,) in self.house.sql("SELECT kind FROM incidents ORDER BY id")]
