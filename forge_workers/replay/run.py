"""Driving a plan through the pipeline, by commands and ballots alone, as any service would.

Command ids follow from the dataset and the row, so a replay that is repeated, or goes on after an
interruption, sends the same commands again and each takes effect once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid5

from forge_core.clock import rfc3339
from forge_core.members.levels import TrustLevel
from forge_workers.client import MOST_AT_ONCE, Ballot, Command, GovernanceClient
from forge_workers.replay.observe import Observer, Result
from forge_workers.replay.patience import Patience
from forge_workers.replay.plan import Close, Open, Plan, PlannedProposal, Send
from forge_workers.replay.sender import Sender, Watch, parts
from forge_workers.replay.timeline import WEEK

ISSUER = "replay"
ROLL_PART = 1_000
PATIENCE_SECONDS = 600.0

_NAMESPACE = UUID("5f2c8d0e-7c55-4d6b-9a53-0d2f6f0c1b7e")
_JUST_PAST = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something the rules refused: a proposal or a ballot, by the row it came from."""

    table: str
    line: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.table}:{self.line}: {self.code}: {self.message}"


@dataclass
class Run:
    """What a replay did so far and, in the end, what came out (by source id)."""

    proposal_ids: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    ballots_sent: int = 0
    ballots_withheld: int = 0
    ballot_entries: int = 0
    ballot_entry_commands: int = 0
    duplicates_suppressed: int = 0
    seconds: float = 0.0


