"""Checking a proposal as it comes in: everything that can be refused without a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from forge_core.errors import Refused
from forge_core.proposals.payloads import Payload, parse_payload
from forge_core.proposals.tracks import Track, track_of
from forge_core.proposals.types import ProposalType, parse_type
from forge_core.text import require_text, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge_core.capabilities.declaration import Value
    from forge_core.capabilities.registry import Registry

TITLE_MOST: Final = 200
DESCRIPTION_MOST: Final = 10_000
REASON_MOST: Final = 2_000
VOTING_HOURS_MOST: Final = 168
VOTING_HOURS_MOST_LIFTED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal that no rule of form refuses. ``voting_hours`` counts from activation."""

    type: ProposalType
    track: Track
    title: str
    description: str
    reason: str
    payload: Payload
    voting_hours: int


def check_draft(  # noqa: PLR0913  # one keyword for each field a caller fills in
    *,
    type: object,  # noqa: A002  # the field's own name, as the caller writes it
    title: object,
    description: object,
    payload: object,
    registry: Registry,
    values: Mapping[str, Value],
    reason: object = "",
    voting_hours: object = None,
    caps_lifted: bool = False,
) -> Draft:
    """Return the draft, or raise ``Refused`` with what was wrong and what would be right.

    ``values`` are the present values of ``track.*``; without ``voting_hours`` the track's
    default counts. ``caps_lifted`` (a sandbox) allows up to 1,000,000 hours.
    """
    known = parse_type(type)
    title_text = require_text("title", title, least=1, most=TITLE_MOST)
    description_text = require_text("description", description, least=1, most=DESCRIPTION_MOST)
    reason_text = require_text("reason", reason, least=0, most=REASON_MOST)
    parsed = parse_payload(known, payload, registry)
    track = track_of(parsed, registry)
    return Draft(
        type=known,
        track=track,
        title=title_text,
        description=description_text,
        reason=reason_text,
        payload=parsed,
        voting_hours=_check_voting_hours(voting_hours, track, values, caps_lifted=caps_lifted),
    )


def _check_voting_hours(
    hours: object, track: Track, values: Mapping[str, Value], *, caps_lifted: bool
) -> int:
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
