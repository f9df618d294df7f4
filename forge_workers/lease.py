"""One lease, and how it is written where questions are answered: short, and the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

# Times in milliseconds, rounded up: what ends must not end early.
PACKED: Final = """
    SELECT kind || '|' || subject AS field,
        concat_ws('|', verdict,
            coalesce(CAST(CAST(ceil(1000 * extract(epoch FROM until_at)) AS bigint) AS text), ''),
            CAST(ceil(1000 * extract(epoch FROM since)) AS bigint)
        ) AS value,
        until_at
    FROM forge_leases()
"""

_BEGAN: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Lease:
    """What is not simply allowed. Without ``until`` it ends when somebody ends it.

    ``verdict``: of an address blocked; of an overlay quarantined, probation, held or throttled; of
    a member restricted.
    """

    kind: str
    subject: str
    verdict: str
    until: datetime | None
    since: datetime

    @classmethod
    def unpacked(cls, kind: str, subject: str, value: str) -> Self:
        """From the ``value`` of `PACKED`."""
        verdict, until, since = value.split("|")
        return cls(kind, subject, verdict, _moment(until) if until else None, _moment(since))

    @property
    def since_ms(self) -> int:
        """As packed."""
        return (self.since - _BEGAN) // timedelta(milliseconds=1)


def _moment(millis: str) -> datetime:
    return _BEGAN + timedelta(milliseconds=int(millis))
