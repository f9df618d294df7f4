"""Checking what a proposal says of itself: everything that can be refused by its form alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from forge_core.actions.payloads import Payload, parse_payload
from forge_core.errors import Refused
from forge_core.proposals.tracks import Track
from forge_core.text import require_text, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge_core.actions.catalogue import Catalogue
    from forge_core.capabilities.declaration import Value

TITLE_MOST: Final = 200
DESCRIPTION_MOST: Final = 10_000
REASON_MOST: Final = 2_000
VOTING_HOURS_MOST: Final = 168
VOTING_HOURS_MOST_LIFTED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal that no rule of form refuses."""

    title: str
    description: str
    reason: str
    payload: Payload


def check_draft(  # one keyword for each field a caller fills in
    *,
    type: object,  # noqa: A002  # the field's own name, as the caller writes it
    title: object,
    description: object,
    payload: object,
    catalogue: Catalogue,
    reason: object = "",
) -> Draft:
    """Return the draft, or raise ``Refused`` with what was wrong and what would be right."""
    catalogue.kind(type)
    return Draft(
        title=require_text("title", title, least=1, most=TITLE_MOST),
        description=require_text("description", description, least=1, most=DESCRIPTION_MOST),
        reason=require_text("reason", reason, least=0, most=REASON_MOST),
        payload=parse_payload(type, payload, catalogue),
    )


def check_voting_hours(
    hours: object, track: Track, values: Mapping[str, Value], *, caps_lifted: bool
) -> int:
    """Return the hours that voting lasts; without a choice the track's default.

    ``caps_lifted`` (a sandbox) allows up to 1,000,000. Raises ``Refused`` VALUE_TYPE or
    VALUE_OUT_OF_RANGE.
    """
    least = cast("int", values[f"track.{track}.voting_hours_least"])
    default = cast("int", values[f"track.{track}.voting_hours"])
    if hours is None:
        return max(default, least)
    if isinstance(hours, bool) or not isinstance(hours, int):
        raise Refused("VALUE_TYPE", f"voting_hours must be a whole number, not {shown(hours)}")
    most = default if track is Track.EMERGENCY else VOTING_HOURS_MOST
    if caps_lifted:
        most = VOTING_HOURS_MOST_LIFTED
    if not least <= hours <= most:
        raise Refused(
            "VALUE_OUT_OF_RANGE",
            f"voting_hours is {shown(hours)}; the {track} track allows {least:,} to {most:,}",
        )
    return hours
