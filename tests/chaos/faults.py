"""What can happen to a house, each as one call on its running stack."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import redis

from forge_workers.runtime_queue import QUEUE, TAKEN
from forge_workers.stack.house import Worker, events_program, worker_program
from forge_workers.stack.up import Stack
from tests.support import until

STARTS = 60.0  # seconds, generous


def kill_worker(stack: Stack, name: str) -> None:
    """SIGKILL to a worker's main process; its pool dies with it."""
    running(stack, name)
    stack.handle(name).send(signal.SIGKILL, group=False)


def kill_pool_process(stack: Stack, name: str) -> None:
    """SIGKILL to one process of a worker's pool."""
    worker = psutil.Process(running(stack, name))
    until(worker.children, STARTS)
    worker.children()[0].kill()


def wipe_broker(stack: Stack) -> None:
    """FLUSHALL: queues, bindings and what was unacknowledged are gone."""
    with redis.Redis.from_url(stack.settings.broker_url) as broker:
        broker.flushall()


def wipe_broker_noting(stack: Stack) -> list[bytes]:
    """The same; returns the messages of runtime events in it, taken by somebody or not."""
    with redis.Redis.from_url(stack.settings.broker_url) as broker:
        pipe = broker.pipeline(transaction=True)
        waiting, taken, _ = pipe.lrange(QUEUE, 0, -1).hvals(TAKEN).flushall().execute()
        return [*waiting, *taken]


def kill_consumer(stack: Stack, name: str) -> None:
    """SIGKILL to a consumer of runtime events, whatever it has in hand."""
    running(stack, name)
    stack.handle(name).send(signal.SIGKILL)


def kill_counters(stack: Stack) -> None:
    """SIGKILL to the Valkey that keeps nothing: windows and mirror are gone."""
    running(stack, "counters")
    stack.handle("counters").send(signal.SIGKILL)


def kill_postgres(stack: Stack) -> None:
    """SIGKILL to the postmaster; its backends find themselves alone and end."""
    running(stack, "postgres")
    stack.handle("postgres").send(signal.SIGKILL, group=False)


def kill_broker(stack: Stack) -> None:
    running(stack, "broker")
    stack.handle("broker").send(signal.SIGKILL)


def crash_postgres(stack: Stack) -> None:
    """Immediate shutdown: no checkpoint, every connection cut; it recovers from its log."""
    running(stack, "postgres")
    stack.handle("postgres").send(signal.SIGQUIT, group=False)


def kill_beat(stack: Stack) -> None:
    running(stack, "beat")
    stack.handle("beat").send(signal.SIGKILL)


def running(stack: Stack, name: str) -> int:
    """Wait until the supervisor has the process running again; returns its number."""
    until(lambda: stack.handle(name).alive, STARTS)
    return stack.handle(name).pid


@contextmanager
def stopped(stack: Stack, name: str) -> Iterator[None]:
    """SIGSTOP to a worker and its pool, as a frozen machine would be; SIGCONT afterwards."""
    running(stack, name)
    handle = stack.handle(name)
    handle.send(signal.SIGSTOP)
    try:
        yield
    finally:
        handle.send(signal.SIGCONT)


def add_consumer(stack: Stack, name: str) -> None:
    """Run one more consumer of runtime events; returns when ready."""
    marker = stack.servers.home.run / f"{name}.ready"
    program = events_program(stack.handle("beat").program.environment, marker)
    handle = stack.servers.supervisor.add(replace(program, name=name), stack.servers.output)
    handle.wait_ready(marker.exists, STARTS)


def add_worker(stack: Stack, worker: Worker, failpoints: str) -> None:
    """Run one more worker, with failpoints (see `forge_core.failpoints`); returns when ready."""
    marker = stack.servers.home.run / f"{worker.name}.ready"
    environment = {
        **stack.handle("beat").program.environment,
        "FORGE_FAILPOINTS": failpoints,
    }
    program = worker_program(worker, environment, marker)
    handle = stack.servers.supervisor.add(program, stack.servers.output)
    handle.wait_ready(marker.exists, STARTS)
