"""Health: what is not well in the house, since when it is worth an incident, and its record.

Whoever does a periodic round of work leaves a pulse; one row's age then tells whether everything
that had to work together for it did. An incident tells what was unwell at two looks in a row: it
is opened once, however often it is looked, and closed when all was well at two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import as_json
from forge_core.immune.answering import lock_immune
from forge_core.immune.incidents import close_one, open_incident, open_one
from forge_core.immune.vitals import EVENTS, LOOK, Vitals
from forge_core.locks import try_lock_name
from forge_core.members.genesis import is_founded

ABOUT: Final = "house"
PAGE: Final = "docs/runbooks.md"

# Seconds.
PULSE_LATE: Final = 60.0
"""A pulse is sent every ten, and may wait behind an effect that takes its ten to be delivered."""
LATE: Final = 30.0
"""All of this is done within a second or two, while everybody is at work."""
UNSIGNED_LATE: Final = 60.0
STUCK: Final = 300.0
"""Many proposals may fall due at once, and are executed one after the other."""
APART: Final = 5.0
"""Two looks that are closer are one: there may be two beats."""
FORGOTTEN: Final = 60.0
"""A look that is longer ago says nothing: meanwhile nobody was at work."""

_PULSE = text("""
    INSERT INTO heartbeats (name, at) VALUES (:name, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET at = clock_timestamp()
""")
_LAST = text("""
    SELECT unwell, extract(epoch FROM clock_timestamp() - at)::float AS age
    FROM heartbeats WHERE name = :name
""")
_NOTE = text("""
    INSERT INTO heartbeats (name, at, unwell)
    VALUES (:name, clock_timestamp(), CAST(:unwell AS jsonb))
    ON CONFLICT (name) DO UPDATE SET at = clock_timestamp(), unwell = excluded.unwell
""")

_REMEDIES: Final = {EVENTS: "run `forge events consume`", LOOK: "does a worker serve immune?"}


@dataclass(frozen=True)
class Symptom:
    """One thing looked at. ``remedy`` is for people; ``runbook`` an anchor of the page for them.

    ``mendable``: deriving and waking anew what the rows call for may help.
    """

    name: str
    well: bool
    found: str
    remedy: str = ""
    runbook: str = ""
    mendable: bool = False

    @property
    def page(self) -> str:
        """Where to read on."""
        return f"{PAGE}#{self.runbook}"


@dataclass(frozen=True)
class Look:
    """What is ``lasting`` was unwell at the last look too; ``clear``: nothing was at either."""

    lasting: tuple[Symptom, ...]
    clear: bool

    @property
    def mendable(self) -> bool:
        return any(symptom.mendable for symptom in self.lasting)


def pulse(session: Session, name: str) -> None:
    """Say that ``name`` is at work: a worker of that queue, or ``EVENTS``. Safe at any time."""
    session.execute(_PULSE, {"name": name})


def symptoms_of(vitals: Vitals) -> list[Symptom]:
    """Everything that is looked at, well or not, always under the same names."""
    return [*_pulses(vitals), *_delays(vitals), *_ledger(vitals), *_dead(vitals)]


def _pulses(vitals: Vitals) -> Iterator[Symptom]:
    # The consumer's pulse is its own.
    sent = [age for name, age in vitals.pulses.items() if age is not None and name != EVENTS]
    youngest = min(sent, default=None)
    yield Symptom(
        "beat",
        youngest is not None and youngest < PULSE_LATE,
        _seconds(youngest, "never"),
        "run `forge beat`, and see whether the broker takes messages",
        "beat",
    )
    for name, age in sorted(vitals.pulses.items()):
        yield Symptom(
            f"pulse of {name}",
            age is not None and age < PULSE_LATE,
            _seconds(age, "never"),
            _REMEDIES.get(name, f"does a worker serve {name}?"),
            "pulse",
        )


def _delays(vitals: Vitals) -> Iterator[Symptom]:
    oldest = max(vitals.waiting.values(), default=None)
    late = sorted(queue for queue, age in vitals.waiting.items() if age >= LATE)
    yield Symptom(
        "waiting jobs",
        not late,
        _seconds(oldest) + (f" ({', '.join(late)})" if late else ""),
        "is a worker running for each queue?",
        "waiting-jobs",
        mendable=True,
    )
    for name, age, most, remedy in (
        ("expired leases", vitals.expired_lease, LATE, "does a worker serve maintenance?"),
        ("uncounted ballots", vitals.uncounted_ballot, LATE, "does a worker serve votes?"),
        ("overdue votings", vitals.overdue_voting, LATE, "does a worker serve closure?"),
        ("stuck proposals", vitals.stuck, STUCK, "see `forge proposal queue`, `forge jobs dead`"),
        ("unjudged events", vitals.unjudged_event, LATE, "does a worker serve immune?"),
    ):
        found = _seconds(age)
        yield Symptom(
            name, _in_time(age, most), found, remedy, name.replace(" ", "-"), mendable=True
        )
    yield Symptom(
        "waiting effects",
        _in_time(vitals.waiting_effect, LATE),
        _seconds(vitals.waiting_effect),
        "does a worker serve outbox, and does what it calls answer?",
        "waiting-effects",
    )


def _ledger(vitals: Vitals) -> Iterator[Symptom]:
    yield Symptom(
        "unsealed entries",
        _in_time(vitals.unsealed_entry, LATE),
        _many(vitals.unsealed, vitals.unsealed_entry),
        "are beat and a worker for the queue ledger up?",
        "unsealed-entries",
    )
    yield Symptom(
        "signed entries",
        _in_time(vitals.unsigned_entry, UNSIGNED_LATE),
        f"{vitals.signed:,} of {_many(vitals.sealed, vitals.unsigned_entry)}",
        "has the worker for ledger its key? see its log for checkpoint.refused",
        "signed-entries",
    )
    yield Symptom(
        "verification",
        vitals.findings == 0,
        f"{vitals.findings} discrepancies",
        "run `forge ledger verify`",
        "verification",
    )


def _dead(vitals: Vitals) -> Iterator[Symptom]:
    for name, count, remedy in (
        ("dead jobs", vitals.dead_jobs, "see `forge jobs dead`"),
        ("dead effects", vitals.dead_effects, "see `forge outbox list`"),
    ):
        yield Symptom(name, count == 0, str(count), remedy, name.replace(" ", "-"))
    # Whoever may publish can make as many as they like: no reason to call anybody.
    yield Symptom("dead letters", True, str(vitals.dead_letters), runbook="dead-letters")


def _in_time(age: float | None, most: float) -> bool:
    return age is None or age < most


def _seconds(age: float | None, none: str = "none") -> str:
    return none if age is None else f"{age:,.1f} s"


def _many(count: int, age: float | None) -> str:
    return f"{count:,}" if age is None else f"{count:,}, the oldest for {_seconds(age)}"


def note(session: Session, symptoms: Sequence[Symptom]) -> Look | None:
    """Compare with the last look, and write this one down for the next.

    None right after another look, and beside one: running it twice, or at once, is one.
    """
    if not try_lock_name(session, LOOK):
        return None
    last = session.execute(_LAST, {"name": LOOK}).one_or_none()
    if last is not None and 0 <= last.age < APART:
        return None
    unwell = [symptom for symptom in symptoms if not symptom.well]
    session.execute(_NOTE, {"name": LOOK, "unwell": as_json([one.name for one in unwell])})
    if last is None or not 0 <= last.age < FORGOTTEN:
        return Look((), clear=False)
    return Look(
        tuple(symptom for symptom in unwell if symptom.name in last.unwell),
        clear=not unwell and not last.unwell,
    )


def conclude(session: Session, look: Look, repaired: Mapping[str, int]) -> str | None:
    """Open the one incident for what is lasting, or close it; gives the id of one opened now.

    Its details stay as they were when it was opened. Running it twice, or at once, is safe: under
    the lock of the immune system there is one or none.
    """
    if not is_founded(session):
        return None
    present = open_incident(session, "health", ABOUT)
    if look.lasting and present is None:
        lock_immune(session)
        if open_incident(session, "health", ABOUT) is None:
            return open_one(session, "health", ABOUT, _details(look, repaired))
    if look.clear and present is not None:
        lock_immune(session)
        if open_incident(session, "health", ABOUT) == present:
            close_one(session, present)
    return None


def _details(look: Look, repaired: Mapping[str, int]) -> dict[str, object]:
    symptoms = [{"name": one.name, "found": one.found, "runbook": one.page} for one in look.lasting]
    return {"symptoms": symptoms, "repaired": dict(repaired)}
