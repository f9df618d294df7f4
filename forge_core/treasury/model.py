"""The accounts: what each holds, never less than nothing."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import CheckConstraint
from sqlalchemy.dialects.postgresql import NUMERIC
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held


class Account(Base, held=Held.DERIVED):
    """The balance of an account; ``treasury`` is the one that proposals pay from."""

    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("balance >= 0", name="balance"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    balance: Mapped[Decimal] = mapped_column(NUMERIC)
