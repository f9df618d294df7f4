"""Tables of what governance has set: present values and the register of policies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from forge_core.database import Base, Held

TIME = TIMESTAMP(timezone=True)


class SettingValue(Base, held=Held.DERIVED):
    """The present value of a registered key that was ever changed; others stand at default."""

    __tablename__ = "setting_values"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger)
    proposal_id: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(TIME)


class Policy(Base, held=Held.DERIVED):
    """A policy in force: the text that was voted on, by its commitment."""

    __tablename__ = "policies"

    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    text: Mapped[str]
    adopted_at: Mapped[datetime] = mapped_column(TIME)
