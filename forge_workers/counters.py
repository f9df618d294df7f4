"""The way to the Valkey of the counters: 0.2 s at most, then it is left alone for 2 s.

What is kept there may be lost at any time, so that whoever asks has another answer ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import redis
import structlog
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from forge_core.errors import Unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

PATIENCE: Final = 0.2
SILENCE: Final = 2.0
_LUA: Final = Path(__file__).parent / "lua"


class Counters:
    """One process's connections. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )
        self._silent_until = 0.0

    @property
    def pool(self) -> redis.ConnectionPool:
        """Its connections, for a library that asks for itself."""
        return self._client.connection_pool

    def script(self, name: str) -> Script:
        """``lua/NAME.lua``; a server that does not know it yet is told."""
        return self._client.register_script((_LUA / f"{name}.lua").read_text(encoding="utf-8"))

    def ask(self, asking: Callable[[redis.Redis], T]) -> T:
        """``Unavailable`` when it does not answer, and at once while it is left alone."""
        if time.monotonic() < self._silent_until:
            raise Unavailable("the counters' Valkey did not answer a moment ago")
        try:
            return asking(self._client)
        except redis.RedisError as error:
            self._silent_until = time.monotonic() + SILENCE
            log.warning("counters.away", error=type(error).__name__)
            raise Unavailable("the counters' Valkey does not answer; is it running?") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
