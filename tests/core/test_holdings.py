"""Voting by balance: what a source reports, the rolls made of it, and who votes with what."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from forge_core.exact import parse_decimal
from forge_core.members.imported import roll_digest
from tests.conftest import TestServers
from tests.core.factories import House
from tests.core.full_house import (
    SOURCE,
    done,
    full_production,
    level,
    play,
    setting,
    tried,
)

BALANCE: dict[str, Any] = {
    "type": "policy",
    "payload": {"text": "Be kind."},
    "electorate": "balance:bank",
}
HOLDINGS = [
    ["cora", "100", 0, 0, 0],
    ["carl", 0, "30", "200000", "0.1"],
    ["tara", "10.5", "1", "20000.5", 0],
    ["stan", "0.000000000000000001", 0, 0, "0.333333333333333333"],
    ["sam", 0, 0, 0, 0],
    ["nobody", 1_000_000, 0, 0, 0],
]
"""Member, coins, minutes, tokens, usd."""


def report(house: House, holdings: object = None, *, source: str = "bank") -> None:
    house.do(
        "members.report_holdings",
        "cora",
        source=source,
        holdings=HOLDINGS if holdings is None else holdings,
    )


def weights(house: House, proposal: str) -> dict[str, Fraction]:
    """The roll of an opened proposal."""
    rows = house.sql(
        "SELECT member_id, weight FROM imported_weights WHERE electorate_id = %s",
        house.column(proposal, "electorate"),
    )
    return {member: Fraction(weight) for member, weight in rows}


def formula(coins: object, minutes: object, tokens: object, usd: object) -> Fraction:
    """The second seed's, in the plainest words."""
    c, m, t, u = (parse_decimal(amount) for amount in (coins, minutes, tokens, usd))
    return Fraction(7, 10) * c + Fraction(3, 10) * max(m, t / 10_000, u * 100)


def holds_true(house: House) -> None:
    """INV-44: the ledger tells it all again."""
    rows = house.derived_rows()
    house.refold()
    assert house.derived_rows() == rows


# The formula


def test_a_roll_weighs_coins_and_the_best_of_what_was_donated(full_house):
    """INV-12: exactly, for everybody whom the source and the house both know."""
    report(full_house)
    proposal = full_house.open("carl", **BALANCE)

    expected = {member: formula(*amounts) for member, *amounts in HOLDINGS}
    known = {member: expected[member] for member in ("cora", "carl", "tara", "stan")}
    assert weights(full_house, proposal) == known
    assert known["cora"] == 70
    assert known["carl"] == 9  # thirty minutes are more than twenty, or ten
    assert Fraction(full_house.column(proposal, "eligible_weight")) == sum(known.values())
    assert full_house.column(proposal, "eligible_members") == 4
    holds_true(full_house)


@pytest.mark.parametrize(
    ("amounts", "weight"),
    [
        ((1, 0, 0, 0), "0.7"),
        ((0, 1, 0, 0), "0.3"),
        ((0, 0, 10_000, 0), "0.3"),
        ((0, 0, 1, 0), "0.00003"),
        ((0, 0, 0, "0.01"), "0.3"),
        ((0, 2, 10_000, "0.01"), "0.6"),
        ((0, 1, 20_000, "0.01"), "0.6"),
        ((0, 1, 10_000, "0.02"), "0.6"),
        ((10, 10, 100_000, "0.1"), "10"),
        (("1" * 20 + "." + "1" * 20, 0, 0, 0), "7" * 19 + "." + "7" * 21),
    ],
)
def test_each_measure_has_its_worth(full_house, amounts, weight):
    report(full_house, [["stan", *amounts]])
    proposal = full_house.open("carl", **BALANCE)

    assert weights(full_house, proposal) == {"stan": parse_decimal(weight)}


def test_the_share_of_the_coins_is_a_rule(full_house):
    report(full_house)
    before = full_house.open("carl", **BALANCE, voting_hours=10_000)
    done(full_house, **setting("balance.coin_share", "0.25", "governance_rule").given)
    after = full_house.open("carl", **BALANCE)

    assert weights(full_house, before)["cora"] == 70
    assert weights(full_house, after)["cora"] == 25
    assert weights(full_house, after)["carl"] == parse_decimal("22.5")
    holds_true(full_house)


# The roll


def test_a_roll_is_made_at_opening_and_shared_until_something_changes(full_house):
    report(full_house)
    draft = full_house.propose("carl", **BALANCE)
    report(full_house, [["cora", 1, 0, 0, 0]])
    full_house.do("proposals.activate", "carl", proposal_id=draft)
    same = full_house.open("carl", **BALANCE)

    assert weights(full_house, draft)["cora"] == parse_decimal("0.7")
    assert full_house.column(draft, "electorate") == full_house.column(same, "electorate")
    assert full_house.one("SELECT count(*) FROM imported_electorates") == 1
    assert len(full_house.entries("electorate.materialised")) == 1


