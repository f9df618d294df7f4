"""Logs of the worker processes: one readable line an event, static names, values as keywords.

A wake-up a second a queue is no news: Celery's own "received" and "succeeded" lines are shown
only at DEBUG. Identifiers are logged, never texts, payloads or addresses.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from celery.signals import setup_logging

CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "httpx2", "anthropic")

_SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=True),
)


def configure(level: int = logging.INFO) -> None:
    """Send structlog's and every library's lines to standard error, in one form."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer(colors=False, pad_event_to=24, sort_keys=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


@setup_logging.connect
def _configure(loglevel: int | None = None, **_: Any) -> None:
    """Celery asks whoever listens here and leaves logging alone then."""
    configure(loglevel if isinstance(loglevel, int) else logging.INFO)
