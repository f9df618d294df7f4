"""Wake-ups: "there is work of this kind", said to the broker after a commit.

Best effort and bounded: at most 0.2 s, then silent for 2 s, and never an error. What a lost
wake-up leaves waiting, the sweep finds within a second or two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import structlog
from celery import Celery

from forge_workers.queues import QUEUE_OF

log = structlog.get_logger(__name__)

PATIENCE = 0.2
SILENCE = 2.0


class Waker:
    """Sends wake-ups over one connection of its own. Safe to share between threads."""

    def __init__(self, app: Celery, *, broker_url: str | None = None) -> None:
        self._app = app
        self._broker_url = broker_url
        self._lock = threading.Lock()
        self._producer: Any = None
        self._silent_until = 0.0

    def wake(self, kinds: Iterable[str]) -> None:
        """One wake-up for each name given; repeat a name for several. Never raises."""
        with self._lock:
            for kind in kinds:
                if time.monotonic() < self._silent_until or not self._send(kind):
                    return

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _send(self, kind: str) -> bool:
        try:
            if self._producer is None:
                connection = self._app.connection_for_write(
                    self._broker_url,
                    connect_timeout=PATIENCE,
                    transport_options={
                        **self._app.conf.broker_transport_options,
                        "socket_timeout": PATIENCE,
                        "socket_connect_timeout": PATIENCE,
                        "max_retries": 0,
                    },
                )
                self._producer = self._app.amqp.Producer(connection.channel(), auto_declare=False)
            self._app.send_task(
                kind, queue=QUEUE_OF[kind], producer=self._producer, retry=False, ignore_result=True
            )
        except Exception as error:  # noqa: BLE001  # a wake-up is never worth an error
            log.warning("wake.failed", kind=kind, error=type(error).__name__)
            self._drop()
            self._silent_until = time.monotonic() + SILENCE
            return False
        return True

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.channel.connection.client.close()
        except Exception as error:  # noqa: BLE001  # it is thrown away either way
            log.debug("wake.close_failed", error=type(error).__name__)
