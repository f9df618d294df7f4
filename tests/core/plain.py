"""The rules in the plainest words: dictionaries and loops, to compare the house with."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

SIDES = ("for", "against", "abstain")
WEIGHTS: Mapping[str, Fraction] = {
    "CORE": Fraction(5),
    "TRUSTED": Fraction(3),
    "STANDARD": Fraction(1),
    "SANDBOX": Fraction(1, 2),
    "QUARANTINE": Fraction(0),
}
SCORES = {"CORE": 100, "TRUSTED": 80, "STANDARD": 60, "SANDBOX": 40, "QUARANTINE": 0}
SCOPES = ("*", "policy", "configuration")

TRACKS: Mapping[str, Mapping[str, Any]] = {
    "routine": {
        "quorum": "0.3",
        "approval": "0.5",
        "tie_passes": True,
        "min_yes_voters": 1,
        "timelock_hours": 0,
        "grace_hours": 336,
        "draft_lifetime_hours": 720,
    },
    "protected": {
        "quorum": "0.3",
        "approval": "0.66",
        "tie_passes": True,
        "min_yes_voters": 5,
        "max_yes_share": "0.2",
        "reviewers": 5,
        "review_approval": "0.66",
        "sign_off": "0.5",
        "timelock_hours": 168,
        "timelock_parameter_hours": 336,
        "grace_hours": 336,
        "draft_lifetime_hours": 720,
        "gate_lifetime_hours": 720,
    },
    "emergency": {
        "quorum": "0.3",
        "approval": "0.66",
        "tie_passes": True,
        "min_yes_voters": 5,
        "max_yes_share": "0.2",
        "timelock_hours": 24,
        "grace_hours": 48,
        "draft_lifetime_hours": 720,
    },
}
DEFAULTS: Mapping[str, Any] = {
    "trust.weight.CORE": "5",
    "trust.weight.TRUSTED": "3",
    "trust.weight.STANDARD": "1",
    "trust.weight.SANDBOX": "0.5",
    "trust.weight.QUARANTINE": "0",
    **{
        f"track.{track}.{name}": value
        for track, thresholds in TRACKS.items()
        for name, value in thresholds.items()
    },
}

Who = Hashable


@dataclass
class Graph:
    """Delegation: one dictionary of open edges, each with the hour it ends at, or None."""

    edges: dict[tuple[Who, str], tuple[Who, int | None]] = field(default_factory=dict)

    def set(self, delegator: Who, scope: str, to: Who, until: int | None, *, now: int) -> bool:
        """Whether the edge is accepted."""
        tried = Graph(self.live(now) | {(delegator, scope): (to, until)})
        if delegator == to or tried.can_circle(scope):
            return False
        self.edges = tried.edges
        return True

    def revoke(self, delegator: Who, scope: str, *, now: int) -> bool:
        """Whether there was an edge, and no circle arises without it."""
        live = self.live(now)
        if (delegator, scope) not in live:
            return False
        tried = Graph({key: edge for key, edge in live.items() if key != (delegator, scope)})
        if tried.can_circle(scope):
            return False
        self.edges = tried.edges
        return True

    def live(self, now: int) -> dict[tuple[Who, str], tuple[Who, int | None]]:
        return {key: (to, end) for key, (to, end) in self.edges.items() if end is None or end > now}

    def can_circle(self, scope: str) -> bool:
        return any(self.circles(one) for one in (SCOPES if scope == "*" else (scope,)))

    def circles(self, scope: str) -> bool:
        """Whether following, now or when edges have ended, can lead anybody back."""
        ways: dict[Who, set[Who]] = {}
        for member in {delegator for delegator, _ in self.edges}:
            own = self.edges.get((member, scope))
            general = self.edges.get((member, "*"))
            ways[member] = {own[0]} if own else set()
            if general and (own is None or own[1] is not None):
                ways[member].add(general[0])
        reach = {member: set(to) for member, to in ways.items()}
        for _ in range(len(reach)):
            for member, to in reach.items():
                reach[member] = to | {far for near in to for far in ways.get(near, ())}
        return any(member in to for member, to in reach.items())

    def frozen(self, scope: str, now: int) -> dict[Who, Who]:
        """Whom each member follows in a voting of this type that opens now."""
        live = self.live(now)
        following = {member: to for (member, one), (to, _) in live.items() if one == "*"}
        own = {member: to for (member, one), (to, _) in live.items() if one == scope}
        return following | own


@dataclass(frozen=True)
class Count:
    """What a close finds."""

    sums: Mapping[str, Fraction]
    yes_voters: int
    largest_yes: Fraction

    def approves(self, eligible: Fraction, terms: Mapping[str, Any] = TRACKS["routine"]) -> bool:
        """Enough take part, enough of the decided weight is for, and it is for by enough people."""
        decided = self.sums["for"] + self.sums["against"]
        lead = self.sums["for"] - Fraction(terms["approval"]) * decided
        cap = terms.get("max_yes_share")
        return (
            eligible > 0
            and sum(self.sums.values()) >= Fraction(terms["quorum"]) * eligible
            and decided > 0
            and (lead >= 0 if terms["tie_passes"] else lead > 0)
            and self.yes_voters >= terms["min_yes_voters"]
            and (cap is None or self.largest_yes <= Fraction(cap) * self.sums["for"])
        )


def count(
    roll: Mapping[Who, Fraction],
    following: Mapping[Who, Who],
    cast: Mapping[Who, str],
    quarantined: set[Who],
) -> Count:
    """Each member's frozen weight goes to the first along the edges who casts, if anybody does."""
    held = dict.fromkeys(cast, Fraction(0))
    for member, weight in roll.items():
        caster: Who | None = member
        while caster is not None and caster not in cast:
            caster = following.get(caster)
        if caster is not None and not {member, caster} & quarantined:
            held[caster] += weight
    yes = [weight for who, weight in held.items() if cast[who] == "for" and weight > 0]
    return Count(
        {
            side: sum((held[who] for who, choice in cast.items() if choice == side), Fraction(0))
            for side in SIDES
        },
        len(yes),
        max(yes, default=Fraction(0)),
    )


