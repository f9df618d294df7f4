"""Treasury allocations: from the treasury to an account, and back by a compensating transfer."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from forge_core.actions.fields import TEXT_MOST, amount_field, id_field, text_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.errors import Refused
from forge_core.exact import to_decimal_string
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel
from forge_core.treasury.accounts import TRANSFERRED, TREASURY, balance


class Allocate(Action):
    """Pay an amount (exact, above 0) from the treasury to a recipient."""

    TEXTS = ("purpose",)

    recipient: Annotated[str, id_field("recipient")]
    amount: Annotated[str, amount_field("amount")]
    purpose: Annotated[str | None, text_field("purpose", TEXT_MOST)] = None


def _check(_catalogue: object, action: Allocate) -> Allocate:
    if action.recipient == TREASURY:
        raise Refused("NO_CHANGE", "the treasury cannot pay itself; name another recipient")
    return action


def _plan(present: Present, action: Allocate, frame: Frame) -> Planned:
    return _transfer(present, frame, action.amount, giver=TREASURY, taker=action.recipient)


def _undo(present: Present, effect: Effect, frame: Frame) -> Planned:
    """The same amount back. What others paid the recipient since stays, so no value is compared."""
    amount, recipient = effect.way_back["amount"], effect.way_back["recipient"]
    return _transfer(present, frame, amount, giver=recipient, taker=TREASURY)


def _transfer(present: Present, frame: Frame, amount: str, *, giver: str, taker: str) -> Planned:
    before = {account: _balance(present, account) for account in (TREASURY, giver, taker)}
    exact = Fraction(amount)
    if exact > before[giver]:
        raise Refused(
            "INSUFFICIENT_BALANCE",
            f"{giver} holds {to_decimal_string(before[giver])}, less than {amount}",
        )
    after = {**before, giver: before[giver] - exact, taker: before[taker] + exact}
    for account, amount_now in after.items():
        present.write(f"account:{account}", amount_now)
    data = {"from": giver, "to": taker, "amount": amount, "proposal": frame.proposal}
    return Planned(
        target="treasury",
        before=_shown(before),
        after=_shown(after),
        entries=(Entry(TRANSFERRED, frame.at, frame.proposer, frame.proposal, data),),
        way_back={"amount": amount, "recipient": taker if giver == TREASURY else giver},
    )


def _balance(present: Present, account: str) -> Fraction:
    return present.read(f"account:{account}", lambda session: balance(session, account))


def _shown(balances: dict[str, Fraction]) -> dict[str, str]:
    return {account: to_decimal_string(amount) for account, amount in balances.items()}


KIND = ActionKind(
    name="treasury_allocation",
    trust=TrustLevel.TRUSTED,
    model=Allocate,
    touches=lambda *_: CapabilityClass.TREASURY,
    target=lambda _: "treasury",
    plan=_plan,
    undo=_undo,
    check=_check,
    repeats=True,
)
