"""What kinds of work there are: declared beside the rule they serve, listed in ``wiring``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from forge_core.errors import Refused


@dataclass(frozen=True)
class Job:
    """A claimed row. ``attempt`` is the fence: only its holder may finish the job."""

    id: int
    kind: str
    key: str
    payload: Mapping[str, Any]
    actor: str
    issuer: str | None
    command_id: UUID | None
    attempt: int
    forgiven: int = 0
    lost: int = 0

    @property
    def tries(self) -> int:
        """Attempts that count against the kind's limit."""
        return self.attempt - self.forgiven

    @classmethod
    def of(cls, row: Row[Any]) -> Job:
        """From a row with these columns."""
        return cls(**row._mapping)  # noqa: SLF001  # Row's public name for itself as a mapping

    @property
    def command(self) -> str | None:
        """Issuer and command id as entries name them; None for work nobody commanded."""
        return None if self.command_id is None else f"{self.issuer}/{self.command_id}"


@dataclass(frozen=True)
class Outcome:
    """How a job's step ended: done, refused by a rule, failed (execution), or again."""

    state: str
    result: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    message: str | None = None

    @classmethod
    def done(cls, **result: object) -> Outcome:
        return cls("done", result)

    @classmethod
    def refused(cls, refusal: Refused) -> Outcome:
        return cls("refused", code=refusal.code, message=refusal.message)

    @classmethod
    def failed(cls, code: str, message: str) -> Outcome:
        return cls("failed", code=code, message=message)

    @classmethod
    def again(cls) -> Outcome:
        """Part of the work is committed and more is left; the row stays claimable."""
        return cls("pending")


Step = Callable[[Session, Sequence[Job]], list[Outcome]]


@dataclass(frozen=True)
class Later:
    """Not now: the row is pending again ``after`` a while.

    Only what ``counts`` is held against the kind's attempts: waiting for one's turn is no failure.
    """

    after: timedelta
    reason: str
    counts: bool = False


@dataclass(frozen=True)
class Outside:
    """Work whose middle is outside the database: no transaction is open while it goes on.

    ``prepare`` reads, in a transaction that commits, what ``act`` needs; or it says at once how
    the job ends. ``act`` touches no database and answers for its own failures. ``apply`` runs in
    the fenced transaction that ends the job: whoever was slower than the lease changes nothing.
    A worker lost in between leaves the job to be done again from the start.

    One process at a time has them under way, ``abreast`` as that says, for they mostly wait: the
    worker's other processes are free for what is not outside.
    """

    prepare: Callable[[Session, Job], Any | Outcome | Later]
    act: Callable[[Any], Any]
    apply: Callable[[Session, Job, Any, Any], Outcome | Later]
    abreast: Callable[[Session], int]


@dataclass(frozen=True)
class JobKind:
    """Work that has rows.

    ``step`` handles the jobs of one work transaction and gives one outcome each: all that were
    claimed where ``together``, else one. ``claim`` rows are taken at once; ``lease`` is longer
    than the work transactions of one claim. A step that is ``Outside`` takes one at a time.
    ``attempts`` bounds those that an outage or a lost worker ended, ``losses`` the lost workers
    among them, ``errors`` those that anything else did.
    ``on_dead`` runs in the transaction that gives up.
    """

    name: str
    queue: str
    step: Step | Outside
    claim: int = 20
    together: bool = True
    lease: timedelta = timedelta(seconds=30)
    attempts: int = 8
    errors: int = 3
    losses: int | None = None
    on_dead: Callable[[Session, Job, str], None] | None = None


@dataclass(frozen=True)
class Chore:
    """Work without rows, derived from the state itself; safe to run any number of times at once.

    ``step`` does a bounded piece and says whether more was left. ``backlog`` (a query giving one
    boolean) lets the sweep wake the chore when a wake-up was lost; None for what beat drives.
    """

    name: str
    queue: str
    step: Callable[[Session], bool]
    backlog: TextClause | None = None


@dataclass(frozen=True)
class Derivation:
    """Jobs that the state calls for and that nobody enqueued: found and inserted by the sweep.

    ``insert`` takes ``:limit`` and returns the ``kind`` of each row inserted; it only narrows,
    the job's own step checks again.
    """

    name: str
    insert: TextClause
