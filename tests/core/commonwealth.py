"""Enforcement in the plainest words: dictionaries, loops and whole hours, to compare a house with.

A deadline is over in the hour in which it is reached. Every refusal is named by its code; None
means that it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from tests.core.plain import DEFAULTS, SCORES, TRACKS, Count, Graph, Who, count, stuck

PEOPLE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cora": ("CORE", ("admin",)),
    "colin": ("CORE", ("guardian",)),
    "gus": ("TRUSTED", ("guardian", "reviewer")),
    "otto": ("TRUSTED", ("operator",)),
    "rita": ("TRUSTED", ("reviewer",)),
    "remy": ("TRUSTED", ("reviewer",)),
    "rhea": ("TRUSTED", ("reviewer",)),
    "rob": ("TRUSTED", ("reviewer",)),
    "rose": ("TRUSTED", ("reviewer",)),
    "stan": ("STANDARD", ()),
    "sam": ("SANDBOX", ()),
}
"""Weights 5, 5, seven times 3, 1 and 0.5: nobody holds more than a fifth when most are for."""

REVIEWERS = {name for name, (_, roles) in PEOPLE.items() if "reviewer" in roles}
VALUES: Mapping[str, Any] = {
    **DEFAULTS,
    "rate_limit.CORE": 10_000,
    "rate_limit.TRUSTED": 2_000,
    "valve": 0,
    "difficulty": 4,
    "feature.exchange": True,
}
JAM = 13  # a valve that is turned to this raises
LIVE = ("draft", "active", "approved", "queued")


class No(Exception):
    """What cannot be carried out, by its code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Window:
    """A time without executions, from one hour until before another."""

    kind: str
    since: int
    until: int


@dataclass
class Effect:
    """One change that an action made; ``writer`` is who had set the value before."""

    proposal: str
    index: int
    target: str
    before: Any
    after: Any
    writer: str | None = None
    undone: bool = False


@dataclass
class State:
    """Everything that executions change, all of it or nothing."""

    levels: dict[str, str]
    values: dict[str, Any] = field(default_factory=lambda: dict(VALUES))
    writers: dict[str, str] = field(default_factory=dict)
    policies: set[str] = field(default_factory=set)
    windows: dict[str, Window] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    outbox: list[tuple[str, int, str]] = field(default_factory=list)

    def pause(self, now: int) -> Window | None:
        """The pause in force that ends last."""
        in_force = [
            window
            for window in self.windows.values()
            if window.kind == "pause" and window.since <= now < window.until
        ]
        return max(in_force, key=lambda window: window.until, default=None)

    def resume(self, now: int) -> None:
        for window in self.windows.values():
            if window.kind == "pause" and window.until > now:
                window.until = now

    def latest(self, target: str) -> Effect:
        """The last change of a target that was not undone."""
        return [one for one in self.effects if one.target == target and not one.undone][-1]


@dataclass
class Proposal:
    """Times are hours. ``terms`` are frozen at opening, ``broken`` is the glass in its way."""

    type: str
    actions: Sequence[Mapping[str, Any]]
    proposer: str
    hours: int
    created: int
    after: str | None = None
    status: str = "draft"
    lapses: int | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)
    closes: int | None = None
    weights: Mapping[str, Fraction] = field(default_factory=dict)
    roll: Mapping[str, Fraction] = field(default_factory=dict)
    following: Mapping[Who, Who] = field(default_factory=dict)
    cast: dict[str, str] = field(default_factory=dict)
    approved: bool = False
    yes: set[str] = field(default_factory=set)
    reviews: dict[str, tuple[bool, Fraction]] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    eta: int | None = None
    expires: int | None = None
    broken: bool = False
    failure: str | None = None


@dataclass
class Joint:
    """What takes two guardians: the level QUARANTINE for a member, or broken glass."""

    kind: str
    subject: str
    by: str
    lapses: int
    status: str = "proposed"


