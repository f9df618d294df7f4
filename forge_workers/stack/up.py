"""``forge up``: every server and process of the house, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from forge_core.database import make_engine, migrate
from forge_core.errors import Unavailable
from forge_core.settings import VARIABLES, Settings, forge_home
from forge_workers.keyfiles import make_key_files
from forge_workers.ledger_events import declared_queues
from forge_workers.processes import require_protected_ledger
from forge_workers.stack import flower as flowers
from forge_workers.stack import gateway as gateways
from forge_workers.stack.external import Given
from forge_workers.stack.flower import FlowerServer
from forge_workers.stack.gateway import GatewayServer
from forge_workers.stack.house import (
    ADVISER,
    WORKERS,
    Worker,
    beat_arguments,
    events_program,
    worker_program,
)
from forge_workers.stack.interrupts import interruptible
from forge_workers.stack.processes import Program
from forge_workers.stack.servers import Servers, embedded_servers
from forge_workers.stack.supervisor import Handle

_WORKERS_END = 4.0  # seconds for the step at hand; what is killed then is claimed again
_WORKERS_START = 60.0


@dataclass(frozen=True)
class Web:
    """What answers browsers and other programs."""

    flower: FlowerServer
    gateway: GatewayServer


@dataclass(frozen=True)
class Stack:
    """Running servers, workers, consumer of events and beat of one home; perhaps what shows it."""

    servers: Servers
    web: Web | None

    @property
    def settings(self) -> Settings:
        return self.servers.settings()

    @property
    def flower(self) -> FlowerServer:
        return self._shown.flower

    @property
    def gateway(self) -> GatewayServer:
        return self._shown.gateway

    @property
    def _shown(self) -> Web:
        if self.web is None:
            raise Unavailable("this stack runs neither Flower nor the gateway")
        return self.web

    def handle(self, name: str) -> Handle:
        """A process, such as "postgres", "broker", "counters", "decide", "events" or "beat"."""
        return self.servers.handle(name)


@contextmanager
def running_stack(
    home: Path,
    *,
    given: Given | None = None,
    web: bool = True,
    beat: bool = True,
    models: bool = True,
    workers: tuple[Worker, ...] = WORKERS,
    console: TextIO | None = None,
    hurry: threading.Event | None = None,
) -> Iterator[Stack]:
    """Run the whole house below ``home`` for as long as the block lasts.

    Without ``models`` the adviser is given no key, whatever the environment has. Yields when
    everything is ready. Raises ``Unavailable`` with one sentence.
    """
    with embedded_servers(home, given=given, console=console, hurry=hurry) as servers:
        settings = servers.settings()
        declared_queues()
        migrate(settings.migrate_database_url)
        _check_ledger(settings)
        make_key_files(settings, origin=f"forge-{servers.home.identity}")
        stack = Stack(servers, _web(servers) if web else None)
        _publish(stack)
        try:
            _start(stack, workers, beat=beat, models=models)
            yield stack
        finally:
            handles = servers.supervisor.handles
            mine = [handles[name] for name in handles if name not in servers.embedded]
            servers.supervisor.stop(mine, _WORKERS_END, hurry=servers.hurry)
            servers.home.unpublish()


def run_stack(
    *,
    home: Path | None = None,
    demo: Callable[[Settings], None] | None = None,
    once: bool = False,
) -> int:
    """Serve until Ctrl-C; with ``demo`` show that first, with ``once`` end after it.

    Returns the exit status. ``Unavailable`` (status 3) when a server cannot be used.
    """
    began = time.monotonic()
    ready = False
    try:
        with (
            interruptible() as interrupts,
            running_stack(
                home or forge_home(),
                given=Given.from_environment(),
                models=demo is None,  # nobody wants to pay for advice on a demo
                console=sys.stderr,
                hurry=interrupts.hurry,
            ) as stack,
        ):
            say = stack.servers.output.say
            seconds = time.monotonic() - began
            say(f"ready in {seconds:.1f} s; state and logs are in {stack.servers.home.path}")
            try:
                if demo is not None:
                    with stack.servers.output.hushed():
                        demo(stack.settings)
                ready = True
                if not once:
                    say(_addresses(stack))
                    say("serving until Ctrl-C")
                    threading.Event().wait()
            finally:
                interrupts.ending.set()
    except KeyboardInterrupt:
        return 0 if ready else 130
    return 0


def _start(stack: Stack, workers: tuple[Worker, ...], *, beat: bool, models: bool) -> None:
    servers = stack.servers
    run = servers.home.run
    # Addresses come from endpoints.json alone: an environment can be read by more eyes.
    environment, keys = _environment(servers.home.path)
    markers = {worker.name: run / f"{worker.name}.ready" for worker in workers}
    add = servers.supervisor.add
    for worker in workers:
        own = environment | keys if models and ADVISER in worker.queues else environment
        add(worker_program(worker, own, markers[worker.name]), servers.output)
    markers["events"] = run / "events.ready"
    add(events_program(environment, markers["events"]), servers.output)
    if stack.web is not None:
        add(stack.flower.program(environment), servers.output)
        add(stack.gateway.program(environment), servers.output)
    if beat:
        add(Program("beat", beat_arguments(run / "beat-schedule"), environment), servers.output)
    for name, marker in markers.items():
        stack.handle(name).wait_ready(marker.exists, _WORKERS_START)
    if stack.web is not None:
        stack.handle("flower").wait_ready(stack.flower.answers, _WORKERS_START)
        stack.handle("api").wait_ready(stack.gateway.answers, _WORKERS_START)


def _environment(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What every process of ours is told, and the keys of models, which only an adviser is."""
    told = {k: v for k, v in os.environ.items() if k not in VARIABLES.values()}
    told |= {"FORGE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    keys = {k: told.pop(k) for k in list(told) if k.startswith("ANTHROPIC_")}
    return told, keys


def _check_ledger(settings: Settings) -> None:
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        require_protected_ledger(engine)
    finally:
        engine.dispose()


def _web(servers: Servers) -> Web:
    flower = FlowerServer(
        configuration=servers.home.run / "flowerconfig.py",
        port=servers.ports.get("flower", first_choice=flowers.FIRST_CHOICE),
        password=servers.secrets.get("flower"),
    )
    return Web(flower, GatewayServer(servers.ports.get("api", first_choice=gateways.FIRST_CHOICE)))


def _publish(stack: Stack) -> None:
    endpoints = asdict(stack.settings) | {"pid": os.getpid()}
    del endpoints["home"]
    if stack.web is not None:
        endpoints |= {
            "flower_url": stack.flower.url,
            "flower_user": flowers.USER,
            "flower_password": stack.flower.password,
            "api_url": stack.gateway.url,
        }
    stack.servers.home.publish(endpoints)


def _addresses(stack: Stack) -> str:
    password = stack.servers.secrets.path("flower")
    return (
        f"Flower, with proposals and advice: {stack.flower.url} as {flowers.USER}; "
        f"its password is in {password}\n"
        f"HTTP gateway: {stack.gateway.url}; `forge token issue NAME` lets NAME in"
    )
