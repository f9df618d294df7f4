"""``track.<name>.<threshold>``: the thresholds of each track, as registered values.

Defaults are design section 8's table (routine: Forge seed; protected: XAI seed). A threshold
that the table leaves out for a track has no key there. Durations are in hours, shares are
fractions of one.
"""

from __future__ import annotations

from typing import Final

from forge_core.capabilities.declaration import Capability, CapabilityClass, Order, Value, ValueType

_DAY: Final = 24
_SHARE: Final = (0, 1)

_DESCRIPTIONS: Final[dict[str, tuple[ValueType, str]]] = {
    "voting_hours": ("integer", "hours a voting is open unless the proposer says otherwise"),
    "voting_hours_least": ("integer", "fewest hours a proposer may choose"),
    "quorum": ("decimal", "least share of the eligible weight that takes part"),
    "approval": ("decimal", "least share of the decided weight that is for"),
    "tie_passes": ("boolean", "whether exactly the approval share is enough"),
    "min_yes_voters": ("integer", "fewest distinct members who vote for"),
    "max_yes_share": ("decimal", "largest share of the weight for that one member may hold"),
    "reviewers": ("integer", "code reviewers who must have answered"),
    "review_approval": ("decimal", "least share of the reviewers who approve"),
    "sign_off": ("decimal", "least share of the original yes-voters who sign off"),
    "timelock_hours": ("integer", "hours between approval and execution"),
    "timelock_parameter_hours": ("integer", "the same, where a parameter changes"),
    "grace_hours": ("integer", "hours after the timelock in which execution is possible"),
    "draft_lifetime_hours": ("integer", "hours after which an unopened draft expires"),
    "gate_lifetime_hours": ("integer", "hours an approval waits for review and sign-off"),
}

# threshold -> (default, least, most); a boolean has no bounds
_Row = tuple[Value, int | str | None, int | str | None]

_COMMON: Final[dict[str, _Row]] = {
    "quorum": ("0.3", *_SHARE),
    "tie_passes": (True, None, None),
    "draft_lifetime_hours": (30 * _DAY, 1, 365 * _DAY),
}

_TRACKS: Final[dict[str, dict[str, _Row]]] = {
    "routine": {
        "voting_hours": (72, 1, 168),
        "voting_hours_least": (1, 1, 168),
        "approval": ("0.5", "0.5", "0.9"),
        "min_yes_voters": (1, 1, 1_000),
        "timelock_hours": (0, 0, 30 * _DAY),
        "grace_hours": (14 * _DAY, _DAY, 90 * _DAY),
    },
    "protected": {
        "voting_hours": (72, 1, 168),
        "voting_hours_least": (72, 1, 168),
        "approval": ("0.66", "0.51", "0.9"),
        "min_yes_voters": (5, 2, 1_000),
        "max_yes_share": ("0.2", "0.01", 1),
        "reviewers": (5, 1, 100),
        "review_approval": ("0.66", "0.51", 1),
        "sign_off": ("0.5", *_SHARE),
        "timelock_hours": (7 * _DAY, _DAY, 90 * _DAY),
        "timelock_parameter_hours": (14 * _DAY, _DAY, 90 * _DAY),
        "grace_hours": (14 * _DAY, _DAY, 90 * _DAY),
        "gate_lifetime_hours": (30 * _DAY, _DAY, 365 * _DAY),
    },
    "emergency": {
        # An emergency voting lasts four hours: neither a proposer nor a rule makes it another.
        "voting_hours": (4, 4, 4),
        "voting_hours_least": (4, 4, 4),
        "approval": ("0.66", "0.51", "0.9"),
        "min_yes_voters": (5, 2, 1_000),
        "max_yes_share": ("0.2", "0.01", 1),
        "timelock_hours": (_DAY, 1, 7 * _DAY),
        "grace_hours": (2 * _DAY, 1, 14 * _DAY),
    },
}


def _declare(track: str, threshold: str, row: _Row) -> Capability:
    type_, description = _DESCRIPTIONS[threshold]
    default, least, most = row
    return Capability(
        key=f"track.{track}.{threshold}",
        klass=CapabilityClass.RULE,
        description=f"{track} track: {description}",
        type=type_,
        default=default,
        least=least,
        most=most,
    )


CAPABILITIES: Final = tuple(
    _declare(track, threshold, rows[threshold])
    for track, own in _TRACKS.items()
    for rows in ({**_COMMON, **own},)
    for threshold in _DESCRIPTIONS
    if threshold in rows
)

ORDERS: Final = tuple(
    Order(f"track.{track}.voting_hours_least", f"track.{track}.voting_hours") for track in _TRACKS
)
