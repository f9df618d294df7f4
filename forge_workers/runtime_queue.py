"""The queue of runtime events as its consumers take from it.

kombu pops a message and notes it as unacknowledged afterwards: who is killed in between has lost
it. Here one script does both, and what a dead consumer had taken goes back into the queue itself,
whatever is bound to the exchange by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from forge_core.errors import Misconfigured

QUEUE: Final = "forge.runtime"
TAKEN: Final = "forge.runtime.taken"
TAKEN_AT: Final = "forge.runtime.taken_at"

VISIBILITY: Final = 10
"""Seconds after which a taken message is given to another; being recorded twice is harmless."""
BYTES_AT_ONCE: Final = 400_000
GIVEN_BACK_AT_ONCE: Final = 100
PATIENCE: Final = 5.0
"""Seconds that one answer of the broker may take."""

# The server's clock, so that consumers need not agree about the time. A script is not undone where
# it fails: keys of another type must be noticed before the first message is popped.
_TAKE = """
    redis.call('HLEN', KEYS[2])
    redis.call('ZCARD', KEYS[3])
    local now, size, taken = redis.call('TIME')[1], 0, {}
    while #taken < tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
        local message = redis.call('RPOP', KEYS[1])
        if not message then break end
        local tag = ARGV[1] .. #taken
        redis.call('HSET', KEYS[2], tag, message)
        redis.call('ZADD', KEYS[3], now, tag)
        size = size + #message
        taken[#taken + 1] = message
    end
    return taken
"""
_GIVE_BACK = """
    redis.call('LLEN', KEYS[1])
    redis.call('HLEN', KEYS[2])
    local until_ = redis.call('TIME')[1] - ARGV[1]
    local tags = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', until_, 'LIMIT', 0, ARGV[2])
    for number = 3, #ARGV do tags[#tags + 1] = ARGV[number] end
    for _, tag in ipairs(tags) do
        local message = redis.call('HGET', KEYS[2], tag)
        if message then redis.call('RPUSH', KEYS[1], message) end
        redis.call('HDEL', KEYS[2], tag)
        redis.call('ZREM', KEYS[3], tag)
    end
    return #tags
"""
_KEYS = (QUEUE, TAKEN, TAKEN_AT)
_TYPES = dict(zip(_KEYS, (b"list", b"hash", b"zset"), strict=True))


class Taken(NamedTuple):
    """A message as it stood in the queue, and the name under which it is given back or done."""

    tag: str
    message: bytes


class RuntimeQueue:
    """One consumer's hold on the queue. Raises ``RedisError`` whenever the broker fails."""

    def __init__(self, broker_url: str) -> None:
        if urlsplit(broker_url).scheme not in {"redis", "rediss"}:
            raise Misconfigured("runtime events need a broker whose URL begins with redis://")
        self._client = redis.Redis.from_url(
            broker_url,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            socket_keepalive=True,
            # A script that is sent again after it was carried out would take other messages.
            retry=Retry(NoBackoff(), 0),
        )
        self._take: Any = self._client.register_script(_TAKE)
        self._give_back: Any = self._client.register_script(_GIVE_BACK)

    def take(self, most: int) -> list[Taken]:
        """The oldest messages, as many as there are, up to ``most`` and about 400 kB."""
        prefix = f"{uuid4().hex}:"
        given = self._take(keys=_KEYS, args=[prefix, most, BYTES_AT_ONCE])
        return [Taken(f"{prefix}{number}", message) for number, message in enumerate(given)]

    def wait(self, seconds: float) -> None:
        """Return when there is a message, or after so many seconds (more than none)."""
        # From the end to the same end: it leaves the list as it is, and waits while it is empty.
        self._client.blmove(QUEUE, QUEUE, max(seconds, 0.001), "RIGHT", "RIGHT")  # type: ignore[arg-type]  # fractions too

    def done(self, taken: Sequence[Taken]) -> None:
        """Forget messages whose events are recorded."""
        tags = [one.tag for one in taken]
        with self._client.pipeline() as pipe:
            pipe.zrem(TAKEN_AT, *tags)
            pipe.hdel(TAKEN, *tags)
            pipe.execute()

    def give_back(self, taken: Sequence[Taken] = ()) -> int:
        """Let others have these, and what dead consumers have left; returns the number."""
        tags = [one.tag for one in taken]
        return int(self._give_back(keys=_KEYS, args=[VISIBILITY, GIVEN_BACK_AT_ONCE, *tags]))

    def clear_away(self) -> None:
        """Delete what has the name of a key here and is of another type: it can never be read."""
        for key, type_ in _TYPES.items():
            if self._client.type(key) not in {type_, b"none"}:
                self._client.delete(key)

    def close(self) -> None:
        self._client.close()