def test_what_a_source_reports_later_changes_no_open_voting(full_house):
    """INV-09, INV-17: neither weights nor the base of the quorum."""
    report(full_house)
    proposal = full_house.open("carl", **BALANCE)
    image, before = full_house.image(proposal), weights(full_house, proposal)

    report(full_house, [["cora", 1_000_000, 0, 0, 0], ["sam", 5, 0, 0, 0]])
    later = full_house.open("carl", **BALANCE)

    assert (full_house.image(proposal), weights(full_house, proposal)) == (image, before)
    assert weights(full_house, later)["cora"] == 700_000
    assert weights(full_house, later)["carl"] == 9  # what was not named again stays
    assert full_house.vote(proposal, "sam", "for").code == "VOTER_NOT_IN_ROLL"
    assert full_house.vote(later, "sam", "for").code is None


def test_a_roll_is_sealed_with_the_hash_of_its_members_and_weights(full_house):
    report(full_house)
    proposal = full_house.open("carl", **BALANCE)
    electorate = full_house.column(proposal, "electorate")

    roll = full_house.sql(
        'SELECT member_id, weight FROM imported_weights ORDER BY member_id COLLATE "C"'
    )
    digest, sealed = full_house.sql("SELECT digest, sealed_at FROM imported_electorates")[0]
    assert digest == roll_digest(roll)
    assert sealed is not None
    assert electorate.startswith("balance:bank@1.")
    (entry,) = full_house.entries("electorate.materialised")
    assert (entry["actor"], entry["data"]["digest"]) == ("rule:electorate", digest)
    given = {"electorate": electorate, "roll": [["sam", "9"]], "last": True}
    assert full_house.command("members.import_electorate", "cora", given).code == "ID_INVALID"


def test_whoever_weighs_nothing_or_is_quarantined_or_unknown_is_in_no_roll(full_house):
    """INV-07, INV-20."""
    done(full_house, **level("stan", "STANDARD", "QUARANTINE").given)
    report(full_house)
    proposal = full_house.open("carl", **BALANCE)

    assert set(weights(full_house, proposal)) == {"cora", "carl", "tara"}
    assert full_house.vote(proposal, "sam", "for").code == "VOTER_NOT_IN_ROLL"
    assert full_house.vote(proposal, "stan", "for").code == "MEMBER_QUARANTINED"
    assert full_house.vote(proposal, "nobody", "for").code is not None
    assert full_house.vote(proposal, "gus", "for").code == "VOTER_NOT_IN_ROLL"
    assert full_house.one("SELECT count(*) FROM ballot_inbox") == 0


def test_a_level_that_changes_makes_another_roll_for_what_opens_then(full_house):
    report(full_house)
    before = full_house.open("carl", **BALANCE, voting_hours=10_000)
    done(full_house, **level("cora", "CORE", "QUARANTINE", "tara").given)
    house_after = full_house.open("carl", **BALANCE)

    assert "cora" in weights(full_house, before)
    assert "cora" not in weights(full_house, house_after)


def test_ballots_weigh_by_balance_and_decide(full_house):
    """Three quarters of the coins against everybody else."""
    report(full_house, [["sam", 300, 0, 0, 0], ["cora", 50, 0, 0, 0], ["carl", 50, 0, 0, 0]])
    proposal = full_house.open("carl", **BALANCE)
    for member, choice in (("sam", "for"), ("cora", "against"), ("carl", "against")):
        assert full_house.vote(proposal, member, choice).code is None
    full_house.end_voting(proposal)
    full_house.settle()

    totals = full_house.column(proposal, "decision")["totals"]
    assert (totals["for"], totals["against"], totals["eligible"]) == ("210", "70", "280")
    assert full_house.status(proposal) == "executed"
    holds_true(full_house)
    full_house.seal()
    assert full_house.verify() == []


def test_a_roll_in_which_nobody_weighs_anything_approves_nothing(full_house):
    """INV-15."""
    report(full_house, [["sam", 0, 0, 0, 0]])
    proposal = full_house.open("carl", **BALANCE)
    assert full_house.column(proposal, "eligible_weight") == 0

    full_house.end_voting(proposal)

    assert full_house.status(proposal) == "rejected"


# No voter states their own, and no proposer picks who votes


@pytest.mark.parametrize("key", ["weight", "balance", "roll", "holdings", "voting_power"])
def test_no_caller_states_a_weight(full_house, key):
    report(full_house)
    answer = tried(full_house, **BALANCE, **{key: "1000000"})
    assert answer.code == "COMMAND_UNKNOWN_KEY"