def stuck(
    track: str, levels: Mapping[str, str], reviewers: Collection[str], values: Mapping[str, Any]
) -> bool:
    """Whether no set of present members could bring a proposal through on this track."""
    able = {member: level for member, level in levels.items() if level != "QUARANTINE"}
    lead = "TRUSTED" if track == "routine" else "CORE"
    proposers = {member for member, level in able.items() if SCORES[level] >= SCORES[lead]}
    needed = values.get(f"track.{track}.reviewers", 0)
    among = {
        member
        for member in reviewers
        if member in able and SCORES[able[member]] >= SCORES["TRUSTED"]
    }
    # The proposer does not review: somebody who is no reviewer proposes, where there is one.
    beside = len(among) - (1 if proposers <= among else 0)
    cap = values.get(f"track.{track}.max_yes_share", 1)
    weights = sorted(Fraction(values[f"trust.weight.{level}"]) for level in able.values())

    def passes(yes: list[Fraction]) -> bool:
        """With the light ones for, and the others abstaining."""
        enough = len(yes) >= values[f"track.{track}.min_yes_voters"]
        return enough and yes[-1] <= Fraction(cap) * sum(yes)

    voted = any(passes([w for w in weights[:n] if w > 0]) for n in range(1, len(weights) + 1))
    return not proposers or beside < needed or not voted


@dataclass
class Proposal:
    """Times are hours of the model's clock."""

    type: str
    payload: Mapping[str, Any]
    proposer: str
    hours: int
    created: int
    status: str = "draft"
    closes: int = 0
    expires: int = 0
    roll: Mapping[str, Fraction] = field(default_factory=dict)
    following: Mapping[Who, Who] = field(default_factory=dict)
    cast: dict[str, str] = field(default_factory=dict)


