"""A house in which something of everything has happened."""

from __future__ import annotations

from tests.core.factories import House


def live_through(house: House) -> None:
    """Every kind of entry, every status, re-votes, corrections, an erased text; all settled."""
    house.do(
        "members.admit",
        "cora",
        source="tests",
        members=[{"id": f"m{n}", "level": "STANDARD"} for n in range(4)] + [{"id": "m4"}],
    )
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

    setting = {"key": "rate_limit.CORE", "new_value": 20_000}
    overlay = {"overlay": "scout", "name": "Scout", "version": "1.0.0"}
    update = {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.0.1"}
    down = {"member": "tara", "current_trust": "TRUSTED", "new_trust": "STANDARD"}
    for given in (
        {"type": "configuration", "payload": setting},
        {"type": "configuration", "payload": setting | {"new_value": 30_000}},
        {"type": "configuration", "payload": setting | {"old_value": 1}},
        {"type": "overlay_registration", "payload": overlay},
        {"type": "overlay_update", "payload": update},
        {"description": "Ünïcödé \u2028 \U0001f600 text"},
        {"type": "trust_adjustment", "payload": down, "proposer": "otto"},
    ):
        house.executed(**given)

    open_, coins = house.open("gus"), house.open("gus", electorate="coins")
    for choice in ("for", "against", "abstain", "for"):
        for member in ("m0", "m2", "gus", "sam"):
            house.vote(open_, member, choice)
        house.vote(coins, "m4", choice)
        house.perform("votes.count")
    house.sql("UPDATE tallies SET for_weight = 3 WHERE proposal_id = %s", open_)
    house.settle()
    house.vote(open_, "cora", "against")
    house.do("proposals.cancel", "gus", proposal_id=open_, reason="enough")
    house.propose("gus", title="lapses")
    house.advance(days=31)
    house.settle()
    house.open("gus")
    house.receive(house.submit_id("proposals.cancel", "gus", {"proposal_id": open_}))
    (unwanted,) = house.sql("SELECT commitment FROM texts WHERE body = 'looked odd' LIMIT 1")
    house.do("ledger.erase_text", "cora", commitment=unwanted[0], reason="asked for")
