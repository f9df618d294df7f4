"""Durations as people type them: ``14d``, ``36h``, ``90m``, ``30s``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import timedelta

import typer

from forge_core.text import shown

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PARTS = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")


def parse_duration(text: str) -> timedelta:
    """Return the duration; `typer.BadParameter` (wrong usage) when it is none or zero."""
    match = _PARTS.fullmatch(text)
    seconds = 0
    if match is not None:
        seconds = sum(
            int(number or 0) * unit
            for number, unit in zip(match.groups(), _UNITS.values(), strict=True)
        )
    if seconds == 0:
        raise typer.BadParameter(
            f"{shown(text)} is no duration; write days, hours, minutes, seconds in this order, "
            "for example 14d, 36h, 90m, 30s or 1d12h"
        )
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise typer.BadParameter(f"{shown(text)} is longer than any duration") from None
