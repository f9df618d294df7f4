"""A copy of the leases in this process: what answers while Valkey cannot.

A thread keeps it warm, every 30 s, and every second once it is needed. If the database is away too,
the last copy goes on, and what is in it ends when it would have: nobody is freed early. Time is
measured by a clock that never goes back, from how much was left by the database's own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from math import inf
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from forge_core.database import describe, make_engine, run, transaction
from forge_core.errors import Unavailable
from forge_workers.lease import PACKED, Lease

log = structlog.get_logger(__name__)

WARM: Final = 30.0
FRESH: Final = 1.0
PATIENCE: Final = 0.2
"""So long is waited for a fresh copy while there is an older one."""
PATIENCE_AT_FIRST: Final = 10.0

_LEASES = text(f"""
    SELECT field, value,
        CAST(extract(epoch FROM until_at - clock_timestamp()) AS double precision) AS left
    FROM ({PACKED}) AS lease
""")  # noqa: S608  # made of constants


_Seen = Mapping[str, tuple[str, float]]
"""Each lease as packed, and by the monotonic clock when it ends."""


class LeaseCopy:
    """Thread-safe; ``close`` it. Nothing is read before the first question or ``keep_warm``."""

    def __init__(self, client_database_url: str) -> None:
        self._engine = make_engine(client_database_url, pool_size=1)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._seen: _Seen | None = None
        self._tried_at = -inf
        self._wanted_at: float | None = None
        self._closed = False

    def close(self) -> None:
        """End the thread and close the connection."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._engine.dispose()

    def keep_warm(self) -> None:
        """From now on there is a copy, should one be needed."""
        if self._thread is None:
            with self._changed:
                self._start()

    def find(self, kind: str, subject: str) -> Lease | None:
        """From a copy that is a second old, or as old as it has to be. ``Unavailable``: none."""
        value, ends = self._fresh().get(f"{kind}|{subject}", ("", -inf))
        return Lease.unpacked(kind, subject, value) if time.monotonic() < ends else None

    def _start(self) -> None:
        if self._closed:
            raise Unavailable("this client is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def _fresh(self) -> _Seen:
        with self._changed:
            self._start()
            now = time.monotonic()
            if now - self._tried_at > FRESH:
                if self._wanted_at is None:
                    self._wanted_at = now
                    self._changed.notify_all()
                patience = PATIENCE_AT_FIRST if self._seen is None else PATIENCE
                self._changed.wait_for(
                    lambda: self._wanted_at is None, self._wanted_at + patience - now
                )
            if self._seen is None:
                raise Unavailable("neither Valkey nor the database tells who is blocked")
            return self._seen

    def _run(self) -> None:
        while True:
            seen = self._read()
            with self._changed:
                self._seen = self._seen if seen is None else seen
                self._tried_at = time.monotonic()
                self._wanted_at = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._wanted_at is not None, WARM)
                if self._closed:
                    return

    def _read(self) -> _Seen | None:
        try:
            with transaction(self._engine) as session:
                found = run(session, _LEASES)
        except DBAPIError as error:
            log.warning("leases.unread", error=describe(error))
            return None
        now = time.monotonic()
        return {
            row.field: (row.value, inf if row.left is None else now + row.left) for row in found
        }


class Permits:
    """Which calls of overlays go ahead, as counted by this process alone."""

    def __init__(self, throttle: int, canaries: int) -> None:
        self._throttle = throttle
        self._canaries = canaries
        self._lock = threading.Lock()
        self._drawn: Counter[tuple[str, int]] = Counter()

    def draw(self, lease: Lease) -> bool:
        """Whether this call may go ahead."""
        with self._lock:
            drawn = self._drawn[lease.subject, lease.since_ms]
            if lease.verdict == "throttled":
                permitted = drawn % self._throttle == 0
            else:
                permitted = lease.verdict == "probation" and drawn < self._canaries
            if permitted or lease.verdict == "throttled":
                self._drawn[lease.subject, lease.since_ms] += 1
        return permitted

    def give_back(self, lease: Lease) -> None:
        """A call that was to go ahead did not."""
        with self._lock:
            if self._drawn[lease.subject, lease.since_ms] > 0:
                self._drawn[lease.subject, lease.since_ms] -= 1