def test_a_weight_beside_a_ballot_is_not_looked_at(full_house):
    report(full_house)
    proposal = full_house.open("carl", **BALANCE)
    ballot = {
        "command_id": "00000000-0000-7000-8000-000000000001",
        "proposal_id": proposal,
        "member_id": "stan",
        "choice": "for",
        "weight": "1000000",
    }
    full_house.vote_many([ballot])
    full_house.perform("votes.count")

    assert (
        full_house.one("SELECT weight FROM effective_ballots")
        == weights(full_house, proposal)["stan"]
    )


def test_what_changes_something_is_voted_on_by_trust_unless_a_rule_allows_otherwise(full_house):
    """Who chooses the voters chooses the outcome."""
    report(full_house)
    given = {**setting("rate_limit.CORE", 7).given, "electorate": "balance:bank"}
    assert tried(full_house, **given).code == "ELECTORATE_NOT_ALLOWED"

    allowed = done(full_house, **setting("electorate.configuration", True, "governance_rule").given)
    draft = full_house.propose("carl", **given)

    assert full_house.status(allowed) == "executed"
    other = {**setting("track.routine.quorum", "0.4", "governance_rule").given}
    assert tried(full_house, **other, electorate="balance:bank").code == "ELECTORATE_NOT_ALLOWED"
    full_house.do("proposals.activate", "carl", proposal_id=draft)
    assert full_house.column(draft, "weights") is None


# Reports


@pytest.mark.parametrize(
    ("holdings", "code"),
    [
        ([["sam", -1, 0, 0, 0]], "NUMBER_INVALID"),
        ([["sam", 0, 0, 0, "-0.01"]], "NUMBER_INVALID"),
        ([["sam", "NaN", 0, 0, 0]], "NUMBER_INVALID"),
        ([["sam", "Infinity", 0, 0, 0]], "NUMBER_INVALID"),
        ([["sam", 1.5, 0, 0, 0]], "NUMBER_INVALID"),
        ([["sam", True, 0, 0, 0]], "NUMBER_INVALID"),
        ([["sam", "1" * 41, 0, 0, 0]], "NUMBER_INVALID"),
        ([["sam", 1, 0, 0]], "PAYLOAD_WRONG_TYPE"),
        ([["sam", 1, 0, 0, 0, 0]], "PAYLOAD_WRONG_TYPE"),
        ([{"member": "sam"}], "PAYLOAD_WRONG_TYPE"),
        ([], "PAYLOAD_WRONG_TYPE"),
        ("sam", "PAYLOAD_WRONG_TYPE"),
        ([["no spaces", 1, 0, 0, 0]], "ID_INVALID"),
        ([["sam", 1, 0, 0, 0], ["sam", 2, 0, 0, 0]], "MEMBER_TWICE"),
    ],
)
def test_a_report_is_exact_and_names_each_member_once(full_house, holdings, code):
    given = {"source": "bank", "holdings": holdings}
    assert full_house.command("members.report_holdings", "cora", given).code == code
    assert full_house.one("SELECT count(*) FROM holdings") == 0


def test_a_report_is_entered_by_an_admin(full_house):
    given = {"source": "bank", "holdings": HOLDINGS}
    for actor in ("carl", "gus", "otto"):
        answer = full_house.command("members.report_holdings", actor, given)
        assert answer.code == "POWER_MISSING"


def test_a_balance_needs_a_source_that_has_reported(full_house):
    assert tried(full_house, **BALANCE).code == "HOLDINGS_UNKNOWN"
    report(full_house, source="other")
    assert tried(full_house, **BALANCE).code == "HOLDINGS_UNKNOWN"
    assert tried(full_house, **{**BALANCE, "electorate": "balance:other"}).state == "done"
    assert tried(full_house, **{**BALANCE, "electorate": "balance:"}).code == "ID_INVALID"


@pytest.fixture
def production_house(servers: TestServers) -> Iterator[House]:
    with full_production(servers) as house:
        yield house


def test_outside_a_sandbox_holdings_come_from_a_registered_source(production_house):
    house = production_house
    given = {"source": "bank", "holdings": HOLDINGS}
    assert house.command("members.report_holdings", "cora", given).code == "SOURCE_UNKNOWN"
    assert tried(house, **BALANCE).code == "SOURCE_UNKNOWN"
    roll = {"electorate": "coins", "roll": [["sam", "9"]], "last": True, "source": "bank"}
    assert house.command("members.import_electorate", "cora", roll).code == "SOURCE_UNKNOWN"

    play(house, SOURCE)
    report(house)
    proposal = house.open("carl", **BALANCE)

    assert weights(house, proposal)["cora"] == 70
    assert house.command("members.import_electorate", "cora", roll).code is None
    holds_true(house)
