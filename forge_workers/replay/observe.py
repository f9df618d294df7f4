"""What a replay reads from the database: clock, statuses, results, depths of the queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from sqlalchemy import Engine, text

from forge_core.clock import forge_now, is_sandbox
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.exact import to_decimal_string
from forge_core.members.genesis import is_founded
from forge_workers.queues import QUEUE_OF, QUEUES
from forge_workers.reading import reading
from forge_workers.replay.plan import REPLAY_MEMBER
from forge_workers.replay.source import Counts

RUNNING_STATUSES = ("draft", "active", "approved", "queued")

_KNOWN_MEMBERS = text("SELECT id FROM members WHERE id = ANY(:ids)")
_LAST_DEADLINE = text("SELECT max(closes_at) FROM proposals WHERE id = ANY(:ids)")
_UNDECIDED = text("SELECT count(*) FROM proposals WHERE id = ANY(:ids) AND status = ANY(:running)")
_RESULTS = text("""
    SELECT id, status, decision ->> 'outcome' AS outcome,
        coalesce(decision -> 'totals' ->> 'for_', for_weight::text, '0') AS for_weight,
        coalesce(decision -> 'totals' ->> 'against', against_weight::text, '0') AS against_weight,
        coalesce(decision -> 'totals' ->> 'abstain', abstain_weight::text, '0') AS abstain_weight
    FROM proposals LEFT JOIN tallies ON proposal_id = id
    WHERE id = ANY(:ids)
""")
_ADMINISTRATORS = text("SELECT member_id FROM member_roles WHERE role = 'admin'")
_BALLOT_ENTRIES = text("""
    SELECT count(*) AS entries, count(DISTINCT command) AS commands
    FROM (
        SELECT convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'command' AS command
        FROM ledger_entries WHERE kind = 'ballot.cast' AND subject = ANY(:ids)
    ) AS ballot
""")
_DEPTHS = text("""
    SELECT kind, count(*) AS waiting FROM jobs WHERE state IN ('pending', 'running') GROUP BY kind
    UNION ALL
    SELECT 'votes.count', count(*) FROM ballot_inbox
""")


@dataclass(frozen=True, slots=True)
class Result:
    """How one proposal ended; ``outcome`` is None while it is undecided."""

    status: str
    outcome: str | None
    counts: Counts


class Observer:
    """Reads one database; every method raises `Unavailable` while that is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def founded(self) -> bool:
        """Whether there was a genesis."""
        with reading(self._engine) as session:
            return is_founded(session)

    def sandbox(self) -> bool:
        """Whether the clock may be moved here."""
        with reading(self._engine) as session:
            return is_sandbox(session)

    def administrator(self) -> str:
        """Return a member who may admit others: the replay member if it may, else any."""
        with reading(self._engine) as session:
            admins = sorted(row.member_id for row in run(session, _ADMINISTRATORS))
        if not admins:
            raise Refused("NO_ADMINISTRATOR", "no member holds the role admin, which admits voters")
        return REPLAY_MEMBER if REPLAY_MEMBER in admins else admins[0]

    def unknown_members(self, ids: Sequence[str]) -> list[str]:
        """Return those of ``ids`` that are no members, in the order given."""
        with reading(self._engine) as session:
            known = {row.id for row in run(session, _KNOWN_MEMBERS, ids=list(ids))}
        return [identity for identity in ids if identity not in known]

    def clock_and_last_deadline(self, ids: Sequence[str]) -> tuple[datetime, datetime | None]:
        """Return the sandbox time and the latest ``closes_at`` of these proposals."""
        with reading(self._engine) as session:
            deadline = session.execute(_LAST_DEADLINE, {"ids": list(ids)}).scalar_one()
            return forge_now(session), deadline

    def undecided(self, ids: Sequence[str]) -> int:
        """Count the proposals on which something is still to happen."""
        with reading(self._engine) as session:
            given = {"ids": list(ids), "running": list(RUNNING_STATUSES)}
            return int(session.execute(_UNDECIDED, given).scalar_one())

    def results(self, ids: Sequence[str]) -> dict[str, Result]:
        """Return what came out, by proposal id."""
        with reading(self._engine) as session:
            return {
                row.id: Result(
                    status=row.status,
                    outcome=row.outcome,
                    counts=Counts(
                        *(
                            to_decimal_string(Fraction(weight))
                            for weight in (row.for_weight, row.against_weight, row.abstain_weight)
                        )
                    ),
                )
                for row in run(session, _RESULTS, ids=list(ids))
            }

    def ballot_entries(self, ids: Sequence[str]) -> tuple[int, int]:
        """Count the ledger's entries of ballots on these proposals, and their distinct commands."""
        with reading(self._engine) as session:
            [row] = run(session, _BALLOT_ENTRIES, ids=list(ids))
        return row.entries, row.commands

    def depths(self) -> Mapping[str, int]:
        """Count unfinished jobs in each queue; in ``votes``, ballots waiting in the inbox."""
        waiting = {queue.name: 0 for queue in QUEUES}
        with reading(self._engine) as session:
            for row in run(session, _DEPTHS):
                queue = QUEUE_OF.get(row.kind, row.kind)
                waiting[queue] = waiting.get(queue, 0) + row.waiting
        return waiting
