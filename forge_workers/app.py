"""The Celery application: ``celery -A forge_workers.app worker|beat|flower``.

Messages are wake-ups: acknowledged early (the row is the memory), without results, in JSON only.
"""

from __future__ import annotations

import contextlib
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_init
from sqlalchemy.exc import DBAPIError

from beat_schedule import BEAT_SCHEDULE
from forge_core.database import describe, make_engine
from forge_core.errors import Misconfigured
from forge_core.settings import Settings
from forge_workers import broker
from forge_workers.processes import require_protected_ledger
from forge_workers.queues import QUEUE_OF, QUEUES

# What Flower reads. Everything else that a message could tell a worker to do is unregistered.
READING_COMMANDS = frozenset({
    "ping", "stats", "active", "active_queues", "registered", "reserved", "scheduled", "revoked",
    "conf", "report", "clock",
})  # fmt: skip

broker.install()

app = Celery("forge", set_as_current=True)


@app.on_configure.connect
def _find_broker(sender: Any, **_: Any) -> None:
    """Addresses are looked up when a process first needs them, not when it imports this.

    A client that was given its settings needs none of them; who does need them looks again.
    """
    with contextlib.suppress(Misconfigured):
        sender.conf.broker_url = Settings.load(needed=("broker_url",)).broker_url


app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_queues=QUEUES,
    task_routes={name: {"queue": queue} for name, queue in QUEUE_OF.items()},
    task_default_queue="maintenance",
    task_create_missing_queues=False,
    task_ignore_result=True,
    task_acks_late=False,
    task_publish_retry=False,
    worker_consumer="forge_workers.consumer:Consumer",
    worker_prefetch_multiplier=4,
    worker_max_tasks_per_child=None,
    worker_send_task_events=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_soft_shutdown_timeout=3.0,
    worker_eta_task_limit=10,
    beat_schedule=BEAT_SCHEDULE,
    beat_max_loop_interval=1,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_pool_acquire_timeout=5,
    broker_transport_options={
        "visibility_timeout": 3_600,
        "health_check_interval": 10,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    },
    imports=("forge_workers.tasks", "forge_workers.logs"),
    timezone="UTC",
    enable_utc=True,
)


@worker_init.connect
def _unregister_control_commands(**_: Any) -> None:
    """A revoke, a shutdown or a rate limit from the broker is an unknown command here."""
    from celery.worker.control import Panel  # noqa: PLC0415  # only workers have a panel

    for name in set(Panel.data) - READING_COMMANDS:
        del Panel.data[name]
        Panel.meta.pop(name, None)


@worker_init.connect
def _refuse_an_unprotected_ledger(**_: Any) -> None:
    """A worker does not start where history could be rewritten.

    A database that is away now is looked at by each pool process before it first uses it.
    """
    engine = make_engine(Settings.load().database_url, pool_size=1)
    try:
        require_protected_ledger(engine)
    except Misconfigured as error:
        raise SystemExit(f"this worker does not start: {error}") from error
    except DBAPIError as error:
        structlog.get_logger(__name__).warning("start.unchecked", error=describe(error))
    finally:
        engine.dispose()
