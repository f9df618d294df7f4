"""Enforcement in the plainest words: dictionaries, loops and whole hours, to compare a house with.

A deadline is over in the hour in which it is reached. Every refusal is named by its code; None
means that it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
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


Moment = tuple[int, int]
"""An hour, and what orders the things that happen in it."""


def feature(action: Mapping[str, Any]) -> str:
    """The key of what is switched."""
    return f"feature.{action['feature']}"


def unless(holds: object, code: str) -> str | None:
    """The code, where something does not hold."""
    return None if holds else code


class No(Exception):
    """What cannot be carried out, by its code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Window:
    """A time without executions, from one moment until before another."""

    kind: str
    since: Moment
    until: Moment

    def holds(self, hour: int) -> bool:
        return self.since[0] <= hour < self.until[0]


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
        in_force = [w for w in self.windows.values() if w.kind == "pause" and w.holds(now)]
        return max(in_force, key=lambda window: window.until, default=None)

    def shorten(self, now: Moment, until: Moment) -> None:
        """End the pauses that last longer than ``until``."""
        for window in self.windows.values():
            if window.kind == "pause" and window.until[0] > now[0] and window.until > until:
                window.until = now

    def latest(self, target: str) -> Effect:
        """The last change of a target that was not undone."""
        return [one for one in self.effects if one.target == target and not one.undone][-1]


