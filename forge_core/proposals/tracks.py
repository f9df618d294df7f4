"""Which track a proposal runs on, and the terms frozen on it when it opens (design section 8).

The track is the strictest class the proposal touches, not what the proposal calls itself.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from forge_core.capabilities.declaration import CapabilityClass, Value
from forge_core.errors import Inconsistent, Refused
from forge_core.exact import parse_decimal, to_decimal_string

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Track(StrEnum):
    """A set of thresholds."""

    ROUTINE = "routine"
    PROTECTED = "protected"
    EMERGENCY = "emergency"


def track_of(classes: Collection[CapabilityClass]) -> Track:
    """Return the track of the strictest class among those that a proposal's actions touch."""
    beyond = set(classes) - {CapabilityClass.ORDINARY}
    if not beyond:
        return Track.ROUTINE
    return Track.EMERGENCY if beyond == {CapabilityClass.EMERGENCY} else Track.PROTECTED


def changes_parameter(classes: Collection[CapabilityClass]) -> bool:
    """Whether a protected parameter changes; those wait under the longer timelock."""
    return bool({CapabilityClass.PROTOCOL, CapabilityClass.RULE} & set(classes))


_SHARES: Final = frozenset({"quorum", "approval", "max_yes_share", "review_approval", "sign_off"})


@dataclass(frozen=True, slots=True)
class Terms:
    """The thresholds a proposal is held to from opening to expiry (INV-17, INV-28).

    Durations in hours, shares exact fractions of one; ``None`` where the track has no such rule.
    """

    track: Track
    voting_hours: int
    quorum: Fraction
    approval: Fraction
    tie_passes: bool
    min_yes_voters: int
    max_yes_share: Fraction | None
    reviewers: int | None
    review_approval: Fraction | None
    sign_off: Fraction | None
    timelock_hours: int
    grace_hours: int
    draft_lifetime_hours: int
    gate_lifetime_hours: int | None

    @property
    def voting(self) -> timedelta:
        """How long ballots are accepted."""
        return timedelta(hours=self.voting_hours)

    @property
    def timelock(self) -> timedelta:
        """From queueing to eta."""
        return timedelta(hours=self.timelock_hours)

    @property
    def grace(self) -> timedelta:
        """From eta to expiry."""
        return timedelta(hours=self.grace_hours)

    @property
    def draft_lifetime(self) -> timedelta:
        """From creation to expiry of what was never opened."""
        return timedelta(hours=self.draft_lifetime_hours)

    @property
    def gate_lifetime(self) -> timedelta | None:
        """From approval to expiry while review or sign-off is incomplete."""
        hours = self.gate_lifetime_hours
        return None if hours is None else timedelta(hours=hours)

    @property
    def gated(self) -> bool:
        """Whether code review or sign-off stands between approval and the queue."""
        return self.reviewers is not None or self.sign_off is not None

    def to_json(self) -> dict[str, Value | None]:
        """Plain JSON values; shares as decimal text."""
        return {
            field.name: _to_json(getattr(self, field.name)) for field in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Terms:
        """Undo ``to_json``. Raises ``Inconsistent`` when ``stored`` was not written by it."""
        try:
            plain: dict[str, Any] = {name: _from_json(name, v) for name, v in stored.items()}
            terms = cls(**plain)
        except (TypeError, ValueError, Refused) as error:
            raise Inconsistent(f"stored terms cannot be read: {error}") from error
        if terms.to_json() != dict(stored):
            raise Inconsistent("stored terms are not in canonical form")
        return terms


def _to_json(value: Any) -> Value | None:
    if isinstance(value, Fraction):
        return to_decimal_string(value)
    return str(value) if isinstance(value, Track) else value


def _from_json(name: str, value: object) -> object:
    if name == "track":
        return Track(str(value))
    return parse_decimal(value, name=name) if name in _SHARES and value is not None else value


def terms_for(
    track: Track,
    values: Mapping[str, Value],
    *,
    voting_hours: int | None = None,
    changes_parameter: bool = False,
) -> Terms:
    """Read the terms of ``track`` from the present values of ``track.<name>.*``.

    ``voting_hours`` is the proposer's choice, already checked; the track's default without one.
    """

    def of(threshold: str) -> Any:
        return values.get(f"track.{track}.{threshold}")

    def share(threshold: str) -> Any:
        value = of(threshold)
        return None if value is None else parse_decimal(value, name=threshold)

    longer = of("timelock_parameter_hours") if changes_parameter else None
    terms = Terms(
        track=track,
        voting_hours=of("voting_hours") if voting_hours is None else voting_hours,
        quorum=share("quorum"),
        approval=share("approval"),
        tie_passes=of("tie_passes"),
        min_yes_voters=of("min_yes_voters"),
        max_yes_share=share("max_yes_share"),
        reviewers=of("reviewers"),
        review_approval=share("review_approval"),
        sign_off=share("sign_off"),
        timelock_hours=of("timelock_hours") if longer is None else longer,
        grace_hours=of("grace_hours"),
        draft_lifetime_hours=of("draft_lifetime_hours"),
        gate_lifetime_hours=of("gate_lifetime_hours"),
    )
    missing = [name for name in _REQUIRED if getattr(terms, name) is None]
    if missing:
        raise Inconsistent(f"track {track} has no value for {', '.join(missing)}")
    return terms


_REQUIRED: Final = (
    "voting_hours",
    "quorum",
    "approval",
    "tie_passes",
    "min_yes_voters",
    "timelock_hours",
    "grace_hours",
    "draft_lifetime_hours",
)