def replay(
    plan: Plan,
    client: GovernanceClient,
    observer: Observer,
    watch: Watch,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Run:
    """Carry out a plan and wait until everything is decided and executed.

    Raises `Unavailable` when nothing moves for ``patience_seconds``, and `Refused` when the
    members or rolls it needs are refused; single proposals and ballots are noted in the run.
    """
    return _Driver(plan, client, observer, watch, patience_seconds).carry_out()


class _Driver:
    def __init__(
        self,
        plan: Plan,
        client: GovernanceClient,
        observer: Observer,
        watch: Watch,
        patience_seconds: float,
    ) -> None:
        self._run = Run()
        self._plan = plan
        self._observer = observer
        self._watch = watch
        self._patience = Patience(patience_seconds, told=watch.trouble)
        self._sender = Sender(client, observer, watch, self._patience)
        self._closed: deque[list[str]] = deque()
        self._actor = self._patience.until_available(observer.administrator)

    def carry_out(self) -> Run:
        started = time.monotonic()
        self._watch.phase("admitting members")
        self._admit(self._plan.proposers, TrustLevel.TRUSTED)
        self._admit(self._plan.voters, TrustLevel.STANDARD)
        self._watch.phase("importing electorates")
        self._import_rolls()
        for step in self._plan.steps:
            match step:
                case Open(proposals):
                    self._watch.phase("opening proposals")
                    self._open(proposals)
                case Send(start, stop):
                    self._watch.phase("sending ballots")
                    self._send(start, stop)
                case Close(proposals):
                    self._close(proposals)
        self._await_closed(0)
        self._run.seconds = time.monotonic() - started
        self._read_results()
        return self._run

    def _admit(self, members: Sequence[str], level: TrustLevel) -> None:
        # Whoever is a member already stays as is: their level is not ours to change.
        for part in parts(members, ROLL_PART):
            unknown = self._patience.until_available(partial(self._observer.unknown_members, part))
            if unknown:
                admission = {
                    "members": [{"id": member, "level": level.value} for member in unknown],
                    "source": ISSUER,
                }
                self._sender.carry_all([Command("members.admit", self._actor, admission)])

    def _import_rolls(self) -> None:
        commands = []
        for electorate in self._plan.electorates:
            pieces = list(parts(list(electorate.roll.items()), ROLL_PART))
            for number, piece in enumerate(pieces, start=1):
                payload = {
                    "electorate": electorate.name,
                    "roll": [list(voter) for voter in piece],
                    "last": number == len(pieces),
                }
                identity = self._id("roll", f"{electorate.name}/{number}")
                commands.append(
                    Command("members.import_electorate", self._actor, payload, identity)
                )
        self._sender.carry_all(commands)

    def _open(self, proposals: Sequence[PlannedProposal]) -> None:
        created = self._sender.carry([self._creation(proposal) for proposal in proposals])
        drafts: dict[str, PlannedProposal] = {}
        for proposal, answer in zip(proposals, created, strict=True):
            if answer.state == "done":
                drafts[answer.result["proposal_id"]] = proposal
            else:
                self._refuse(proposal, answer.code, answer.message)
        activated = self._sender.carry(
            [
                Command(
                    "proposals.activate",
                    proposal.proposer,
                    {"proposal_id": identity},
                    self._id("activate", proposal.source.line),
                )
                for identity, proposal in drafts.items()
            ]
        )
        for (identity, proposal), answer in zip(drafts.items(), activated, strict=True):
            if answer.state == "done":
                self._run.proposal_ids[proposal.source.id] = identity
            else:
                self._refuse(proposal, answer.code, answer.message)

    def _creation(self, proposal: PlannedProposal) -> Command:
        payload: dict[str, object] = {
            "type": "policy",
            "title": proposal.title,
            "description": proposal.source.text,
            "reason": "",
            "payload": {},
            "voting_hours": proposal.place.voting_hours,
        }
        if proposal.electorate is not None:
            payload["electorate"] = proposal.electorate
        identity = self._id("create", proposal.source.line)
        return Command("proposals.create", proposal.proposer, payload, identity)

    def _refuse(self, proposal: PlannedProposal, code: str | None, message: str | None) -> None:
        refusal = Refusal("proposals", proposal.source.line, code or "FAILED", message or "")
        self._run.refusals.append(refusal)

    def _send(self, start: int, stop: int) -> None:
        for first in range(start, stop, MOST_AT_ONCE):
            rows = self._plan.votes[first : min(first + MOST_AT_ONCE, stop)]
            opened = [row for row in rows if row.proposal_id in self._run.proposal_ids]
            self._run.ballots_withheld += len(rows) - len(opened)
            if not opened:
                continue
            answers = self._sender.cast(
                [
                    Ballot(
                        proposal_id=self._run.proposal_ids[row.proposal_id],
                        member_id=row.voter,
                        choice=row.choice,
                        command_id=self._id("vote", row.line),
                    )
                    for row in opened
                ]
            )
            self._run.ballots_sent += len(answers)
            for row, answer in zip(opened, answers, strict=True):
                self._run.duplicates_suppressed += answer.duplicate
                if answer.refusal is not None:
                    refusal = Refusal("votes", row.line, answer.refusal, answer.message or "")
                    self._run.refusals.append(refusal)

    def _close(self, proposals: Sequence[PlannedProposal]) -> None:
        # What was approved a week ago is executed before the clock moves on, or it would expire.
        self._await_closed(WEEK // self._plan.slot_hours)
        ids = self._ids_of(proposals)
        self._closed.append(ids)
        now, deadline = self._patience.until_available(
            partial(self._observer.clock_and_last_deadline, ids)
        )
        if deadline is None or now > deadline:
            return
        to = {"to": rfc3339(deadline + _JUST_PAST)}
        self._sender.carry_all([Command("clock.advance", self._actor, to)])

    def _await_closed(self, most: int) -> None:
        """Wait until of the closings so far at most the last ``most`` are unfinished."""
        ids: list[str] = []
        while len(self._closed) > most:
            ids += self._closed.popleft()
        before = -1
        while left := self._patience.until_available(partial(self._observer.undecided, ids)):
            if left != before:
                self._patience.progress()
                before = left
            waiting_for = f"{left} proposals to be decided or executed"
            self._watch.phase(f"waiting for {waiting_for}")
            self._sender.read_depths()
            self._patience.wait(0.1, waiting_for)

    def _read_results(self) -> None:
        ids = self._run.proposal_ids
        results = self._patience.until_available(lambda: self._observer.results([*ids.values()]))
        self._run.results = {source: results[identity] for source, identity in ids.items()}
        entries, commands = self._patience.until_available(
            lambda: self._observer.ballot_entries([*ids.values()])
        )
        self._run.ballot_entries, self._run.ballot_entry_commands = entries, commands

    def _ids_of(self, proposals: Sequence[PlannedProposal]) -> list[str]:
        opened = self._run.proposal_ids
        return [opened[one.source.id] for one in proposals if one.source.id in opened]

    def _id(self, what: str, which: object) -> UUID:
        return uuid5(_NAMESPACE, f"{self._plan.digest}/{what}/{which}")
