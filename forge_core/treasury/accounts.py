"""Accounts: deposits into the treasury, and transfers that executed proposals make."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.ledger.entries import EntryKind

TREASURY: Final = "treasury"

DEPOSITED = EntryKind.of(
    "treasury.deposited",
    """
    INSERT INTO accounts (id, balance)
    SELECT 'treasury', (data ->> 'amount')::numeric FROM forge_entries(:ids)
    ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance
    """,
)

TRANSFERRED = EntryKind.of(
    "treasury.transferred",
    """
    UPDATE accounts SET balance = balance - (data ->> 'amount')::numeric
    FROM forge_entries(:ids) AS entry WHERE accounts.id = data ->> 'from'
    """,
    """
    INSERT INTO accounts (id, balance)
    SELECT data ->> 'to', (data ->> 'amount')::numeric FROM forge_entries(:ids)
    ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance
    """,
)

_BALANCE = text("SELECT balance FROM accounts WHERE id = :id")


def balance(session: Session, account: str) -> Fraction:
    """What an account holds now; one that never had anything holds 0."""
    return Fraction(session.execute(_BALANCE, {"id": account}).scalar_one_or_none() or 0)
