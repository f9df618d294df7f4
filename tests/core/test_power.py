"""Voting power: what a ballot weighs and why, and never anything else than what it then weighs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forge_core.clock import rfc3339
from forge_core.database import transaction
from forge_core.enforcement.power import RECORDED_ONLY, voting_power
from forge_core.errors import Refused
from forge_core.wiring import CATALOGUE
from tests.core.factories import House

EVERYBODY = ("cora", "gus", "otto", "tara", "stan", "sam")


def power(house: House, member: str, **given: Any) -> dict[str, Any]:
    with transaction(house.app) as session:
        return voting_power(session, CATALOGUE, member, **given)


def lower(house: House, member: str, before: str, after: str) -> None:
    """By an executed proposal."""
    payload = {"member": member, "current_trust": before, "new_trust": after}
    proposal = house.executed("gus", type="trust_adjustment", payload=payload)
    assert house.status(proposal) == "executed"


# By trust


@pytest.mark.parametrize(
    ("member", "weight"),
    [("cora", "5"), ("gus", "3"), ("tara", "3"), ("stan", "1"), ("sam", "0.5")],
)
def test_weight_by_trust_is_that_of_the_level(shared, member, weight):
    found = power(shared, member)
    assert (found["strategy"], found["weight"]) == ("trust", weight)
    assert found["by"] == {"level": found["level"]}
    assert (found["can_vote"], found["why"], found["proposal"]) == (True, None, None)


def test_roles_are_shown_beside_the_weight(shared):
    assert power(shared, "gus")["roles"] == ["guardian"]
    assert power(shared, "tara")["roles"] == []


def test_weight_on_an_opened_proposal_is_the_one_frozen_and_the_one_of_the_ballot(house):
    """INV-09: later changes of level show in the present weight only."""
    proposal = house.open()
    lower(house, "tara", "TRUSTED", "SANDBOX")
    later = house.open("cora")

    assert power(house, "tara")["weight"] == "0.5"
    assert power(house, "tara", proposal=later)["weight"] == "0.5"
    frozen = power(house, "tara", proposal=proposal)
    assert (frozen["weight"], frozen["by"]) == ("3", {"level": "TRUSTED"})
    assert frozen["proposal"]["frozen"] is True
    draft = power(house, "tara", proposal=house.propose("cora"))
    assert (draft["weight"], draft["proposal"]["frozen"]) == ("0.5", False)


def test_the_weight_shown_is_the_weight_that_a_ballot_is_counted_with(house):
    proposal = house.open()
    for member in EVERYBODY:
        assert house.vote(proposal, member, "abstain").code is None
    house.perform("votes.count")

    counted = dict(house.sql("SELECT member_id, weight::text FROM effective_ballots"))
    shown = {member: power(house, member, proposal=proposal) for member in EVERYBODY}
    assert {member: one["weight"] for member, one in shown.items()} == counted
    assert {one["proposal"]["choice"] for one in shown.values()} == {"abstain"}


def test_why_a_member_cannot_vote_is_the_code_that_the_ballot_is_refused_with(house):
    """INV-07, INV-20: zero power says why."""
    house.do("members.admit", "cora", members=[{"id": "idle", "level": "STANDARD"}], source="s")
    house.sql("INSERT INTO setting_values (key, value, version, proposal_id, changed_at)"
              " VALUES ('trust.weight.SANDBOX', '\"0\"', 1, 'rule:x', now())")  # fmt: skip
    proposal = house.open("cora")
    house.do("members.admit", "cora", members=[{"id": "late", "level": "STANDARD"}], source="s")
    house.do("members.restrict", "otto", member_id="stan", reason="Flood.", seconds=10**6)
    house.sql("UPDATE members SET active = false WHERE id = 'idle'")
    house.sql("UPDATE members SET level = 'QUARANTINE' WHERE id = 'tara'")

    reasons = {}
    for member in ("late", "stan", "idle", "tara", "sam"):
        shown = power(house, member, proposal=proposal)
        assert shown["can_vote"] is False
        reasons[member] = shown["why"]["code"]
        assert house.vote(proposal, member, "for").code == reasons[member]
    assert reasons == {
        "late": "VOTER_NOT_IN_ROLL",
        "stan": "MEMBER_RESTRICTED",
        "idle": "MEMBER_INACTIVE",
        "tara": "MEMBER_QUARANTINED",
        "sam": "VOTER_WEIGHTLESS",
    }
    assert power(house, "late", proposal=proposal)["weight"] == "0"
    assert power(house, "sam")["why"]["code"] == "VOTER_WEIGHTLESS"


def test_who_was_quarantined_at_opening_and_is_not_now_is_in_no_roll(house):
    """INV-20."""
    house.sql("UPDATE members SET level = 'QUARANTINE' WHERE id = 'tara'")
    house.sql("UPDATE member_levels SET level = 'QUARANTINE' WHERE member_id = 'tara'")
    proposal = house.open("cora")
    house.sql("UPDATE members SET level = 'TRUSTED' WHERE id = 'tara'")

    assert power(house, "tara", proposal=proposal)["why"]["code"] == "VOTER_NOT_IN_ROLL"
    assert house.vote(proposal, "tara", "for").code == "VOTER_NOT_IN_ROLL"


# By balance


def report(house: House, *holdings: list[object]) -> None:
    house.do("members.report_holdings", "cora", source="coins", holdings=list(holdings))


@pytest.mark.parametrize(
    ("holding", "donation", "weight"),
    [
        (["100", 0, 0, 0], "0", "70"),
        (["100", "20", 0, 0], "20", "76"),
        ([0, "2", "30000", 0], "3", "0.9"),
        ([0, 0, "30000", "0.05"], "5", "1.5"),
        (["0.1", "0.1", "1000", "0.001"], "0.1", "0.1"),
        (["1e30", 0, 0, 0], "0", "7" + "0" * 29),
    ],
)
def test_weight_by_balance_is_coins_and_the_best_donation(house, holding, donation, weight):
    """INV-12: exact, 70 % of the coins and 30 % of minutes, tokens / 10,000 or usd * 100."""
    report(house, ["tara", *holding])
    found = power(house, "tara", source="coins")

    assert (found["strategy"], found["weight"]) == ("balance", weight)
    assert (found["by"]["donation"], found["by"]["coin_share"]) == (donation, "0.7")
    assert found["can_vote"] is True
    proposal = house.open("cora", electorate="balance:coins")
    assert power(house, "tara", proposal=proposal)["weight"] == weight


def test_zero_by_balance_says_why_and_is_refused_so(house):
    report(house, ["tara", 1, 0, 0, 0], ["stan", 0, 0, 0, 0])
    draft = house.propose("cora", electorate="balance:coins")

    for given in ({"source": "coins"}, {"proposal": draft}):
        assert power(house, "stan", **given)["why"]["message"].endswith("weighs nothing")
        assert "has reported no holdings" in power(house, "gus", **given)["why"]["message"]
    house.do("proposals.activate", "cora", proposal_id=draft)
    for member in ("stan", "gus"):
        shown = power(house, member, proposal=draft)
        assert (shown["weight"], shown["can_vote"]) == ("0", False)
        assert house.vote(draft, member, "for").code == shown["why"]["code"]


def test_a_later_report_does_not_reach_an_opened_proposal(house):
    """INV-09."""
    report(house, ["tara", 10, 0, 0, 0])
    proposal = house.open("cora", electorate="balance:coins")
    report(house, ["tara", 1000, 0, 0, 0])

    assert power(house, "tara", proposal=proposal)["weight"] == "7"
    assert power(house, "tara", source="coins")["weight"] == "700"


def test_weight_zero_in_an_imported_roll_is_recorded_and_said_to_be(house):
    roll = [["tara", "2.5"], ["sam", "0"]]
    imported = {"electorate": "elders", "roll": roll, "last": True}
    house.do("members.import_electorate", "cora", **imported)
    proposal = house.open("cora", electorate="elders")

    assert power(house, "tara", proposal=proposal)["weight"] == "2.5"
    sam = power(house, "sam", proposal=proposal)
    assert (sam["strategy"], sam["can_vote"], sam["why"]["code"]) == (
        "imported",
        True,
        RECORDED_ONLY,
    )
    assert house.vote(proposal, "sam", "for").code is None
    gus = power(house, "gus", proposal=proposal)
    assert gus["why"]["code"] == house.vote(proposal, "gus", "for").code == "VOTER_NOT_IN_ROLL"


# Delegation


def delegation(house: House, member: str, **given: Any) -> dict[str, Any]:
    return power(house, member, **given)["delegation"]


def test_delegations_from_and_to_a_member_are_counted_by_scope(house):
    house.do("members.delegate", "stan", delegate="tara")
    house.do("members.delegate", "sam", delegate="tara", scope="policy")
    house.do("members.delegate", "tara", delegate="gus", scope="configuration")

    assert delegation(house, "tara") == {
        "to": [{"scope": "configuration", "delegate": "gus"}],
        "from": [{"scope": "policy", "members": 1}, {"scope": "*", "members": 1}],
    }
    assert delegation(house, "cora") == {"to": [], "from": []}


def test_delegations_on_an_opened_proposal_are_those_frozen_for_its_type(house):
    """INV-26: the edge of the type outranks the general one, and later edges do not count."""
    house.do("members.delegate", "stan", delegate="tara")
    house.do("members.delegate", "stan", delegate="gus", scope="policy")
    soon = rfc3339(house.one("SELECT forge_now()") + timedelta(hours=1))
    house.do("members.delegate", "sam", delegate="tara", expires_at=soon)
    proposal = house.open("cora")
    house.do("members.revoke_delegation", "stan", scope="policy")
    house.do("members.delegate", "otto", delegate="tara")
    house.advance(hours=2)

    frozen = delegation(house, "stan", proposal=proposal)
    assert frozen["to"] == [{"scope": "policy", "delegate": "gus"}]
    assert delegation(house, "tara", proposal=proposal)["from"] == [{"scope": "*", "members": 1}]
    assert delegation(house, "gus", proposal=proposal)["from"] == [
        {"scope": "policy", "members": 1}
    ]
    assert delegation(house, "stan")["to"] == [{"scope": "*", "delegate": "tara"}]
    assert delegation(house, "tara")["from"] == [{"scope": "*", "members": 2}]


# Refusals


@pytest.mark.parametrize(
    ("member", "given", "code"),
    [
        ("nobody", {}, "MEMBER_UNKNOWN"),
        ("no body", {}, "ID_INVALID"),
        ("tara", {"proposal": "p-absent"}, "PROPOSAL_UNKNOWN"),
        ("tara", {"proposal": "p\x00"}, "ID_INVALID"),
        ("tara", {"source": "nowhere"}, "HOLDINGS_UNKNOWN"),
        ("tara", {"source": "no where"}, "ID_INVALID"),
    ],
)
def test_what_is_not_there_is_refused_by_name(shared, member, given, code):
    with pytest.raises(Refused) as refusal:
        power(shared, member, **given)
    assert refusal.value.code == code


def test_outside_a_sandbox_a_source_has_to_be_registered(production):
    with pytest.raises(Refused) as refusal:
        power(production, "tara", source="coins")
    assert refusal.value.code == "SOURCE_UNKNOWN"
