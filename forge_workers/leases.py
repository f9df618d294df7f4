"""What is not simply allowed: mirrored into Valkey, and asked about there.

``forge_leases()`` is the truth. A mirror of it answers most questions in one round trip; while it
cannot be used, or cannot be believed, a copy of this process does (``forge_workers.lease_copy``).
When a lease ends is the database's clock to say, whatever other clocks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Any, Final

import redis
import structlog
from sqlalchemy import Engine, text
from sqlalchemy.engine import Row

from forge_core.database import run, transaction
from forge_core.errors import Misconfigured, Unavailable
from forge_core.immune.detectors.addresses import normalised
from forge_core.immune.ladder import CANARIES_MOST, PROBATION_MOST
from forge_core.settings import VARIABLES, Settings
from forge_core.text import require_id
from forge_workers.counters import Counters
from forge_workers.lease import PACKED, Lease
from forge_workers.lease_copy import LeaseCopy, Permits

log = structlog.get_logger(__name__)

MIRROR: Final = "forge:leases"
PERMITS: Final = "forge:permits"
THROTTLE: Final = 10
"""Of a throttled overlay's calls one in so many is let through."""
BELIEVED: Final = timedelta(seconds=30)
"""A mirror that nobody has renewed for so long may lack what has happened since."""

_PIECE: Final = 500
# Long, for what ends soonest is evicted first; it is gone within a moment, unless a worker dies.
_COPY_LIVES: Final = timedelta(hours=2)
_PERMITS_LIVE: Final = PROBATION_MOST + timedelta(minutes=5)
_MILLISECOND: Final = timedelta(milliseconds=1)

_DRAW = text("SELECT nextval('immune_mirror')")
# After the leases were looked at: what is mirrored late ends late, and nothing ends early.
_NOW = text("SELECT CAST(floor(1000 * extract(epoch FROM clock_timestamp())) AS bigint)")
_HASHED = f"""
    SELECT field, value, hashtextextended(field || value, 0) AS hash FROM ({PACKED}) AS lease
"""  # noqa: S608  # made of constants
_LEASES = text(_HASHED)
_DIGEST = text(f"""
    SELECT count(*) AS leases, CAST(coalesce(sum(hash), 0) AS text) AS digest
    FROM ({_HASHED}) AS lease
""")  # noqa: S608  # the same


class Mirror:
    """Brings the leases into Valkey, into a hash without an end: memory runs out around it."""

    def __init__(self, url: str) -> None:
        self._counters = Counters(url)
        self._script = self._counters.script("mirror")

    def close(self) -> None:
        """Close the connections."""
        self._counters.close()

    def sync(self, engine: Engine) -> None:
        """Make the mirror what the database says. Raises ``Unavailable``.

        Safe any number of times and at once: a number is drawn before looking, so that whoever has
        a greater one has looked later, and nobody puts an older view in a newer one's place. The
        database sums up what there is, so that nothing is sent while nothing changes.
        """
        with transaction(engine) as session:
            number = session.execute(_DRAW).scalar_one()
            seen = run(session, _DIGEST)[0]
            now = session.execute(_NOW).scalar_one()
        given = (number, seen.leases, now, seen.digest)
        if self._counters.ask(lambda _: self._script((MIRROR, MIRROR), given)):
            return
        with transaction(engine) as session:
            rows = run(session, _LEASES)
            now = session.execute(_NOW).scalar_one()
        given = (number, len(rows), now, sum(row.hash for row in rows))
        copy = f"{MIRROR}:{number}"
        self._counters.ask(lambda client: self._copy(client, copy, rows))
        if not self._counters.ask(lambda _: self._script((MIRROR, copy), given)):
            raise Unavailable("leases were evicted on their way into the mirror; try again")

    def _copy(self, client: redis.Redis, key: str, rows: Sequence[Row[Any]]) -> None:
        """In pieces, beside the mirror: nobody who asks has to wait for the whole."""
        for start in range(0, len(rows), _PIECE):
            piece = {row.field: row.value for row in rows[start : start + _PIECE]}
            with client.pipeline() as pipe:
                pipe.hset(key, mapping=piece)
                pipe.pexpire(key, _COPY_LIVES)
                pipe.execute()


