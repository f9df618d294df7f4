"""Every table, as the packages' models declare them.

Who works with rows writes SQL and needs no model, so that a process is up sooner; who verifies the
ledger, rebuilds from it or compares schemas needs them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from sqlalchemy import Table

from forge_core.database import Base, Held

PACKAGES: Final = (
    "access",
    "actions",
    "advisory",
    "capabilities",
    "enforcement",
    "immune",
    "jobs",
    "ledger",
    "members",
    "overlays",
    "proposals",
    "treasury",
    "voting",
)
for _package in PACKAGES:
    import_module(f"forge_core.{_package}.model")

TABLES: Final[tuple[Table, ...]] = tuple(Base.metadata.sorted_tables)
"""Sorted, so that a key comes before its users."""
DERIVED: Final = tuple(table for table in TABLES if table.info["held"] is Held.DERIVED)
