"""The treasury: what comes in, what proposals pay, and that it is never more than there is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import TestServers
from tests.core.factories import House
from tests.core.full_house import (
    BALANCES,
    SOURCE,
    carried,
    done,
    effects,
    full_production,
    play,
    queued,
    ripe,
    undo,
    warned,
)


def deposit(house: House, amount: object, **changes: Any) -> str | None:
    """The code with which it is refused."""
    given = {"source": "bank", "amount": amount} | changes
    return house.command("treasury.deposit", "cora", given).code


def payment(amount: object, recipient: str = "guild") -> dict[str, Any]:
    payload = {"recipient": recipient, "amount": amount}
    return {"type": "treasury_allocation", "payload": payload}


def holds_true(house: House) -> None:
    """INV-44: the ledger tells it all again."""
    rows = house.derived_rows()
    house.refold()
    assert house.derived_rows() == rows


# What comes in


def test_deposits_add_up_exactly(full_house):
    for amount in ("0.1", "0.2", 3, "0." + "0" * 98 + "1"):
        assert deposit(full_house, amount) is None

    balance = full_house.one("SELECT balance::text FROM accounts WHERE id = 'treasury'")
    assert balance == "3.3" + "0" * 97 + "1"
    entries = full_house.entries("treasury.deposited")
    assert [entry["data"]["amount"] for entry in entries[:3]] == ["0.1", "0.2", "3"]
    assert {(entry["actor"], entry["data"]["source"]) for entry in entries} == {("cora", "bank")}
    holds_true(full_house)


@pytest.mark.parametrize(
    ("amount", "changes", "code"),
    [
        (0, {}, "AMOUNT_NOT_POSITIVE"),
        ("0.000", {}, "AMOUNT_NOT_POSITIVE"),
        (-1, {}, "AMOUNT_NOT_POSITIVE"),
        ("-0.01", {}, "AMOUNT_NOT_POSITIVE"),
        (1.5, {}, "NUMBER_INVALID"),
        (True, {}, "NUMBER_INVALID"),
        (None, {}, "NUMBER_INVALID"),
        ("NaN", {}, "NUMBER_INVALID"),
        ("Infinity", {}, "NUMBER_INVALID"),
        ("1" * 101, {}, "NUMBER_INVALID"),
        (1, {"source": "no spaces"}, "ID_INVALID"),
    ],
)
def test_a_deposit_is_an_exact_amount_above_zero(full_house, amount, changes, code):
    assert deposit(full_house, amount, **changes) == code
    assert full_house.sql("SELECT id FROM accounts") == []


@pytest.mark.parametrize("actor", ["carl", "gus", "otto", "tara", "nobody"])
def test_a_deposit_is_entered_by_an_admin(full_house, actor):
    given = {"source": "bank", "amount": 1}
    code = full_house.command("treasury.deposit", actor, given).code
    assert code == ("MEMBER_UNKNOWN" if actor == "nobody" else "POWER_MISSING")


@pytest.fixture
def production_house(servers: TestServers) -> Iterator[House]:
    with full_production(servers) as house:
        yield house


def test_outside_a_sandbox_a_deposit_comes_from_a_registered_source(production_house):
    assert deposit(production_house, 5) == "SOURCE_UNKNOWN"
    play(production_house, SOURCE)

    assert deposit(production_house, 5) is None
    assert deposit(production_house, 5, source="other") == "SOURCE_UNKNOWN"
    assert production_house.sql(BALANCES) == [("treasury", 5)]


# What is paid


def test_an_allocation_is_on_the_protected_track_under_its_shorter_timelock(full_house):
    deposit(full_house, 100)
    proposal = full_house.open("tara", **payment(1))

    assert full_house.column(proposal, "track") == "protected"
    assert full_house.column(proposal, "terms ->> 'timelock_hours'") == "168"


def test_everything_there_is_can_be_paid_and_not_a_grain_more(full_house):
    deposit(full_house, "100.5")
    assert warned(full_house, "tara", **payment("100.500000000000000001")) == "INSUFFICIENT_BALANCE"

    done(full_house, "tara", **payment("100.5"))

    assert full_house.sql(BALANCES) == [("guild", Decimal("100.5"))]
    holds_true(full_house)


def test_of_two_allocations_that_are_too_much_together_the_later_fails(full_house):
    """INV-34: each of them alone would have been possible."""
    deposit(full_house, 100)
    first = queued(full_house, "tara", **payment(60))
    second = queued(full_house, "tara", **payment(41))

    full_house.ripen(first)
    full_house.ripen(second)

    assert full_house.status(first) == "executed"
    assert full_house.column(second, "failure") == "INSUFFICIENT_BALANCE"
    assert full_house.sql(BALANCES) == [("guild", 60), ("treasury", 40)]


def test_two_allocations_that_there_is_enough_for_are_no_rivals(full_house):
    """An amount is compared, and not the balance that somebody saw."""
    deposit(full_house, 100)
    first = queued(full_house, "tara", **payment(60))
    second = queued(full_house, "tara", **payment(40, "school"))
    full_house.ripen(first)
    full_house.ripen(second)

    assert full_house.sql(BALANCES) == [("guild", 60), ("school", 40)]
    assert [e["before"] for e in effects(full_house, second)] == [{"school": "0", "treasury": "40"}]


def test_what_failed_for_want_of_money_is_retried_when_there_is_some(full_house):
    deposit(full_house, 10)
    proposal = carried(full_house, "tara", **payment(11))
    assert full_house.column(proposal, "failure") == "INSUFFICIENT_BALANCE"
    deposit(full_house, 1)

    full_house.do("enforcement.retry", "otto", proposal_id=proposal, reason="there is some now")
    full_house.perform("enforcement.execute")

    assert full_house.status(proposal) == "executed"
    assert full_house.sql(BALANCES) == [("guild", 11)]


def test_several_payments_of_one_proposal_are_all_or_none(full_house):
    """INV-30: the third is too much, and the first two did not happen."""
    deposit(full_house, 100)
    actions = [
        payment(n, to)["payload"] for n, to in ((50, "guild"), (40, "school"), (11, "guild"))
    ]
    proposal = carried(full_house, "tara", type="treasury_allocation", payload={"actions": actions})

    assert full_house.column(proposal, "failure") == "INSUFFICIENT_BALANCE"
    assert full_house.sql(BALANCES) == [("treasury", 100)]
    assert full_house.entries("treasury.transferred") == []


def test_several_payments_to_one_recipient_add_up_and_are_undone_together(full_house):
    """INV-36, INV-44: what one pays is what the others receive."""
    deposit(full_house, 100)
    actions = [
        payment(n, to)["payload"] for n, to in ((50, "guild"), (30, "school"), (20, "guild"))
    ]
    proposal = done(full_house, "tara", type="treasury_allocation", payload={"actions": actions})
    assert full_house.sql(BALANCES) == [("guild", 70), ("school", 30)]

    undo(full_house, proposal, "tara")

    assert full_house.sql(BALANCES) == [("treasury", 100)]
    holds_true(full_house)
    full_house.seal()
    assert full_house.verify() == []


def test_no_coin_is_made_or_lost_whatever_is_paid(full_house):
    deposit(full_house, 100)
    proposals = [done(full_house, "tara", **payment(n, f"a{n % 2}")) for n in (10, 20, 30)]
    undo(full_house, proposals[1], "tara")

    assert full_house.one("SELECT sum(balance) FROM accounts") == 100
    assert full_house.sql(BALANCES) == [("a0", 40), ("treasury", 60)]


def test_deposits_and_payments_at_once_all_count(full_house):
    """They wait for one another at the treasury; none overwrites another."""
    deposit(full_house, 100)
    proposal = queued(full_house, "tara", **payment(30))
    ripe(full_house, proposal)
    for _ in range(10):
        full_house.submit("treasury.deposit", "cora", {"source": "bank", "amount": 1})

    threads = [
        threading.Thread(target=full_house.perform, args=(kind,))
        for kind in ("treasury.deposit", "enforcement.execute", "treasury.deposit")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    full_house.settle()

    assert full_house.status(proposal) == "executed"
    assert full_house.sql(BALANCES) == [("guild", 30), ("treasury", 80)]
