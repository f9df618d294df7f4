"""A role that only reads, and the tokens that open the gateway."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """A colon in the file is SQL's own, never a parameter."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.execute(text(sql.replace(":", "\\:")))