@dataclass
class Proposal:
    """Times are hours. ``terms`` are frozen at opening; ``broken`` is when its glass was."""

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
    broken: Moment = (-1, 0)
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
    attempts: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Executions that were refused: of what, why, in which status, by whom; each once."""
    tick: int = 0

    # Members

    def unable(self, member: str) -> str | None:
        return unless(self.state.levels[member] != "QUARANTINE", "MEMBER_QUARANTINED")

    def trusted(self, member: str, level: str) -> bool:
        return SCORES[self.state.levels[member]] >= SCORES[level]

    def distrusted(self, member: str, proposal: Proposal) -> str | None:
        """Why a member may not propose this."""
        strict = self.governing(proposal).type in ("governance_rule", "emergency")
        needed = "CORE" if strict else "TRUSTED"
        return self.unable(member) or unless(self.trusted(member, needed), "TRUST_TOO_LOW")

    def without(self, member: str, role: str) -> str | None:
        """Why a member lacks the power of a role."""
        return self.unable(member) or unless(role in PEOPLE[member][1], "POWER_MISSING")

    def delegate(self, delegator: str, to: str, scope: str, until: int | None) -> str | None:
        return (
            unless(delegator != to, "DELEGATION_TO_SELF")
            or self.unable(delegator)
            or self.unable(to)
            or unless(self.graph.set(delegator, scope, to, until, now=self.now), "DELEGATION_CYCLE")
        )

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
        refused = (
            self.nothing_to_undo(proposal)
            or self.distrusted(proposal.proposer, proposal)
            or self.complete(proposal)
        )
        if refused:
            return refused
        proposal.lapses = self.now + self.terms_now(proposal)["draft_lifetime_hours"]
        return unless(self.problem("", proposal) != "OWN_RAISE", "OWN_RAISE")

    def complete(self, proposal: Proposal) -> str | None:
        """What is to be changed is changed from what it is now."""
        for action in proposal.actions:
            if "feature" in action and self.state.values[feature(action)] == action["enabled"]:
                return "NO_CHANGE"
            if "key" in action and "old_value" not in action:
                action["old_value"] = self.state.values[action["key"]]
                if action["old_value"] == action["new_value"]:
                    return "NO_CHANGE"
        return None

    def nothing_to_undo(self, proposal: Proposal) -> str | None:
        rollback = proposal.type == "rollback"
        return self.undoable(proposal.actions[0]["proposal"]) if rollback else None

    def problem(self, id_: str, proposal: Proposal) -> str | None:
        """Why it could not be carried out now."""
        try:
            self.outcome(id_, proposal)
        except No as no:
            return no.code
        return None

    def activate(self, id_: str, actor: str) -> str | None:
        proposal = self.proposals[id_]
        own = actor == proposal.proposer
        refused = (
            self.nothing_to_undo(proposal)
            or unless(proposal.status == "draft", "PROPOSAL_STATUS")
            or unless(self.now < proposal.lapses, "DRAFT_LAPSED")
            or self.unable(actor)
            or unless(own or "admin" in PEOPLE[actor][1], "POWER_MISSING")
            or self.distrusted(proposal.proposer, proposal)
        )
        if refused:
            return refused
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
        refused = (
            unless(proposal.status == "active", "PROPOSAL_NOT_ACTIVE")
            or unless(self.now < proposal.closes, "VOTING_CLOSED")
            or self.unable(member)
            or unless(member in proposal.roll, "VOTER_NOT_IN_ROLL")
        )
        if refused:
            return refused
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
        """The gate that is open, first one first. Whoever may not pass it any more counts not."""
        terms = proposal.terms
        if terms["reviewers"] is not None:
            reviews = [one for who, one in proposal.reviews.items() if self.able_reviewer(who)]
            weight = sum(weight for _, weight in reviews)
            approving = sum(weight for approves, weight in reviews if approves)
            if len(reviews) < terms["reviewers"]:
                return "INSUFFICIENT_REVIEWERS"
            if approving < Fraction(terms["review_approval"]) * weight:
                return "CODE_REVIEW_REJECTED"
        if terms["sign_off"] is not None:
            yes = {who for who in proposal.yes if self.unable(who) is None}
            needed = max(1, ceil(Fraction(terms["sign_off"]) * len(yes)))
            if len(proposal.signed & yes) < needed:
                return "IMPLEMENTATION_NOT_APPROVED"
        return None

    def queue(self, proposal: Proposal) -> None:
        proposal.status, proposal.lapses = "queued", None
        proposal.eta = self.now + proposal.terms["timelock_hours"]
        proposal.expires = proposal.eta + proposal.terms["grace_hours"]

    def at_the_gates(self, proposal: Proposal, member: str) -> str | None:
        """Why neither review nor sign-off is heard."""
        return (
            self.unable(member)
            or unless(proposal.status == "approved", "PROPOSAL_STATUS")
            or unless(self.now < proposal.lapses, "EXPIRED")
        )

    def able_reviewer(self, member: str) -> bool:
        return member in REVIEWERS and self.trusted(member, "TRUSTED")

    def review(self, id_: str, member: str, *, approves: bool) -> str | None:
        proposal = self.proposals[id_]
        refused = (
            self.at_the_gates(proposal, member)
            or unless(member in REVIEWERS, "POWER_MISSING")
            or unless(self.able_reviewer(member), "TRUST_TOO_LOW")
            or unless(member != proposal.proposer, "OWN_PROPOSAL")
        )
        if refused:
            return refused
        weight = proposal.weights[self.state.levels[member]]
        proposal.reviews[member] = (approves, weight)
        self.pass_the_gates(proposal)
        return None

    def sign_off(self, id_: str, member: str) -> str | None:
        proposal = self.proposals[id_]
        refused = (
            self.at_the_gates(proposal, member)
            or unless(member in proposal.yes, "NOT_A_YES_VOTER")
            or unless(member not in proposal.signed, "SIGNED_OFF_ALREADY")
        )
        if refused:
            return refused
        proposal.signed.add(member)
        self.pass_the_gates(proposal)
        return None

    def pass_the_gates(self, proposal: Proposal) -> None:
        if self.missing(proposal) is None:
            self.queue(proposal)

    def cancel(self, id_: str, actor: str) -> str | None:
        proposal = self.proposals[id_]
        guards = "guardian" in PEOPLE[actor][1]
        open_ = proposal.status == "draft" or (
            proposal.status == "active" and self.now < proposal.closes
        )
        refused = (
            self.unable(actor)
            or unless(proposal.status in (*LIVE, "failed"), "PROPOSAL_STATUS")
            or unless(guards or actor == proposal.proposer, "POWER_MISSING")
            or unless(guards or open_, "CANCEL_TOO_LATE")
        )
        if refused is None:
            proposal.status = "cancelled"
        return refused

    # Time

    def held(self, since: int) -> int:
        """Hours until now in which some window stopped executions."""
        return sum(
            any(window.holds(hour) for window in self.state.windows.values())
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
        return any(
            window.holds(self.now)
            and not (window.kind == "pause" and spared)
            and proposal.broken < window.since
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
        if proposal.status == "approved":
            return self.missing(proposal) or "VOTING_NOT_APPROVED"
        if self.now < proposal.eta:
            return "TIMELOCK_ACTIVE"
        if proposal.after and self.proposals[proposal.after].status != "executed":
            return "PREDECESSOR_NOT_EXECUTED"
        return "EXECUTION_HELD" if self.stopped(proposal) else None

    def execute(self, id_: str, by: str, *, crashes: bool = False) -> tuple[str, str | None]:
        """What becomes of the job, and why. ``crashes``: the handler fails when all is done."""
        proposal = self.proposals[id_]
        if proposal.status == "queued" and self.too_late(proposal):
            proposal.status = "expired"
            return "failed", "EXPIRED"
        if refused := self.forbids(proposal):
            attempt = (id_, refused, proposal.status, by)
            waits = by == "system" and refused in ("EXECUTION_HELD", "PREDECESSOR_NOT_EXECUTED")
            self.attempts += [] if waits or attempt in self.attempts else [attempt]
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
        refused = (
            self.without(actor, "operator")
            or unless(proposal.status == "failed", "PROPOSAL_STATUS")
            or unless(not self.too_late(proposal), "EXPIRED")
        )
        if refused is None:
            proposal.status, proposal.failure = "queued", None
        return refused

    def outcome(self, id_: str, proposal: Proposal) -> State:
        """The state as it would be after it. Raises ``No`` at what cannot be done."""
        state = deepcopy(self.state)
        for index, action in enumerate(proposal.actions):
            if proposal.type == "rollback":
                self.undo(state, id_, action["proposal"])
            elif proposal.type == "policy":
                state.policies.add(id_)
                state.effects.append(Effect(id_, index, f"policy:{id_}:{index}", None, True))
            elif proposal.type == "trust_adjustment":
                self.move(state, Effect(id_, index, "", None, None), proposal.proposer, action)
            elif action.get("action") in ("pause", "resume"):
                self.pause_or_resume(state, Effect(id_, index, "execution", None, None), action)
            else:
                self.set(state, Effect(id_, index, "", None, None), action)
        if self.governing(proposal).type in ("trust_adjustment", "governance_rule"):
            self.refuse_to_brick(state)
        return state

    def refuse_to_brick(self, state: State) -> None:
        def dead(track: str, state: State) -> bool:
            return stuck(track, state.levels, REVIEWERS, state.values)

        if any(dead(track, state) and not dead(track, self.state) for track in TRACKS):
            raise No("SELF_BRICK")

    def move(self, state: State, effect: Effect, proposer: str, action: Mapping[str, Any]) -> None:
        member, old, new = action["member"], action["current_trust"], action["new_trust"]
        if member == proposer and SCORES[new] > SCORES[old]:
            raise No("OWN_RAISE")
        if state.levels[member] != old:
            raise No("STALE_VALUE")
        state.levels[member] = new
        target = f"member.level:{member}"
        state.effects.append(replace(effect, target=target, before=old, after=new))

    def pause_or_resume(self, state: State, effect: Effect, action: Mapping[str, Any]) -> None:
        pause = state.pause(self.now)
        before = deepcopy(pause)
        if action["action"] == "pause":
            window = self.window("pause", action["hours"])
            if pause is not None and pause.until >= window.until:
                raise No("NO_CHANGE")
            state.windows[f"w-{effect.proposal}-{effect.index}"] = window
            state.effects.append(replace(effect, before=before, after=window.until))
            return
        if pause is None:
            raise No("NO_CHANGE")
        now = self.moment()
        state.shorten(now, now)
        state.effects.append(replace(effect, before=before))

    def set(self, state: State, effect: Effect, action: Mapping[str, Any]) -> None:
        key = action.get("key") or feature(action)
        new, now = action.get("new_value", action.get("enabled")), state.values[key]
        # Whoever switches something expects it to be the other way.
        if action.get("old_value", not new) != now:
            raise No("STALE_VALUE")
        if "action" in action and 2 * abs(new - now) > now:
            raise No("ADJUSTMENT_TOO_LARGE")
        writer, target = state.writers.get(key), f"setting:{key}"
        state.effects.append(replace(effect, target=target, before=now, after=new, writer=writer))
        state.values[key], state.writers[key] = new, effect.proposal
        if key == "valve":
            state.outbox.append((effect.proposal, effect.index, "apply"))

    def undoable(self, id_: str) -> str | None:
        undone = self.proposals[id_]
        return (
            unless(undone.type != "rollback", "ROLLBACK_OF_ROLLBACK")
            or unless(undone.status != "rolled_back", "ALREADY_ROLLED_BACK")
            or unless(undone.status == "executed", "NOT_EXECUTED")
        )

    def undo(self, state: State, by: str, id_: str) -> None:
        """Everything that one proposal did, last first, while it is what stands there now."""
        if undoable := self.undoable(id_):
            raise No(undoable)
        for effect in reversed([one for one in state.effects if one.proposal == id_]):
            kind, _, name = effect.target.partition(":")
            now = {"setting": state.values, "member.level": state.levels}.get(kind)
            stale = now is not None and now[name] != effect.after
            if stale or state.latest(effect.target) is not effect:
                raise No("STALE_VALUE")
            if now is not None:
                now[name] = effect.before
            if kind == "policy":
                state.policies.remove(id_)
            elif kind == "execution":
                self.undo_emergency(state, by, effect)
            elif kind == "setting":
                state.writers.pop(name)
                state.writers |= {} if effect.writer is None else {name: effect.writer}
                state.outbox += [(id_, effect.index, "undo")] if name == "valve" else []
            effect.undone = True

    def undo_emergency(self, state: State, by: str, effect: Effect) -> None:
        """Paused as long as it was before, by the same pause where that is still there."""
        now = self.moment()
        until = now if effect.before is None else effect.before.until
        state.shorten(now, until)
        left = state.pause(self.now)
        if until[0] > self.now and (left is None or left.until < until):
            state.windows[f"w-{by}-0"] = Window("pause", now, until)

    def moment(self, later: int = 0) -> Moment:
        """Now, or in so many hours, after whatever has happened."""
        self.tick += 1
        return self.now + later, self.tick

    def window(self, kind: str, hours: int, later: int = 0) -> Window:
        """One that begins now or in some hours."""
        hour, tick = self.moment(later)
        return Window(kind, (hour, tick), (hour + hours, tick))

    # Windows and what takes two people

    def freeze(self, actor: str, hours: int) -> str | None:
        """Why a freeze of so many hours is refused."""
        return self.without(actor, "guardian") or unless(hours <= 336, "WINDOW_INVALID")

    def thaw(self, actor: str, window: str) -> str | None:
        found = self.state.windows[window]
        there = found.kind == "freeze" and found.until[0] > self.now
        refused = self.without(actor, "guardian") or unless(there, "WINDOW_UNKNOWN")
        if refused is None:
            found.until = max(found.since, self.moment())
        return refused

    def powerless(self, actor: str, subject: str) -> str | None:
        """Why a member is not one of two."""
        return self.without(actor, "guardian") or unless(actor != subject, "OWN_RAISE")

    def join(self, actor: str, kind: str, subject: str) -> str | None:
        """Why the first of two is refused."""
        there = kind == "quarantine" and self.state.levels[subject] == "QUARANTINE"
        under_way = any(
            (joint.kind, joint.subject, joint.status) == (kind, subject, "proposed")
            for joint in self.joints.values()
        )
        return (
            self.powerless(actor, subject)
            or unless(not there, "NO_CHANGE")
            or unless(not under_way, "JOINT_OPEN")
        )

    def confirm(self, id_: str, actor: str) -> str | None:
        joint = self.joints[id_]
        acts = self.break_glass if joint.kind == "break_glass" else self.quarantine
        refused = (
            unless(joint.status == "proposed", "JOINT_STATUS")
            or self.powerless(actor, joint.subject)
            or unless(actor != joint.by, "SECOND_PERSON")
            or self.powerless(joint.by, joint.subject)
            or unless(self.now < joint.lapses, "JOINT_LAPSED")
            or acts(joint.subject)
        )
        if refused is None:
            joint.status = "done"
        return refused

    def break_glass(self, id_: str) -> str | None:
        """No window that is in force now stops it any more."""
        held = any(window.holds(self.now) for window in self.state.windows.values())
        queued = self.proposals[id_].status == "queued"
        refused = unless(queued, "PROPOSAL_STATUS") or unless(held, "NOT_HELD")
        if refused is None:
            self.proposals[id_].broken = self.moment()
        return refused

    def quarantine(self, member: str) -> str | None:
        if self.unable(member):
            return "NO_CHANGE"
        state = deepcopy(self.state)
        state.levels[member] = "QUARANTINE"
        try:
            self.refuse_to_brick(state)
        except No as no:
            return no.code
        self.state = state
        return None

    def call_off(self, id_: str, actor: str) -> str | None:
        joint = self.joints[id_]
        refused = unless(joint.status == "proposed", "JOINT_STATUS") or self.without(
            actor, "guardian"
        )
        if refused is None:
            joint.status = "cancelled"
        return refused

    def settle(self) -> None:
        for joint in self.joints.values():
            if joint.status == "proposed" and self.now >= joint.lapses:
                joint.status = "lapsed"