@dataclass
class Commonwealth:
    """Everything the machine can do, as the design says it, without a database."""

    levels: dict[str, str]
    roles: Mapping[str, str]
    now: int = 0
    restricted: set[str] = field(default_factory=set)
    graph: Graph = field(default_factory=Graph)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    setting: int = 10_000
    overlays: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)

    def able(self, member: str) -> bool:
        known = self.levels.get(member)
        return known not in (None, "QUARANTINE") and member not in self.restricted

    def may_propose(self, member: str, type_: str) -> bool:
        needed = "STANDARD" if type_ == "overlay_registration" else "TRUSTED"
        return self.able(member) and SCORES[self.levels[member]] >= SCORES[needed]

    def may_create(self, member: str, type_: str, payload: Mapping[str, Any]) -> bool:
        if type_ == "trust_adjustment":
            before, after = payload["current_trust"], payload["new_trust"]
            own_raise = payload["member"] == member and SCORES[after] > SCORES[before]
            if after in (before, "CORE") or own_raise:
                return False
        if type_ == "configuration" and payload["new_value"] == self.against(payload):
            return False
        return self.may_propose(member, type_)

    def against(self, payload: Mapping[str, Any]) -> object:
        """The value a configuration is proposed against: the named one, else the present one."""
        return payload.get("old_value", self.setting)

    def activate(self, id_: str, actor: str) -> bool:
        proposal = self.proposals[id_]
        power = self.may_propose(proposal.proposer, proposal.type) and (
            actor == proposal.proposer or (self.able(actor) and self.roles.get(actor) == "admin")
        )
        if proposal.status != "draft" or self.now >= proposal.created + 720 or not power:
            return False
        proposal.status = "active"
        proposal.closes = self.now + proposal.hours
        proposal.roll = {
            member: WEIGHTS[level] for member, level in self.levels.items() if WEIGHTS[level] > 0
        }
        proposal.following = deepcopy(self.graph.frozen(proposal.type, self.now))
        return True

    def refusal(self, id_: str, member: str) -> str | None:
        """Why a ballot is refused."""
        proposal = self.proposals[id_]
        if proposal.status != "active":
            return "PROPOSAL_NOT_ACTIVE"
        if self.now >= proposal.closes:
            return "VOTING_CLOSED"
        if self.levels[member] == "QUARANTINE":
            return "MEMBER_QUARANTINED"
        if member in self.restricted:
            return "MEMBER_RESTRICTED"
        return None if member in proposal.roll else "VOTER_NOT_IN_ROLL"

    def cancel(self, id_: str, actor: str) -> bool:
        proposal = self.proposals[id_]
        in_time = proposal.status == "draft" or (
            proposal.status == "active" and self.now < proposal.closes
        )
        power = self.able(actor) and (
            self.roles.get(actor) == "guardian" or (actor == proposal.proposer and in_time)
        )
        if proposal.status not in ("draft", "active", "queued", "failed") or not power:
            return False
        proposal.status = "cancelled"
        return True

    def due(self) -> list[str]:
        """Votings that a sweep finds over."""
        return [
            id_
            for id_, proposal in self.proposals.items()
            if proposal.status == "active" and self.now >= proposal.closes
        ]

    def close(self, id_: str) -> Count:
        proposal = self.proposals[id_]
        aside: set[Who] = {who for who, level in self.levels.items() if level == "QUARANTINE"}
        found = count(proposal.roll, proposal.following, proposal.cast, aside)
        approved = found.approves(sum(proposal.roll.values(), Fraction(0)))
        proposal.status = "queued" if approved else "rejected"
        proposal.expires = self.now + 14 * 24
        return found

    def expire(self) -> None:
        for proposal in self.proposals.values():
            lapsed = proposal.status == "draft" and self.now >= proposal.created + 720
            late = proposal.status == "queued" and self.now >= proposal.expires
            if lapsed or late:
                proposal.status = "expired"

    def execute(self, id_: str) -> None:
        proposal = self.proposals[id_]
        if proposal.status != "queued":
            return
        if self.now >= proposal.expires:
            proposal.status = "expired"
            return
        proposal.status = "executed" if self._apply(id_, proposal) else "failed"

    def _apply(self, id_: str, proposal: Proposal) -> bool:
        payload = proposal.payload
        if proposal.type == "policy":
            self.policies.add(id_)
        elif proposal.type == "configuration":
            if payload["old_value"] != self.setting:
                return False
            self.setting = payload["new_value"]
        elif proposal.type == "trust_adjustment":
            before, after = payload["current_trust"], payload["new_trust"]
            if self.levels.get(payload["member"]) != before:
                return False
            levels = {**self.levels, payload["member"]: after}
            if any(
                stuck(track, levels, (), DEFAULTS) and not stuck(track, self.levels, (), DEFAULTS)
                for track in TRACKS
            ):
                return False
            self.levels = levels
        else:
            if payload["overlay"] in self.overlays:
                return False
            self.overlays.add(payload["overlay"])
        return True
