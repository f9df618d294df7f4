"""GovernanceClient: how a Python service submits commands and ballots, and reads answers.

Everything is accepted by the database; the broker only hears that there is work. A call returns
when its batch is committed, and a call that is repeated with the same command id gets the first
answer again, so that after any error the right thing to do is to call again.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.engine import Row
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from forge_core.clock import rfc3339
from forge_core.database import as_json, is_retryable, make_engine, run, transaction
from forge_core.errors import Misconfigured, Refused, Unavailable
from forge_core.ids import uuid7
from forge_core.ledger.notes import SigningKey
from forge_core.ledger.receipts import Receipt, promise
from forge_core.settings import Settings
from forge_core.text import require_id
from forge_core.wiring import CATALOGUE
from forge_workers.accepted import accepted_entries
from forge_workers.app import app
from forge_workers.flusher import Flusher
from forge_workers.leases import Leases
from forge_workers.waker import Waker

T = TypeVar("T")

MOST_AT_ONCE = 2_000
MOST_COMMANDS = 10_000
POLL_LEAST = 0.005
POLL_MOST = 0.1
CHOICES = ("for", "against", "abstain")

_ACCEPT = text("""
    SELECT ballot_id, accepted_at, code, message, duplicate
    FROM forge_accept_ballots(:issuer, CAST(:rows AS json))
""")
_SUBMIT = text("""
    SELECT command_id, state, code, message, duplicate
    FROM forge_submit_commands(:issuer, CAST(:rows AS json))
""")
_ANSWERS = text("""
    SELECT command_id, state, code, message, result
    FROM forge_answers(:issuer, CAST(:ids AS uuid[]))
""")
_SETTING = text("SELECT forge_setting(:key)")

# An escaped NUL in JSON text: an odd number of backslashes before u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True)
class Ballot:
    """One member's choice on one proposal: ``for``, ``against`` or ``abstain``."""

    proposal_id: str
    member_id: str
    choice: str
    command_id: UUID = field(default_factory=uuid7)


@dataclass(frozen=True)
class BallotAnswer:
    """Accepted (``ballot_id`` is its place in the order) or refused with a code."""

    command_id: UUID
    ballot_id: int | None
    accepted_at: datetime | None
    refusal: str | None
    message: str | None
    duplicate: bool

    @property
    def accepted(self) -> bool:
        """Whether the ballot counts, unless the member votes again."""
        return self.refusal is None


@dataclass(frozen=True)
class Command:
    """A governance command: a kind, the member who acts, and a JSON payload."""

    kind: str
    actor: str
    payload: Mapping[str, Any]
    command_id: UUID = field(default_factory=uuid7)


@dataclass(frozen=True)
class Answer:
    """``state``: pending, done, refused, failed or dead; ``result`` once it is done."""

    command_id: UUID
    state: str
    result: Mapping[str, Any]
    code: str | None
    message: str | None

    def require_done(self) -> Mapping[str, Any]:
        """The result; a refusal, failure or dead job is raised as ``Refused`` with its code."""
        if self.state == "done":
            return self.result
        raise Refused(self.code or self.state.upper(), self.message or f"it is {self.state}")


