"""The worker's consumer: a message can wake, never act.

What is exactly a wake-up of a known kind goes on to the pool; everything else that arrives is
kept as a dead letter and acknowledged. So no argument, deadline, time limit or callback that
somebody put on a message ever reaches a task.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import structlog
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer

from forge_core.jobs.dead_letters import Letter
from forge_workers.broker import on_unreadable
from forge_workers.letters import LetterBox
from forge_workers.processes import engine
from forge_workers.queues import QUEUE_OF

log = structlog.get_logger(__name__)
celery_log = get_logger(__name__)

NO_LIMITS = (None, [None, None])
# Deadlines are columns; what shall follow is in the rows. Celery obeys these in headers too.
ACTING_HEADERS = ("eta", "shadow", "callbacks", "errbacks", "chain", "chord")


class Consumer(CeleryConsumer):
    """Celery's consumer behind a gate."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc,valid-type]  # untyped
        """Celery's steps, with a mailbox that only answers readers."""

        default_steps: ClassVar = [
            "forge_workers.control:Control" if step.endswith(":Control") else step
            for step in CeleryConsumer.Blueprint.default_steps
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._letters = LetterBox(engine())
        on_unreadable(self._on_unreadable)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        go_on = super().create_task_handler(*args, **kwargs)

        def on_message(message: Any) -> Any:
            problem = problem_of(message)
            if problem is None:
                strip(message)
                return go_on(message)
            self._post(_queue(message), problem, message.headers, message.body)
            message.ack_log_error(celery_log, self.connection_errors)  # type: ignore[attr-defined]
            return None

        return on_message

    def _on_unreadable(self, queue: str, raw: bytes, error: Exception) -> None:
        self._post(queue, f"no message: {type(error).__name__}", {}, raw)

    def _post(self, queue: str, problem: str, headers: object, body: object) -> None:
        log.warning("message.dead_letter", queue=queue, problem=problem)
        self._letters.post(Letter.of(queue=queue, reason=problem, headers=headers, body=body))


def problem_of(message: Any) -> str | None:
    """Why a message is no wake-up; None when it is one."""
    problem = _header_problem(message.headers)
    if problem is not None:
        return problem
    try:
        body = message.decode()
    except Exception as error:  # noqa: BLE001  # whatever a codec raises on hostile bytes
        return f"cannot be decoded: {type(error).__name__}"
    return _body_problem(body)


def strip(message: Any) -> None:
    """Leave of a wake-up its task, its id and its expiry: nothing else is even looked at."""
    given = message.headers
    message.headers = {
        "lang": "py",
        "task": given["task"],
        "id": given["id"],
        "root_id": given["id"],
        "expires": given.get("expires"),
        "ignore_result": True,
    }
    message.properties = {}
    message.body = b"[[], {}, {}]"
    message._decoded_cache = None  # noqa: SLF001  # else the former body would be read


def _header_problem(headers: Any) -> str | None:
    if not isinstance(headers, dict) or not isinstance(headers.get("task"), str):
        return "not a Celery message of protocol 2"
    if headers["task"] not in QUEUE_OF:
        return "no task of this name"
    if not _is_uuid(headers.get("id")) or not _is_moment(headers.get("expires")):
        return "the id is no UUID, or it expires at no known time"
    if headers.get("timelimit") not in NO_LIMITS:
        return "carries a time limit"
    return next((f"carries {key}" for key in ACTING_HEADERS if headers.get(key) is not None), None)


def _is_uuid(given: object) -> bool:
    try:
        return isinstance(given, str) and str(UUID(given)) == given
    except ValueError:
        return False


def _is_moment(given: object) -> bool:
    try:
        return given is None or isinstance(datetime.fromisoformat(given), datetime)  # type: ignore[arg-type]  # anything may have been sent
    except (TypeError, ValueError):
        return False


def _body_problem(body: Any) -> str | None:
    if not isinstance(body, list | tuple) or len(body) != 3:  # args, kwargs, embed
        return "body is not [args, kwargs, embed]"
    args, kwargs, embed = body
    if args or kwargs:
        return "carries a command; a message can wake, never act"
    if embed and (not isinstance(embed, dict) or any(embed.values())):
        return "carries callbacks"
    return None


def _queue(message: Any) -> str:
    info = message.delivery_info
    return str(info.get("routing_key", "")) if isinstance(info, dict) else ""