@dataclass
class Commonwealth:
    """What the machine can do to a house, and what the house has to answer."""

    now: int = 0
    state: State = field(
        default_factory=lambda: State({name: level for name, (level, _) in PEOPLE.items()})
    )
    graph: Graph = field(default_factory=Graph)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    joints: dict[str, Joint] = field(default_factory=dict)
    attempts: list[tuple[str, str]] = field(default_factory=list)
    """Executions that were refused, with their codes."""

    # Members

    def unable(self, member: str) -> str | None:
        return "MEMBER_QUARANTINED" if self.state.levels[member] == "QUARANTINE" else None

    def distrusted(self, member: str, proposal: Proposal) -> str | None:
        """Why a member may not propose this."""
        type_ = self.governing(proposal).type
        needed = "CORE" if type_ in ("governance_rule", "emergency") else "TRUSTED"
        enough = SCORES[self.state.levels[member]] >= SCORES[needed]
        return self.unable(member) or (None if enough else "TRUST_TOO_LOW")

    def without(self, member: str, role: str) -> str | None:
        """Why a member lacks the power of a role."""
        return self.unable(member) or (None if role in PEOPLE[member][1] else "POWER_MISSING")

    def delegate(self, delegator: str, to: str, scope: str, until: int | None) -> str | None:
        if delegator == to:
            return "DELEGATION_TO_SELF"
        if unable := self.unable(delegator) or self.unable(to):
            return unable
        accepted = self.graph.set(delegator, scope, to, until, now=self.now)
        return None if accepted else "DELEGATION_CYCLE"

    # From the draft to the decision

    def governing(self, proposal: Proposal) -> Proposal:
        """Whose trust and track count: a rollback's are those of what it undoes."""
        if proposal.type != "rollback":
            return proposal
        return self.proposals[proposal.actions[0]["proposal"]]

    def track(self, proposal: Proposal) -> str:
        governing = self.governing(proposal)
        if governing.type == "emergency":
            return "emergency"
        strict = governing.type in ("feature_activation", "governance_rule")
        hard = any(action.get("key") == "difficulty" for action in governing.actions)
        return "protected" if strict or hard else "routine"

    def terms_now(self, proposal: Proposal) -> dict[str, Any]:
        track = self.track(proposal)
        names = [*TRACKS["protected"]]
        terms = {name: self.state.values.get(f"track.{track}.{name}") for name in names}
        longer = terms.pop("timelock_parameter_hours")
        if longer is not None and self.governing(proposal).type != "feature_activation":
            terms["timelock_hours"] = longer
        if proposal.type == "rollback":
            terms["timelock_hours"] = min(72, terms["timelock_hours"])
        return {**terms, "track": track, "voting_hours": proposal.hours}

    def draft(self, proposal: Proposal) -> str | None:
        """Why this draft is refused; completed with the present values when it is not."""
        if proposal.type == "rollback":
            undoable = self.undoable(proposal.actions[0]["proposal"])
            if undoable is not None:
                return undoable
        if problem := self.distrusted(proposal.proposer, proposal):
            return problem
        for action in proposal.actions:
            if "key" in action and action.get("old_value") is None:
                action["old_value"] = self.state.values[action["key"]]
                if action["old_value"] == action["new_value"]:
                    return "NO_CHANGE"
        proposal.lapses = self.now + self.terms_now(proposal)["draft_lifetime_hours"]
        return "OWN_RAISE" if self.problem("", proposal) == "OWN_RAISE" else None

    def problem(self, id_: str, proposal: Proposal) -> str | None:
        """Why it could not be carried out now."""
        try:
            self.outcome(id_, proposal)
        except No as no:
            return no.code
        return None

    def activate(self, id_: str, actor: str) -> str | None:
        proposal = self.proposals[id_]
        if proposal.type == "rollback" and (
            undoable := self.undoable(proposal.actions[0]["proposal"])
        ):
            return undoable
        if proposal.status != "draft":
            return "PROPOSAL_STATUS"
        if self.now >= proposal.lapses:
            return "DRAFT_LAPSED"
        if unable := self.unable(actor):
            return unable
        if actor != proposal.proposer and "admin" not in PEOPLE[actor][1]:
            return "POWER_MISSING"
        if problem := self.distrusted(proposal.proposer, proposal):
            return problem
        proposal.status, proposal.lapses = "active", None
        proposal.terms = self.terms_now(proposal)
        proposal.closes = self.now + proposal.hours
        proposal.weights = {
            level: Fraction(self.state.values[f"trust.weight.{level}"]) for level in SCORES
        }
        proposal.roll = {
            member: proposal.weights[level]
            for member, level in self.state.levels.items()
            if level != "QUARANTINE"
        }
        proposal.following = self.graph.frozen(proposal.type, self.now)
        return None

    def vote(self, id_: str, member: str, choice: str) -> str | None:
        proposal = self.proposals[id_]
        if proposal.status != "active":
            return "PROPOSAL_NOT_ACTIVE"
        if self.now >= proposal.closes:
            return "VOTING_CLOSED"
        if unable := self.unable(member):
            return unable
        if member not in proposal.roll:
            return "VOTER_NOT_IN_ROLL"
        proposal.cast[member] = choice
        return None

    def over(self) -> list[str]:
        """Votings to close."""
        return [
            id_
            for id_, proposal in self.proposals.items()
            if proposal.status == "active" and self.now >= proposal.closes
        ]

    def close(self, id_: str) -> Count:
        proposal = self.proposals[id_]
        aside: set[Who] = {who for who, at in self.state.levels.items() if at == "QUARANTINE"}
        found = count(proposal.roll, proposal.following, proposal.cast, aside)
        eligible = sum(proposal.roll.values(), Fraction(0))
        proposal.approved = found.approves(eligible, proposal.terms)
        proposal.status = "approved" if proposal.approved else "rejected"
        proposal.yes = {who for who, choice in proposal.cast.items() if choice == "for"} - aside
        if proposal.approved and self.missing(proposal) is None:
            self.queue(proposal)
        elif proposal.approved:
            proposal.lapses = self.now + proposal.terms["gate_lifetime_hours"]
        return found

    # Gates and timelock

    def missing(self, proposal: Proposal) -> str | None:
        """The gate that is not complete, first one first."""
        terms = proposal.terms
        if terms["reviewers"] is not None:
            weight = sum(weight for _, weight in proposal.reviews.values())
            approving = sum(weight for approves, weight in proposal.reviews.values() if approves)
            if len(proposal.reviews) < terms["reviewers"]:
                return "INSUFFICIENT_REVIEWERS"
            if approving < Fraction(terms["review_approval"]) * weight:
                return "CODE_REVIEW_REJECTED"
        if terms["sign_off"] is not None:
            needed = max(1, ceil(Fraction(terms["sign_off"]) * len(proposal.yes)))
            if len(proposal.signed) < needed:
                return "IMPLEMENTATION_NOT_APPROVED"
        return None

    def queue(self, proposal: Proposal) -> None:
        proposal.status, proposal.lapses = "queued", None
        proposal.eta = self.now + proposal.terms["timelock_hours"]
        proposal.expires = proposal.eta + proposal.terms["grace_hours"]

    def at_the_gates(self, proposal: Proposal, member: str) -> str | None:
        """Why neither review nor sign-off is heard."""
        if unable := self.unable(member):
            return unable
        if proposal.status != "approved":
            return "PROPOSAL_STATUS"
        return "EXPIRED" if self.now >= proposal.lapses else None

    def able_reviewer(self, member: str) -> bool:
        trusted = SCORES[self.state.levels[member]] >= SCORES["TRUSTED"]
        return member in REVIEWERS and trusted

    def review(self, id_: str, member: str, *, approves: bool) -> str | None:
        proposal = self.proposals[id_]
        if refused := self.at_the_gates(proposal, member):
            return refused
        if member not in REVIEWERS:
            return "POWER_MISSING"
        level = self.state.levels[member]
        if SCORES[level] < SCORES["TRUSTED"]:
            return "TRUST_TOO_LOW"
        if member == proposal.proposer:
            return "OWN_PROPOSAL"
        proposal.reviews[member] = (approves, proposal.weights[level])
        if self.missing(proposal) is None:
            self.queue(proposal)
        return None

    def sign_off(self, id_: str, member: str) -> str | None:
        proposal = self.proposals[id_]
        if refused := self.at_the_gates(proposal, member):
            return refused
        if member not in proposal.yes:
            return "NOT_A_YES_VOTER"
        if member in proposal.signed:
            return "SIGNED_OFF_ALREADY"
        proposal.signed.add(member)
        if self.missing(proposal) is None:
            self.queue(proposal)
        return None

    def cancel(self, id_: str, actor: str) -> str | None:
        proposal = self.proposals[id_]
        if unable := self.unable(actor):
            return unable
        if proposal.status not in (*LIVE, "failed"):
            return "PROPOSAL_STATUS"
        if "guardian" not in PEOPLE[actor][1]:
            if actor != proposal.proposer:
                return "POWER_MISSING"
            voting = proposal.status == "active" and self.now < proposal.closes
            if proposal.status != "draft" and not voting:
                return "CANCEL_TOO_LATE"
        proposal.status = "cancelled"
        return None

    # Time

    def held(self, since: int) -> int:
        """Hours until now in which some window stopped executions."""
        return sum(
            any(window.since <= hour < window.until for window in self.state.windows.values())
            for hour in range(since, self.now)
        )

    def too_late(self, proposal: Proposal) -> bool:
        """Whether the grace of what was queued is over; it does not run in windows."""
        return self.now >= proposal.expires and self.now >= proposal.expires + self.held(
            proposal.eta
        )

    def lapsed(self) -> list[str]:
        """Proposals to expire."""
        return [
            id_
            for id_, proposal in self.proposals.items()
            if (proposal.status in ("draft", "approved") and self.now >= proposal.lapses)
            or (proposal.status == "queued" and self.too_late(proposal))
        ]

    def elapsed(self) -> list[str]:
        """Proposals to execute."""
        return [
            id_
            for id_, proposal in self.proposals.items()
            if proposal.status == "queued"
            and not self.too_late(proposal)
            and self.forbids(proposal) is None
        ]

    def wakes(self, proposal: Proposal) -> int:
        """The hour in which time alone goes on with a live proposal."""
        hour = {
            "draft": proposal.lapses,
            "active": proposal.closes,
            "approved": proposal.lapses,
            "queued": proposal.eta,
        }[proposal.status]
        assert hour is not None
        return hour

    # Execution

    def stopped(self, proposal: Proposal) -> bool:
        spared = proposal.type in ("emergency", "rollback")
        return not proposal.broken and any(
            window.since <= self.now < window.until and not (window.kind == "pause" and spared)
            for window in self.state.windows.values()
        )

    def forbids(self, proposal: Proposal) -> str | None:
        """What stands between a proposal and its execution."""
        ended = {
            "executed": "ALREADY_EXECUTED",
            "rolled_back": "ALREADY_EXECUTED",
            "expired": "EXPIRED",
            "cancelled": "CANCELLED",
            "failed": "EXECUTION_FAILED",
        }
        if proposal.status in ended:
            return ended[proposal.status]
        if not proposal.approved:
            return "VOTING_NOT_APPROVED"
        if missing := self.missing(proposal):
            return missing
        if self.now < proposal.eta:
            return "TIMELOCK_ACTIVE"
        if proposal.after and self.proposals[proposal.after].status != "executed":
            return "PREDECESSOR_NOT_EXECUTED"
        return "EXECUTION_HELD" if self.stopped(proposal) else None

    def execute(self, id_: str, *, crashes: bool = False) -> tuple[str, str | None]:
        """What becomes of the job, and why. ``crashes``: the handler fails when all is done."""
        proposal = self.proposals[id_]
        if proposal.status == "queued" and self.too_late(proposal):
            proposal.status = "expired"
            return "failed", "EXPIRED"
        if refused := self.forbids(proposal):
            self.attempts.append((id_, refused))
            return "refused", refused
        try:
            state = self.outcome(id_, proposal)
        except No as no:
            return self.fail(id_, no.code)
        if crashes or self.jams(proposal):
            return self.fail(id_, "HANDLER_FAILED")
        self.state = state
        proposal.status = "executed"
        if proposal.type == "rollback":
            self.governing(proposal).status = "rolled_back"
        return "done", None

    def fail(self, id_: str, code: str) -> tuple[str, str]:
        proposal = self.proposals[id_]
        if proposal.status == "queued":
            proposal.status, proposal.failure = "failed", code
        return "failed", code

    def jams(self, proposal: Proposal) -> bool:
        return any(
            action.get("key") == "valve" and action["new_value"] == JAM
            for action in proposal.actions
        )

    def retry(self, id_: str, actor: str) -> str | None:
        proposal = self.proposals[id_]
        if missing := self.without(actor, "operator"):
            return missing
        if proposal.status != "failed":
            return "PROPOSAL_STATUS"
        if self.too_late(proposal):
            return "EXPIRED"
        proposal.status, proposal.failure = "queued", None
        return None

    def outcome(self, id_: str, proposal: Proposal) -> State:
        """The state as it would be after it. Raises ``No`` at what cannot be done."""
        state = deepcopy(self.state)
        for index, action in enumerate(proposal.actions):
            if proposal.type == "rollback":
                self.undo(state, id_, action["proposal"])
            else:
                self.do(state, id_, index, proposal, action)
        if self.governing(proposal).type in ("trust_adjustment", "governance_rule") and any(
            self.stuck(track, state) and not self.stuck(track, self.state) for track in TRACKS
        ):
            raise No("SELF_BRICK")
        return state

    def stuck(self, track: str, state: State) -> bool:
        return stuck(track, state.levels, REVIEWERS, state.values)

    def do(
        self, state: State, id_: str, index: int, proposal: Proposal, action: Mapping[str, Any]
    ) -> None:
        """One action."""

        def effect(target: str, before: object, after: object, writer: str | None = None) -> None:
            state.effects.append(Effect(id_, index, target, before, after, writer))

        if proposal.type == "policy":
            state.policies.add(id_)
            effect(f"policy:{id_}:{index}", None, True)
        elif proposal.type == "trust_adjustment":
            member, old, new = action["member"], action["current_trust"], action["new_trust"]
            if member == proposal.proposer and SCORES[new] > SCORES[old]:
                raise No("OWN_RAISE")
            if state.levels[member] != old:
                raise No("STALE_VALUE")
            state.levels[member] = new
            effect(f"member:{member}:level", old, new)
        elif action.get("action") == "pause":
            until = self.now + action["hours"]
            effect("execution", state.pause(self.now), until)
            state.windows[f"w-{id_}-{index}"] = Window("pause", self.now, until)
        elif action.get("action") == "resume":
            pause = state.pause(self.now)
            if pause is None:
                raise No("NO_CHANGE")
            effect("execution", deepcopy(pause), None)
            state.resume(self.now)
        else:
            key = action.get("key") or f"feature.{action['feature']}"
            new, now = action.get("new_value", action.get("enabled")), state.values[key]
            if action.get("old_value", now) != now:
                raise No("STALE_VALUE")
            if proposal.type == "emergency" and 2 * abs(new - now) > now:
                raise No("ADJUSTMENT_TOO_LARGE")
            if new == now:
                raise No("NO_CHANGE")
            effect(f"setting:{key}", now, new, state.writers.get(key))
            state.values[key], state.writers[key] = new, id_
            if key == "valve":
                state.outbox.append((id_, index, "apply"))

    def undoable(self, id_: str) -> str | None:
        undone = self.proposals[id_]
        if undone.type == "rollback":
            return "ROLLBACK_OF_ROLLBACK"
        if undone.status == "rolled_back":
            return "ALREADY_ROLLED_BACK"
        return None if undone.status == "executed" else "NOT_EXECUTED"

    def undo(self, state: State, by: str, id_: str) -> None:
        """Everything that one proposal did, last first, while it is what stands there now."""
        if undoable := self.undoable(id_):
            raise No(undoable)
        for effect in reversed([one for one in state.effects if one.proposal == id_]):
            if state.latest(effect.target) is not effect:
                raise No("STALE_VALUE")
            kind, _, name = effect.target.partition(":")
            if kind == "policy":
                state.policies.remove(id_)
            elif kind == "member":
                member = name.removesuffix(":level")
                if state.levels[member] != effect.after:
                    raise No("STALE_VALUE")
                state.levels[member] = effect.before
            elif kind == "execution":
                self.undo_emergency(state, by, effect)
            else:
                if state.values[name] != effect.after:
                    raise No("STALE_VALUE")
                state.values[name] = effect.before
                state.writers.pop(name)
                if effect.writer is not None:
                    state.writers[name] = effect.writer
                if name == "valve":
                    state.outbox.append((id_, effect.index, "undo"))
            effect.undone = True

    def undo_emergency(self, state: State, by: str, effect: Effect) -> None:
        """Undoing a pause resumes; undoing a resumption pauses for what would be left of it."""
        if effect.after is not None:
            state.resume(self.now)
        elif effect.before.until > self.now:
            state.windows[f"w-{by}-0"] = Window("pause", self.now, effect.before.until)

    # Windows and what takes two people

    def freeze(self, actor: str, hours: int) -> str | None:
        """Why a freeze of so many hours is refused."""
        return self.without(actor, "guardian") or ("WINDOW_INVALID" if hours > 336 else None)

    def thaw(self, actor: str, window: str) -> str | None:
        if missing := self.without(actor, "guardian"):
            return missing
        found = self.state.windows[window]
        if found.kind != "freeze" or found.until <= self.now:
            return "WINDOW_UNKNOWN"
        found.until = max(found.since, self.now)
        return None

    def powerless(self, actor: str, subject: str) -> str | None:
        """Why a member is not one of two."""
        own = "OWN_RAISE" if actor == subject else None
        return self.without(actor, "guardian") or own

    def join(self, actor: str, kind: str, subject: str) -> str | None:
        """Why the first of two is refused."""
        if powerless := self.powerless(actor, subject):
            return powerless
        if kind == "quarantine" and self.state.levels[subject] == "QUARANTINE":
            return "NO_CHANGE"
        under_way = any(
            (joint.kind, joint.subject, joint.status) == (kind, subject, "proposed")
            for joint in self.joints.values()
        )
        return "JOINT_OPEN" if under_way else None

    def confirm(self, id_: str, actor: str) -> str | None:
        joint = self.joints[id_]
        if joint.status != "proposed":
            return "JOINT_STATUS"
        if powerless := self.powerless(actor, joint.subject):
            return powerless
        if actor == joint.by:
            return "SECOND_PERSON"
        if self.now >= joint.lapses:
            return "JOINT_LAPSED"
        if joint.kind == "break_glass":
            if self.proposals[joint.subject].status != "queued":
                return "PROPOSAL_STATUS"
            self.proposals[joint.subject].broken = True
        elif self.state.levels[joint.subject] == "QUARANTINE":
            return "NO_CHANGE"
        else:
            state = deepcopy(self.state)
            state.levels[joint.subject] = "QUARANTINE"
            if any(
                self.stuck(track, state) and not self.stuck(track, self.state) for track in TRACKS
            ):
                return "SELF_BRICK"
            self.state = state
        joint.status = "done"
        return None

    def call_off(self, id_: str, actor: str) -> str | None:
        if self.joints[id_].status != "proposed":
            return "JOINT_STATUS"
        if missing := self.without(actor, "guardian"):
            return missing
        self.joints[id_].status = "cancelled"
        return None

    def settle(self) -> None:
        for joint in self.joints.values():
            if joint.status == "proposed" and self.now >= joint.lapses:
                joint.status = "lapsed"
