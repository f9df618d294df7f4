"""Sources that governance registered: they may admit members at STANDARD and report holdings."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.clock import is_sandbox
from forge_core.errors import Refused

_SOURCE = text("SELECT name FROM extensions WHERE kind = 'source' AND name = :name")


def is_source(session: Session, name: str) -> bool:
    """Whether governance registered a source of that name."""
    return session.execute(_SOURCE, {"name": name}).scalar_one_or_none() is not None


def require_source(session: Session, name: str) -> None:
    """``SOURCE_UNKNOWN`` unless governance registered that source; a sandbox takes any."""
    if not is_sandbox(session) and not is_source(session, name):
        raise Refused(
            "SOURCE_UNKNOWN",
            f"{name!r} is no registered source; a registry_extension of kind source adds one",
        )
