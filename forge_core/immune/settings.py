"""What governance has set about the immune system, as of now."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.immune.rulebook import PREFIX, InForce

_VALUES: Final = text(
    "SELECT key, value FROM setting_values WHERE starts_with(key, :prefix) ORDER BY key"
)


def in_force(session: Session) -> InForce:
    """The rulebook in force."""
    rows = run(session, _VALUES, prefix=PREFIX)
    return _parsed(json.dumps({row.key: row.value for row in rows}))


@lru_cache(maxsize=8)
def _parsed(values: str) -> InForce:
    """Values change once in weeks, and are read with every flush."""
    return InForce.of(json.loads(values))
