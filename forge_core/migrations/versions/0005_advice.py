"""Advice on proposals, and finding earlier ones by their words."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A colon in the file is SQL's own, never a parameter."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.execute(text(sql.replace(":", "\\:")))
