"""Tables, functions, triggers and grants of the pipeline from proposal to executed change."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None

PARTS = ("tables", "functions", "guards", "grants")


def upgrade() -> None:
    """Read the parts in order; a colon in them is SQL's own, never a parameter."""
    for part in PARTS:
        sql = (Path(__file__).parent / f"0001_{part}.sql").read_text(encoding="utf-8")
        op.execute(text(sql.replace(":", "\\:")))