class GovernanceClient:
    """For one issuer (a service). Thread-safe; use it as a context manager or ``close()`` it.

    ``patience`` seconds are spent on a database that does not answer before ``Unavailable`` is
    raised; a ballot whose batch raised may have been accepted: send it again, with its id. With a
    ``promise_key`` it gives receipts.
    """

    def __init__(
        self,
        *,
        issuer: str,
        settings: Settings | None = None,
        patience: float = 30.0,
        promise_key: SigningKey | None = None,
    ) -> None:
        settings = settings or Settings.load(needed=("client_database_url", "broker_url"))
        self._promise_key = promise_key
        self.issuer = require_id("issuer", issuer)
        self._engine: Engine = make_engine(settings.client_database_url)
        self._patience = patience
        self._waker = Waker(app, broker_url=settings.broker_url)
        self._ballots: Flusher[Ballot, BallotAnswer] = Flusher(self._accept, MOST_AT_ONCE)
        self._commands: Flusher[Mapping[str, Any], Row[Any]] = Flusher(self._record, MOST_COMMANDS)
        self._settings = settings
        self._leases: Leases | None = None
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Send what is waiting, then let go of all connections."""
        self._ballots.close()
        self._commands.close()
        self._waker.close()
        if self._leases is not None:
            self._leases.close()
        self._engine.dispose()

    # Ballots

    def vote(self, ballot: Ballot) -> BallotAnswer:
        """Returns when the ballot's batch is committed; calls from other threads share it."""
        return self.submit(ballot).result()

    def submit(self, ballot: Ballot) -> Future[BallotAnswer]:
        """As ``vote``, but at once: first in, first out, in batches."""
        return self._ballots.put(ballot)

    def vote_many(self, ballots: Sequence[Ballot]) -> list[BallotAnswer]:
        """One answer a ballot, in order; a bad ballot is refused alone."""
        return self._ballots.put_all(ballots)

    # Commands

    def command(
        self,
        kind: str,
        actor: str,
        payload: Mapping[str, Any],
        *,
        command_id: UUID | None = None,
    ) -> UUID:
        """Record a command; returns its id when it is committed. ``wait`` for the answer."""
        return self.commands([Command(kind, actor, payload, command_id or uuid7())])[0]

    def commands(self, commands: Sequence[Command]) -> list[UUID]:
        """Record up to 10,000 commands in one transaction, shared with other threads' commands.

        ``Refused`` when one cannot even be recorded; the others are.
        """
        rows = [
            {
                "command_id": str(command.command_id),
                "kind": command.kind,
                "actor": require_id("actor", command.actor),
                "payload": _storable(command.payload),
            }
            for command in commands
        ]
        for row in self._commands.put_all(rows):
            if row.code in {"COMMAND_ID_INVALID", "COMMAND_CONFLICT", "COMMAND_INVALID"}:
                raise Refused(row.code, row.message)
        return [command.command_id for command in commands]

    def create_proposal(  # noqa: PLR0913  # a proposal has that many fields
        self,
        *,
        proposer: str,
        type: str,  # noqa: A002  # the field's own name
        title: str,
        description: str,
        payload: Mapping[str, Any],
        reason: str = "",
        voting_hours: int | None = None,
        electorate: str | None = None,
        predecessor: str | None = None,
        command_id: UUID | None = None,
    ) -> UUID:
        """Propose; the answer's result carries ``proposal_id``.

        Beside it a ``code`` and a ``warning``, if it could not be executed as things are now.
        """
        given = {
            "type": type,
            "title": title,
            "description": description,
            "payload": payload,
            "reason": reason,
            "voting_hours": voting_hours,
            "electorate": electorate,
            "predecessor": predecessor,
        }
        present = {key: value for key, value in given.items() if value is not None}
        return self.command("proposals.create", proposer, present, command_id=command_id)

    def activate(self, proposal_id: str, *, actor: str) -> UUID:
        """Open the voting on a draft."""
        return self.command("proposals.activate", actor, {"proposal_id": proposal_id})

    def cancel(self, proposal_id: str, *, actor: str, reason: str) -> UUID:
        """End a proposal before it is executed."""
        payload = {"proposal_id": proposal_id, "reason": reason}
        return self.command("proposals.cancel", actor, payload)

    def review(self, proposal_id: str, *, actor: str, approves: bool, comment: str) -> UUID:
        """Approve or reject the code of an approved proposal; a reviewer's last word counts."""
        payload = {"proposal_id": proposal_id, "approves": approves, "comment": comment}
        return self.command("enforcement.review", actor, payload)

    def sign_off(self, proposal_id: str, *, actor: str) -> UUID:
        """Agree to the implementation, as one of those who voted for it."""
        return self.command("enforcement.sign_off", actor, {"proposal_id": proposal_id})

    def retry(self, proposal_id: str, *, actor: str, reason: str) -> UUID:
        """Queue a failed proposal again; neither eta nor expiry move."""
        payload = {"proposal_id": proposal_id, "reason": reason}
        return self.command("enforcement.retry", actor, payload)

    def rollback(
        self, proposal_id: str, *, proposer: str, title: str, description: str, reason: str = ""
    ) -> UUID:
        """Propose to put back everything that an executed proposal changed."""
        return self.create_proposal(
            proposer=proposer,
            type="rollback",
            title=title,
            description=description,
            payload={"proposal": proposal_id},
            reason=reason,
        )

    def delegate(
        self,
        delegator: str,
        delegate: str,
        *,
        scope: str = "*",
        expires_at: datetime | None = None,
    ) -> UUID:
        """Let weight follow ``delegate``, for one type of proposal or for all (``*``)."""
        payload: dict[str, Any] = {"delegate": delegate, "scope": str(scope)}
        if expires_at is not None:
            payload["expires_at"] = rfc3339(expires_at)
        return self.command("members.delegate", delegator, payload)

    def revoke_delegation(self, delegator: str, *, scope: str = "*") -> UUID:
        """End a delegation."""
        return self.command("members.revoke_delegation", delegator, {"scope": str(scope)})

    # Answers

    def answer(self, command_id: UUID) -> Answer:
        """The answer as far as it is known. ``COMMAND_UNKNOWN`` if it was never recorded."""
        answers = self._answers([command_id])
        if command_id not in answers:
            raise Refused("COMMAND_UNKNOWN", f"{self.issuer!r} has sent no command {command_id}")
        return answers[command_id]

    def wait(self, command_id: UUID, timeout: float = 30.0) -> Answer:
        """The answer, once there is one. ``Unavailable`` after ``timeout`` seconds without."""
        return self.wait_many([command_id], timeout)[0]

    def wait_many(self, command_ids: Sequence[UUID], timeout: float = 30.0) -> list[Answer]:
        """The answers in order, once all are there."""
        deadline = time.monotonic() + timeout
        answered: dict[UUID, Answer] = {}
        pause = POLL_LEAST
        while True:
            waiting = [id_ for id_ in command_ids if id_ not in answered]
            found = self._answers(waiting)
            answered |= {id_: a for id_, a in found.items() if a.state != "pending"}
            if all(id_ in answered for id_ in command_ids):
                return [answered[id_] for id_ in command_ids]
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"no answer within {timeout:g} s to {len(waiting)} commands; they are kept, "
                    "ask again, and look at `forge jobs list` if it lasts"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, POLL_MOST)

    # What is not simply allowed

    @property
    def leases(self) -> Leases:
        """Also says why, and until when. ``Misconfigured`` without the counters' address."""
        with self._asking:
            if self._leases is None:
                self._leases = Leases(self._settings)
            return self._leases

    def is_blocked(self, address: str) -> bool:
        """Whether requests from there are refused. ``Refused`` ADDRESS_INVALID."""
        return self.leases.is_blocked(address)

    def may_invoke(self, overlay: str) -> bool:
        """Whether this one call may go ahead: ask for each. See ``return_canary``."""
        return self.leases.may_invoke(overlay)

    def return_canary(self, overlay: str) -> None:
        """A call that ``may_invoke`` let through was never made."""
        self.leases.return_canary(overlay)

    def may_act(self, member: str) -> bool:
        """Whether the member is not restricted."""
        return self.leases.may_act(member)

    # Receipts

    def receipt(self, command_id: UUID) -> Receipt:
        """A signed promise for one accepted ballot or recorded command of this issuer."""
        return self.receipts([command_id])[0]

    def receipts(self, command_ids: Sequence[UUID]) -> list[Receipt]:
        """A receipt each, in order: entry and promise; ``forge ledger prove`` adds the proof.

        A ballot's entry says how it was cast; a command's, that it was received. Asking again
        gives the same receipts. ``COMMAND_UNKNOWN`` for what was not accepted; ``Misconfigured``
        without a promise key.
        """
        key = self._promise_key
        if key is None:
            raise Misconfigured("this client has no promise_key, so it cannot give receipts")
        accepted = accepted_entries(self._patiently, self.issuer, command_ids)
        missing = [id_ for id_ in command_ids if id_ not in accepted]
        if missing:
            raise Refused("COMMAND_UNKNOWN", f"{self.issuer!r} has had no {missing[0]} accepted")
        return [
            promise(entry, key, command=f"{self.issuer}/{id_}", accepted_at=accepted_at)
            for id_ in command_ids
            for entry, accepted_at in (accepted[id_],)
        ]

    def setting(self, key: str) -> Any:
        """The present value of a registered key. ``UNKNOWN_CAPABILITY`` names near matches."""
        value = self._patiently(lambda session: session.execute(_SETTING, {"key": key}).scalar())
        return CATALOGUE.get(key).default if value is None else value

    # How it is done

    def _accept(self, ballots: Sequence[Ballot]) -> list[BallotAnswer]:
        answers = [_refusal(ballot) for ballot in ballots]
        good = [b for b, refused in zip(ballots, answers, strict=True) if refused is None]
        rows = [
            {
                "command_id": str(ballot.command_id),
                "proposal_id": ballot.proposal_id,
                "member_id": ballot.member_id,
                "choice": ballot.choice,
            }
            for ballot in good
        ]
        found = iter(
            self._patiently(
                lambda session: run(session, _ACCEPT, issuer=self.issuer, rows=as_json(rows))
            )
            if rows
            else ()
        )
        self._waker.wake(["votes.count"] if rows else [])
        return [
            _answer(ballot, next(found)) if refused is None else refused
            for ballot, refused in zip(ballots, answers, strict=True)
        ]

    def _record(self, rows: Sequence[Mapping[str, Any]]) -> list[Row[Any]]:
        found = self._patiently(
            lambda session: run(session, _SUBMIT, issuer=self.issuer, rows=as_json(rows))
        )
        self._waker.wake(sorted({row["kind"] for row in rows}))
        return list(found)

    def _answers(self, ids: Sequence[UUID]) -> dict[UUID, Answer]:
        wanted = [str(id_) for id_ in ids]
        rows = self._patiently(
            lambda session: run(session, _ANSWERS, issuer=self.issuer, ids=wanted)
        )
        return {
            row.command_id: Answer(
                row.command_id, row.state, row.result or {}, row.code, row.message
            )
            for row in rows
        }

    def _patiently(self, ask: Callable[[Session], T]) -> T:
        """Ask in a transaction of its own; again while the database is away, up to patience."""
        deadline = time.monotonic() + self._patience
        pause = 0.1
        while True:
            try:
                with transaction(self._engine) as session:
                    return ask(session)
            except DBAPIError as error:
                if not is_retryable(error) and not isinstance(error, OperationalError):
                    raise
                if time.monotonic() + pause > deadline:
                    raise Unavailable(
                        f"the database did not answer within {self._patience:g} s; is it running?"
                    ) from error
            time.sleep(pause)
            pause = min(pause * 2, 1.0)