def mirror_leases(engine: Engine, settings: Settings) -> None:
    """``immune.mirror``. Safe to repeat, at once too: see ``Mirror.sync``.

    While Valkey is away, whoever asks reads the leases in the database.
    """
    try:
        _mirror(settings.redis_url).sync(engine)
    except Unavailable as error:
        log.warning("mirror.unsynced", reason=str(error))


@cache
def _mirror(url: str) -> Mirror:
    return Mirror(url)


class Leases:
    """The questions. Thread-safe; ``close`` it.

    Each raises ``Unavailable`` where neither Valkey nor the database has ever answered.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.redis_url:
            raise Misconfigured(f"who asks about leases needs {VARIABLES['redis_url']}")
        self._counters = Counters(settings.redis_url)
        self._script = self._counters.script("lease")
        self._give_back = self._counters.script("give_back")
        self._copy = LeaseCopy(settings.client_database_url)
        self._permits = Permits(THROTTLE, CANARIES_MOST)

    def close(self) -> None:
        """Close all connections."""
        self._copy.close()
        self._counters.close()

    def is_blocked(self, address: str) -> bool:
        """Whether requests from there are refused. ``Refused`` ADDRESS_INVALID."""
        return self.lease_of_address(address) is not None

    def may_act(self, member: str) -> bool:
        """Whether the member is not restricted."""
        return self.lease_of_member(member) is None

    def may_invoke(self, overlay: str) -> bool:
        """Whether this one call may go ahead: ask for each.

        Of a throttled overlay's calls one in ten may, and in a probation ten of them all.
        """
        lease, permitted = self._ask("overlay", require_id("overlay", overlay), permit=True)
        return lease is None or permitted

    def return_canary(self, overlay: str) -> None:
        """Of a call that was let through and came to nothing elsewhere: another may have its place.

        Without it a probation would wait for calls that were never made.
        """
        lease = self.lease_of_overlay(overlay)
        if lease is None or lease.verdict != "probation":
            return
        self._permits.give_back(lease)
        with suppress(Unavailable):
            key = f"{PERMITS}:{overlay}:{lease.since_ms}"
            self._counters.ask(lambda _: self._give_back((key,)))

    def lease_of_address(self, address: str) -> Lease | None:
        """Why it is blocked, and until when. ``Refused`` ADDRESS_INVALID."""
        return self._ask("address", normalised(address))[0]

    def lease_of_overlay(self, overlay: str) -> Lease | None:
        """How it is contained; this asks for no permit. ``Refused`` ID_INVALID."""
        return self._ask("overlay", require_id("overlay", overlay))[0]

    def lease_of_member(self, member: str) -> Lease | None:
        """Why the member may not act, and until when."""
        return self._ask("member", require_id("member", member))[0]

    def _ask(self, kind: str, subject: str, *, permit: bool = False) -> tuple[Lease | None, bool]:
        """The lease, and whether a call is let through in spite of it."""
        self._copy.keep_warm()
        given = (
            *(f"{kind}|{subject}", BELIEVED // _MILLISECOND),
            *(f"{PERMITS}:{subject}" if permit else "", THROTTLE, CANARIES_MOST),
            _PERMITS_LIVE // _MILLISECOND,
        )
        try:
            answer: list[Any] = self._counters.ask(lambda _: self._script((MIRROR,), given))
        except Unavailable:
            answer = [0]
        match answer:
            case [1]:
                return None, False
            case [1, packed, *permitted]:
                return Lease.unpacked(kind, subject, packed), permitted == [1]
        lease = self._copy.find(kind, subject)
        return lease, permit and lease is not None and self._permits.draw(lease)
