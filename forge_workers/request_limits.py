"""Limits on requests, for gateways: so many a minute for each member.

Counted in Valkey by the ``limits`` library over a sliding window: one that begins anew every minute
would let twice as many through around each edge. It keeps no count of what it refuses, and a
member who asks ten times too often should show; so used and refused are counted here, by the
minute, to be published as ``api.request_window``.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from forge_core.errors import Unavailable
from forge_workers.counters import Counters

PREFIX: Final = "forge:requests"
KEPT: Final = 10
"""Minutes for which nobody has asked are forgotten after so many."""


@dataclass
class RequestWindow:
    """One minute of a member's requests: the data of an ``api.request_window``."""

    minute: datetime
    member: str
    limit: int = 0
    used: int = 0
    refused: int = 0


class RequestLimits:
    """Thread-safe; ``close`` it.

    While Valkey is away each process counts for itself: a member may then have the limit once at
    each gateway, but no gateway is a way around it.
    """

    def __init__(self, url: str) -> None:
        self._counters = Counters(url)
        self._script = self._counters.script("requests")
        self._shared = SlidingWindowCounterRateLimiter(
            RedisStorage(url, connection_pool=self._counters.pool, key_prefix=PREFIX)
        )
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._lock = threading.Lock()
        self._noted: dict[tuple[int, str], RequestWindow] = {}

    def close(self) -> None:
        """Close the connections."""
        self._counters.close()

    def hit(self, member: str, allowed: int) -> bool:
        """Count a request; whether it is one of the ``allowed`` a minute."""
        item = RateLimitItemPerMinute(allowed)
        try:
            admitted = self._counters.ask(lambda _: self._shared.hit(item, member))
        except Unavailable:
            admitted = self._own.hit(item, member)
        given = ("count", KEPT, member, allowed, 0 if admitted else 1)
        try:
            self._counters.ask(lambda _: self._script((PREFIX,), given))
        except Unavailable:
            self._note(member, allowed, admitted=admitted)
        return admitted

    def finished_windows(self) -> list[RequestWindow]:
        """The minutes that are over, each member's once, whichever gateway asks.

        They are forgotten with the answer: who ends before publishing them has lost them.
        """
        found: dict[tuple[int, str], RequestWindow] = {}
        with suppress(Unavailable):
            given = ("finished", KEPT)
            minutes: list[list[str]] = self._counters.ask(lambda _: self._script((PREFIX,), given))
            for minute, *held in minutes:
                for name, value in zip(held[::2], held[1::2], strict=True):
                    what, _, member = name.partition("|")
                    setattr(_window(found, int(minute), member), what, int(value))
        with self._lock:
            for key in [key for key in self._noted if key[0] < _minute()]:
                own, window = self._noted.pop(key), _window(found, *key)
                window.limit = own.limit
                window.used += own.used
                window.refused += own.refused
        return list(found.values())

    def _note(self, member: str, allowed: int, *, admitted: bool) -> None:
        minute = _minute()
        with self._lock:
            while self._noted and next(iter(self._noted))[0] < minute - KEPT:
                del self._noted[next(iter(self._noted))]
            window = _window(self._noted, minute, member)
            window.limit = allowed
            window.used += admitted
            window.refused += not admitted


def _minute() -> int:
    return int(time.time()) // 60


def _window(among: dict[tuple[int, str], RequestWindow], minute: int, member: str) -> RequestWindow:
    at = datetime.fromtimestamp(60 * minute, UTC)
    return among.setdefault((minute, member), RequestWindow(at, member))
