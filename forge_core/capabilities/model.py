"""Tables of what governance has set: present values, policies, extensions, modules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Integer
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
    action: Mapped[int] = mapped_column(Integer, primary_key=True, server_default="0")
    title: Mapped[str]
    text: Mapped[str]
    adopted_at: Mapped[datetime] = mapped_column(TIME)


class Extension(Base, held=Held.DERIVED):
    """What governance added to the declarations of the code; ``declaration`` says what it is."""

    __tablename__ = "extensions"
    __table_args__ = (
        CheckConstraint("kind IN ('parameter', 'feature', 'proposal_type', 'source')", name="kind"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    declaration: Mapped[Any] = mapped_column(JSONB)
    proposal_id: Mapped[str]
    added_at: Mapped[datetime] = mapped_column(TIME)


class Module(Base, held=Held.DERIVED):
    """A target of upgrades: its version and owner, what governance controls, how to roll back."""

    __tablename__ = "modules"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]
    owner: Mapped[str]
    governs: Mapped[str]
    rollback: Mapped[str]
    proposal_id: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(TIME)
