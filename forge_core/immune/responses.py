"""Responses: leases with the evidence they stand on. Entries of them, and looking them up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.clock import as_utc, rfc3339
from forge_core.database import run
from forge_core.immune.detectors.finding import Evidence, Subject
from forge_core.immune.rulebook import Rung
from forge_core.jobs.record import HOUSE, wake
from forge_core.ledger.entries import Entry, EntryKind, keep_texts

MEMORY = timedelta(days=30)
"""So long an earlier block makes the next one longer."""
MIRROR = "immune.mirror"
"""The task that tells those who ask fast; see ``forge_workers.leases``."""

RESPONDED = EntryKind.of(
    "immune.responded",
    """
    INSERT INTO immune_responses (id, subject_kind, subject, rung, rule, evidence, why, reason,
        imposed_by, began_at, until_at)
    SELECT subject, data ->> 'about', data ->> 'subject', data ->> 'rung',
        data -> 'evidence' ->> 'rule', nullif(data -> 'evidence', 'null'), data ->> 'why',
        data ->> 'reason', actor, (data ->> 'began')::timestamptz, (data ->> 'until')::timestamptz
    FROM forge_entries(:ids)
    """,
    texts=("address", "reason"),
)

ENDED = EntryKind.of(
    "immune.ended",
    """
    UPDATE immune_responses
    SET ended_at = (data ->> 'ended')::timestamptz, ended_by = entry.actor
    FROM forge_entries(:ids) AS entry WHERE immune_responses.id = entry.subject
    """,
    texts=("address", "reason"),
)

_NOW = text("SELECT clock_timestamp()")
_COMMITMENT = text("SELECT commitment FROM known_addresses WHERE address = :address")
_KNOW = text("INSERT INTO known_addresses (address, commitment) VALUES (:address, :commitment)")
_IN_FORCE = text("""
    SELECT id, rung, rule, why, evidence ->> 'severity' AS severity, began_at, until_at
    FROM immune_responses
    WHERE subject = :subject AND subject_kind = :kind AND ended_at IS NULL
        AND (until_at IS NULL OR until_at > clock_timestamp())
        AND (rung <> 'restrict' OR EXISTS (
            SELECT FROM restrictions
            WHERE member_id = subject AND restrictions.until > clock_timestamp()
        ))
    ORDER BY began_at, id
""")
_EXISTS = text("SELECT EXISTS (SELECT FROM immune_responses WHERE id = :id)")
_BEGAN = text("""
    SELECT began_at FROM immune_responses
    WHERE subject = :subject AND subject_kind = :kind AND began_at > clock_timestamp() - :age
        AND (NOT :automatic OR rule IS NOT NULL)
        AND (CAST(:rung AS text) IS NULL OR rung = :rung)
        AND (CAST(:rule AS text) IS NULL OR rule = :rule)
    ORDER BY began_at
""")
_LAST_BLOCK = text("""
    SELECT max(coalesce(ended_at, until_at)) FROM immune_responses
    WHERE subject = :subject AND subject_kind = :kind AND rung = 'block'
""")
_LAST_RELEASE = text("""
    SELECT max(ended_at) FROM immune_responses
    WHERE subject = :subject AND subject_kind = :kind AND ended_by <> :house
""")


@dataclass(frozen=True)
class Response:
    """A lease on somebody. ``subject`` of an address is its commitment; no end is until ended.

    Of an automatic one ``evidence`` is what was found and ``why`` why it goes as far as it does;
    people give a ``reason``, of which entries have the commitment.
    """

    id: str
    about: str
    subject: str
    rung: Rung
    began: datetime
    until: datetime | None
    evidence: Evidence | None = None
    why: str | None = None
    reason: str | None = None

    def entry(self, *, at: datetime, actor: str, command: str | None = None) -> Entry:
        """The entry that makes it."""
        data: dict[str, Any] = {
            "about": self.about,
            "subject": self.subject,
            "rung": self.rung.value,
            "began": rfc3339(self.began),
            "until": None if self.until is None else rfc3339(self.until),
            "evidence": self.evidence,
            "why": self.why,
            "reason": self.reason,
        }
        if self.about == "address":
            data["address"] = self.subject
        return Entry(RESPONDED, at, actor, self.id, data, command)


def real_now(session: Session) -> datetime:
    """Leases run on real time: a sandbox whose clock jumps frees nobody early."""
    return as_utc(session.execute(_NOW).scalar_one())


def response_id(*parts: str) -> str:
    """The same for the same parts in every process: who answers twice answers the same thing."""
    return "r-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:30]


def filed(session: Session, subject: Subject, *, new: bool = False) -> str | None:
    """Under which name entries speak of the subject: of an address under its commitment.

    None for an address that there never was a response about, unless it shall get a ``new`` one.
    """
    if subject.kind != "address":
        return subject.id
    known = session.execute(_COMMITMENT, {"address": subject.id}).scalar_one_or_none()
    if known is not None or not new:
        return None if known is None else str(known)
    (commitment,) = keep_texts(session, subject.id)
    session.execute(_KNOW, {"address": subject.id, "commitment": commitment})
    return commitment


def in_force(session: Session, subject: Subject) -> Sequence[Row[Any]]:
    """The responses about a subject that are neither over nor ended, oldest first."""
    name = filed(session, subject)
    if name is None:
        return ()
    return run(session, _IN_FORCE, subject=name, kind=subject.kind)


def exists(session: Session, id_: str) -> bool:
    return bool(session.execute(_EXISTS, {"id": id_}).scalar_one())


def began(
    session: Session,
    subject: Subject,
    age: timedelta,
    *,
    rung: Rung | None = None,
    rule: str | None = None,
    automatic: bool = False,
) -> list[datetime]:
    """When responses about the subject began that are not older than ``age``."""
    name = filed(session, subject)
    if name is None:
        return []
    given = {"subject": name, "kind": subject.kind, "age": age, "automatic": automatic}
    rows = run(session, _BEGAN, **given, rung=rung, rule=rule)
    return [row.began_at for row in rows]


def last_block_ends(session: Session, address: str) -> datetime | None:
    """When the last block of an address was over, or will be: what came before counts no more."""
    subject = Subject("address", address)
    name = filed(session, subject)
    if name is None:
        return None
    given: Mapping[str, Any] = {"subject": name, "kind": "address"}
    ends: datetime | None = session.execute(_LAST_BLOCK, given).scalar_one()
    return ends


def last_release(session: Session, subject: Subject) -> datetime | None:
    """When a person last ended a response about the subject: what came before counts no more."""
    name = filed(session, subject)
    given = {"subject": name, "kind": subject.kind, "house": HOUSE}
    ended: datetime | None = session.execute(_LAST_RELEASE, given).scalar_one()
    return ended


def ended_entry(
    session: Session,
    id_: str,
    *,
    now: datetime,
    at: datetime,
    actor: str,
    reason: str | None = None,
    command: str | None = None,
    address: str | None = None,
) -> Entry:
    """The entry that ends a response before its time, or at all where it has none."""
    data: dict[str, Any] = {"ended": rfc3339(now)}
    if address is not None:
        data["address"] = address
    if reason is not None:
        data["reason"] = keep_texts(session, reason)[0]
    return Entry(ENDED, at, actor, id_, data, command)


def tell(session: Session) -> None:
    """After the commit, those who ask fast are told."""
    wake(session, MIRROR)
