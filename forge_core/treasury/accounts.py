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

# One proposal may pay an account several times; what comes in is there before anything goes out.
TRANSFERRED = EntryKind.of(
    "treasury.transferred",
    """
    INSERT INTO accounts (id, balance)
    SELECT data ->> 'to', sum((data ->> 'amount')::numeric) FROM forge_entries(:ids) GROUP BY 1
    ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance
    """,
    """
    UPDATE accounts SET balance = balance - paid.amount
    FROM (
        SELECT data ->> 'from' AS id, sum((data ->> 'amount')::numeric) AS amount
        FROM forge_entries(:ids) GROUP BY 1
    ) AS paid
    WHERE accounts.id = paid.id
    """,
    together=True,
)

_BALANCE = text("SELECT balance FROM accounts WHERE id = :id")


def balance(session: Session, account: str) -> Fraction:
    """What an account holds now; one that never had anything holds 0."""
    return Fraction(session.execute(_BALANCE, {"id": account}).scalar_one_or_none() or 0)