def _refusal(ballot: Ballot) -> BallotAnswer | None:
    """What can be refused without the database, one ballot at a time."""
    try:
        require_id("proposal_id", ballot.proposal_id)
        require_id("member_id", ballot.member_id)
        _require_choice(ballot.choice)
    except Refused as refusal:
        return BallotAnswer(
            ballot.command_id, None, None, refusal.code, refusal.message, duplicate=False
        )
    return None


def _require_choice(choice: object) -> None:
    if choice not in CHOICES:
        raise Refused("CHOICE_INVALID", f"a choice is {', '.join(CHOICES)}")


def _answer(ballot: Ballot, row: Row[Any]) -> BallotAnswer:
    return BallotAnswer(
        ballot.command_id, row.ballot_id, row.accepted_at, row.code, row.message, row.duplicate
    )


def _storable(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What PostgreSQL can hold as JSON.

    Refused: ``PAYLOAD_NOT_JSON`` (NaN and infinities too), ``TEXT_NUL``, ``TEXT_SURROGATE``.
    """
    try:
        shown = json.dumps(payload, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused("PAYLOAD_NOT_JSON", f"the payload is not JSON: {error}") from error
    if _NUL.search(shown):
        raise Refused("TEXT_NUL", "the payload contains a NUL character, which cannot be stored")
    try:
        shown.encode()
    except UnicodeEncodeError as error:
        raise Refused("TEXT_SURROGATE", "the payload contains a lone surrogate") from error
    return payload
