"""The worker's mailbox: it answers what Flower reads and does nothing else.

A command is looked at before Celery does: a regular expression for matching host names, say, can
keep an event loop busy for hours.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery.worker.consumer.control import Control as CeleryControl
from celery.worker.pidbox import Pidbox

from forge_workers.app import READING_COMMANDS

log = structlog.get_logger(__name__)


class Mailbox(Pidbox):
    """Celery's mailbox behind a gate."""

    def on_message(self, body: Any, message: Any) -> None:
        problem = problem_of(body)
        if problem is None:
            super().on_message(body, message)
        else:
            log.warning("control.refused", problem=problem)


class Control(CeleryControl):
    """Celery's step with our mailbox."""

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        box = self.box = Mailbox(consumer)
        self.start, self.stop, self.shutdown = box.start, box.stop, box.shutdown  # type: ignore[assignment,method-assign]  # as Celery's own does


def problem_of(body: Any) -> str | None:
    """Why a control message is not answered; None when it asks something that Flower reads."""
    if not isinstance(body, dict):
        return "a command is an object"
    method, arguments, reply_to = (body.get(key) for key in ("method", "arguments", "reply_to"))
    if not isinstance(method, str) or method not in READING_COMMANDS:
        return "no such command"
    if not (arguments is None or isinstance(arguments, dict)):
        return "arguments are an object"
    if body.get("pattern") is not None or not _is_list_of_names(body.get("destination")):
        return "destination is a list of names, never a pattern"
    if reply_to is not None and not (
        isinstance(reply_to, dict)
        and isinstance(reply_to.get("exchange"), str)
        and isinstance(reply_to.get("routing_key"), str)
    ):
        return "reply_to is an exchange and a routing key"
    return None


def _is_list_of_names(given: object) -> bool:
    return given is None or (
        isinstance(given, list) and all(isinstance(name, str) for name in given)
    )
