"""A house in which something of everything has happened."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from forge_core.capabilities.declaration import Delivery
from forge_core.clock import rfc3339
from forge_core.enforcement.outbox import ATTEMPTS_MOST
from tests.core.factories import FULL_FOUNDERS, House, catalogue_with, volume
from tests.core.immunity import Runtime


def _deliver(_delivery: Delivery) -> None:
    """The other side hears it."""


def _fail(_delivery: Delivery) -> None:
    raise ConnectionError("nobody answers")


PLATFORM = catalogue_with(
    volume("platform.volume", deliver=_deliver), volume("platform.siren", deliver=_fail)
)

ALIKE = ("gus", "gail", "rae", "ray", "rex", "ria", "rob")
"""21 of at most 60, and none of them has more than a fifth of it."""

HEAVY = ("cora", "carl", "cleo", "gus")
"""18 by fewer ballots, where nobody asks who has how much of it."""

PARAMETER = {
    "klass": "ordinary",
    "type": "integer",
    "description": "guests",
    "default": 3,
    "least": 0,
    "most": 9,
}
FEATURE = {"description": "a game in the evening"}
TYPE = {
    "trust": "TRUSTED",
    "klass": "ordinary",
    "description": "who gets an award",
    "fields": {"winner": "id", "praise": "text"},
}
SOURCE = {"description": "the exchange"}
MODULE = {
    "version": "1.0.0",
    "owner": "otto",
    "governs": "its version",
    "rollback": "the one before",
}


def live_through(house: House) -> None:
    """Every kind of entry, every status, every way to undo something; all settled.

    The founders are ``FULL_FOUNDERS``: every track is open to them.
    """
    assert house.founders is FULL_FOUNDERS
    at_home(house)
    _begin(house)
    changed = _change(house)
    extended = _extend(house)
    _undo(house, *changed, *extended)
    _meet_emergencies(house)
    _hold(house)
    _do_together(house)
    _deliver_effects(house)
    _fall_ill(house)
    _let_time_pass(house)


def at_home(house: House) -> None:
    """Whoever works on in such a house knows its platform, and who approves there."""
    house.use(PLATFORM)
    house.approvers = list(ALIKE)


def _carried(house: House, *given: dict[str, Any]) -> list[str]:
    """Side by side: voted on, through whatever gates and timelock there are, and executed."""
    proposals = [house.open(**{"proposer": "carl"} | one) for one in given]
    for proposal in proposals:
        for member in HEAVY if house.column(proposal, "track") == "routine" else ALIKE:
            assert house.vote(proposal, member, "for").code is None
    closes_at = max(house.column(proposal, "closes_at") for proposal in proposals)
    house.advance_to(closes_at + timedelta(microseconds=1))
    house.settle()
    for proposal in proposals:
        if house.status(proposal) == "approved":
            house.through_gates(proposal)
    house.advance_to(max(house.column(proposal, "eta") for proposal in proposals))
    house.settle()
    return proposals


def _executed(house: House, *given: dict[str, Any]) -> list[str]:
    proposals = _carried(house, *given)
    for proposal in proposals:
        assert house.status(proposal) == "executed", house.image(proposal)
    return proposals


def _undone(*proposals: str) -> list[dict[str, Any]]:
    return [{"type": "rollback", "payload": {"proposal": proposal}} for proposal in proposals]


def _begin(house: House) -> None:
    """Members, delegations, restrictions, a roll from elsewhere, holdings, a treasury."""
    members = [{"id": f"m{n}", "level": "STANDARD"} for n in range(4)] + [{"id": "m4"}]
    house.do("members.admit", "cora", source="tests", members=members)
    house.do("members.delegate", "m0", delegate="m1")
    house.do("members.delegate", "m0", delegate="m2")
    house.do("members.delegate", "m1", delegate="m2", scope="policy")
    house.do("members.delegate", "m4", delegate="m2", expires_at="2999-01-01T00:00:00+02:00")
    house.do("members.revoke_delegation", "m1", scope="policy")
    house.do("members.restrict", "otto", member_id="m3", reason="looked odd", seconds=9_999)
    house.do("members.restrict", "otto", member_id="m4", reason="looked odd")
    house.do("members.release", "otto", member_id="m4", reason="nothing there")
    for last, voters in ((False, ["m0", "m1"]), (True, ["m2", "m4"])):
        roll = [[voter, "1234567890123456789012345678.5"] for voter in voters]
        house.do("members.import_electorate", "cora", electorate="coins", roll=roll, last=last)
    for coins in ("12.5", "20"):
        held = [["m0", coins, 60, 0, 0], ["m2", 0, 0, "1234567", "0.75"], ["m4", 0, 0, 0, 0]]
        house.do("members.report_holdings", "cora", source="exchange", holdings=held)
    for amount in ("100", "0.00000001"):
        house.do("treasury.deposit", "cora", source="exchange", amount=amount)


def _change(house: House) -> list[str]:
    """What the code declares, changed; returns what is going to be undone."""
    limit = {"key": "rate_limit.CORE", "new_value": 20_000}
    rover = {"overlay": "rover", "name": "Rover", "version": "1.0.0"}
    scout = rover | {"overlay": "scout", "name": "Scout", "max_execution_ms": 250}
    down = {"member": "tara", "current_trust": "TRUSTED", "new_trust": "STANDARD"}
    _, volume, _, _, rover_in, adopted, tara_down = _executed(
        house,
        {"type": "configuration", "payload": limit},
        {"type": "configuration", "payload": {"key": "platform.volume", "new_value": 7}},
        {"type": "configuration", "payload": {"key": "platform.siren", "new_value": 11}},
        {"type": "overlay_registration", "payload": scout | {"description": "It looks."}},
        {"type": "overlay_registration", "payload": rover, "proposer": "stan"},
        {"payload": {"text": "Be kind."}},
        {"type": "trust_adjustment", "payload": down, "proposer": "otto"},
    )
    trusted = {"overlay": "scout", "current_trust": "SANDBOX", "new_trust": "STANDARD"}
    update = {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.0.1"}
    limit_again, trusted_more, updated, _ = _executed(
        house,
        {"type": "configuration", "payload": limit | {"new_value": 30_000}},
        {"type": "trust_adjustment", "payload": trusted},
        {"type": "overlay_update", "payload": update},
        {"payload": {}, "description": "Ünïcödé \u2028 \U0001f600 text"},
    )
    (stale,) = _carried(house, {"type": "configuration", "payload": limit | {"old_value": 1}})
    house.do("enforcement.retry", "otto", proposal_id=stale, reason="once more")
    house.settle()
    assert house.status(stale) == "failed"
    return [volume, rover_in, adopted, tara_down, limit_again, trusted_more, updated]


def _extend(house: House) -> list[str]:
    """Rules, roles, features and money, and extensions of each kind with what they allow."""
    allocations = [
        {"recipient": "grants", "amount": "12.5", "purpose": "seeds"},
        {"recipient": "m0", "amount": "1"},
    ]
    roles = [
        {"member": "sam", "role": "operator", "holds": True},
        {"member": "rue", "role": "reviewer", "holds": False},
    ]
    rule = {"key": "emergency.pause_hours", "new_value": 24}
    switch = {"feature": "smart_contracts", "enabled": True}
    _, _, *undone = _executed(
        house,
        {"type": "treasury_allocation", "payload": allocations[0] | {"amount": "0.125"}},
        {"type": "registry_extension", "payload": {"actions": _extensions("kept")}},
        {"type": "registry_extension", "payload": {"actions": _extensions("gone")}},
        {"type": "governance_rule", "payload": rule},
        {"type": "role_change", "payload": {"actions": roles}},
        {"type": "feature_activation", "payload": switch},
        {"type": "treasury_allocation", "payload": {"actions": allocations}},
    )
    update = {"module": "kept_engine", "current_version": "1.0.0", "new_version": "2.0.0"}
    award = {"winner": "m1", "praise": "Well done."}
    _, updated, awarded, _ = _executed(
        house,
        {"type": "configuration", "payload": {"key": "kept_guests", "new_value": 4}},
        {"type": "overlay_update", "payload": update},
        {"type": "kept_award", "payload": award},
        {"type": "kept_award", "payload": {"actions": [award, award | {"winner": "m2"}]}},
    )
    return [*undone, updated, awarded]


def _extensions(name: str) -> list[dict[str, Any]]:
    """One of each kind."""
    return [
        {"kind": "parameter", "name": f"{name}_guests", "declaration": PARAMETER},
        {"kind": "feature", "name": f"{name}_game", "declaration": FEATURE},
        {"kind": "proposal_type", "name": f"{name}_award", "declaration": TYPE},
        {"kind": "source", "name": f"{name}_source", "declaration": SOURCE},
        {"kind": "module", "name": f"{name}_engine", "declaration": MODULE},
    ]


def _undo(house: House, *proposals: str) -> None:
    """A rollback of every type, each on the track of what it undoes."""
    _executed(house, *_undone(*proposals))
    for proposal in proposals:
        assert house.status(proposal) == "rolled_back"


def _meet_emergencies(house: House) -> None:
    """Pause, resume and adjust, and all three undone; an adjustment and a pause stay."""
    harder = {"action": "adjust", "key": "difficulty", "new_value": 5}
    fewer = {"action": "adjust", "key": "block_reward", "new_value": "7.25"}
    kinds = ({"action": "pause", "hours": 9}, harder, fewer)
    paused, adjusted, _ = _executed(house, *({"type": "emergency", "payload": p} for p in kinds))
    _executed(house, *_undone(paused, adjusted))

    _executed(house, {"type": "emergency", "payload": {"action": "pause", "hours": 168}})
    resumed = {"type": "emergency", "payload": {"action": "resume"}}
    _executed(house, *_undone(*_executed(house, resumed)))


def _hold(house: House) -> None:
    """A freeze that is broken through and thawed, another to come, an attempt before the time."""
    first = house.open("gus")
    second = house.open("gus", predecessor=first)
    freeze = house.do("enforcement.freeze", "gus", until=_later(house, days=14), reason="a leak")
    coming = {"from": _later(house, days=60), "until": _later(house, days=70)}
    house.do("enforcement.freeze", "gail", reason="holidays", **coming)
    for proposal in (first, second):
        house.approve(proposal)
    house.end_voting(first)
    house.settle()
    assert (house.status(first), house.status(second)) == ("queued", "queued")

    glass = {"kind": "break_glass", "subject": first, "reason": "the fire brigade"}
    broken = house.do("joint.propose", "gus", **glass)["joint_id"]
    house.do("joint.confirm", "gail", joint_id=broken)
    house.settle()
    assert (house.status(first), house.status(second)) == ("executed", "queued")
    house.do("enforcement.thaw", "gus", window=freeze["window"], reason="mended")
    house.advance(days=2)  # the pause is over by itself
    house.settle()
    assert house.status(second) == "executed"


def _later(house: House, **by: float) -> str:
    return rfc3339(house.one("SELECT forge_now()") + timedelta(**by))


def _do_together(house: House) -> None:
    """Quarantines and seats: done, cancelled, lapsed, failed; and one each under way."""

    def propose(kind: str, actor: str, subject: str) -> str:
        given = {"kind": kind, "subject": subject, "reason": "two of us think so"}
        return str(house.do("joint.propose", actor, **given)["joint_id"])

    for subject in ("otto", "sam"):
        house.do("joint.confirm", "cleo", joint_id=propose("core_seat", "carl", subject))
    done = propose("quarantine", "gus", "sam")
    cancelled = propose("quarantine", "gus", "m2")
    propose("quarantine", "gus", "m1")
    house.do("joint.confirm", "gail", joint_id=done)
    house.do("joint.cancel", "gail", joint_id=cancelled, reason="it was nothing")
    house.advance(days=8)
    house.settle()
    house.do("joint.confirm", "cleo", joint_id=propose("core_seat", "carl", "stan"))
    propose("core_seat", "carl", "rae")
    found = house.sql("SELECT status FROM joint_actions WHERE kind <> 'break_glass'")
    assert sorted(status for (status,) in found) == [
        "cancelled",
        "confirmed",
        "done",
        "done",
        "failed",
        "lapsed",
        "proposed",
    ]


def _deliver_effects(house: House) -> None:
    """What leaves the house arrives, or is given up."""
    for _ in range(ATTEMPTS_MOST):
        house.deliver()
        house.sql("UPDATE outbox SET not_before = now() WHERE state = 'pending'")
    found = house.sql("SELECT direction, state FROM outbox ORDER BY 1, 2")
    assert found == [("apply", "dead"), ("apply", "delivered"), ("undo", "delivered")]


def _fall_ill(house: House) -> None:
    """What the immune system finds, answers, asks and ends; and what people do about it."""
    runtime = Runtime(house)
    runtime.register("kernel", trust="CORE", provides=["ground"])
    runtime.register(*(f"leaf{n}" for n in range(9)))
    for address in ("192.0.2.1", "2001:db8::1"):
        runtime.tell(runtime.attempts(address, 10))
    for overlay in ("kernel", "leaf1", "leaf2", "leaf3", "leaf4"):
        runtime.tell(runtime.calls(overlay, "f" * 10))
    (action,) = house.sql("SELECT id FROM immune_actions")
    for operator in ("otto", "sam"):
        house.command("immune.confirm", operator, {"action": action[0]})
    because = {"reason": "we looked at it"}
    house.do("immune.resume", "otto", **because)
    house.do("immune.release", "otto", target_type="overlay", target_id="leaf1", **because)
    house.do("immune.unblock", "otto", target_type="address", target_id="192.0.2.1", **because)
    house.do("immune.hold", "otto", target_type="member", target_id="m4", **because)
    house.do("immune.halt", "otto", **because)
    retired = {"overlay": "leaf5", "standing": "retired"}
    _executed(house, {"type": "overlay_standing", "payload": retired})


def _let_time_pass(house: House) -> None:
    """Re-votes, corrections, everything that ends by itself, and an erased text."""
    open_, coins = house.open("gus"), house.open("gus", electorate="coins")
    balance = house.open("gus", electorate="balance:exchange")
    for choice in ("for", "against", "abstain", "for"):
        for member in ("m0", "m2", "gus", "stan"):
            house.vote(open_, member, choice)
        house.vote(coins, "m4", choice)
        house.vote(balance, "m0", choice)
        house.perform("votes.count")
    house.sql("UPDATE tallies SET for_weight = 3 WHERE proposal_id = %s", open_)
    house.settle()
    house.vote(open_, "cora", "against")
    house.do("proposals.cancel", "gus", proposal_id=open_, reason="enough")
    house.propose("gus", title="lapses")
    rule = {"key": "track.routine.quorum", "new_value": "0.25"}
    unreviewed = house.approved(type="governance_rule", payload=rule)
    house.review(unreviewed, "rae", approves=False, comment="It does not say why.")
    house.advance(days=31)
    house.settle()
    assert [house.status(one) for one in (coins, unreviewed)] == ["rejected", "expired"]

    queued = house.protected(type="governance_rule", payload=rule)
    _attempt(house, queued)
    house.approved(type="governance_rule", payload=rule | {"new_value": "0.35"})
    house.open("gus")
    house.propose("gus")
    house.receive(house.submit_id("proposals.cancel", "gus", {"proposal_id": open_}))
    (unwanted,) = house.sql("SELECT commitment FROM texts WHERE body = 'looked odd' LIMIT 1")
    house.do("ledger.erase_text", "cora", commitment=unwanted[0], reason="asked for")


def _attempt(house: House, proposal: str) -> None:
    """Somebody has it executed before its time."""
    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor) VALUES ('enforcement.execute',"
        " 'too early', true, jsonb_build_object('proposal_id', %s::text), 'system')",
        proposal,
    )
    house.perform("enforcement.execute")
