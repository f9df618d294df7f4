"""`forge events`: the ledger as it is published, how far that is, and publishing it again.

And the other way round: taking in what the platform tells of itself.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import uuid4

import typer
from kombu import Consumer, Queue
from kombu.transport.virtual.exchange import TopicExchange
from sqlalchemy import Engine

from forge_core.database import make_engine
from forge_core.ledger.publishing import origin, progress, published, read, rewind
from forge_core.settings import Settings
from forge_workers.app import app as celery
from forge_workers.cli.output import AsJson, complain, print_json, standard_output
from forge_workers.cli.servers import database
from forge_workers.ledger_events import LIVE, is_binding
from forge_workers.reading import reading
from forge_workers.runtime_consumer import consume as run_consumer
from forge_workers.words.values import shown

Event = Mapping[str, Any]

app = typer.Typer(
    no_args_is_help=True,
    help="Events: the ledger as other programs hear of it, and what the runtime tells.",
)

CLIENT_NAME = "forge-events-tail"
LOOK_SECONDS = 1.0
"""How long to listen before the ledger is looked at, in case the broker has lost something."""


@app.command()
def tail(
    *,
    first: Annotated[
        int | None,
        typer.Option("--from", min=0, metavar="POSITION", help="Begin there; default: from now."),
    ] = None,
    binding: Annotated[
        str, typer.Option(help="Only these kinds, such as proposal.* or ballot.cast.")
    ] = "#",
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One CloudEvent in JSON a line.")] = False,
) -> None:
    """Show events as they come, each once and in order, until Ctrl-C."""
    wanted = _matcher(binding)
    settings = Settings.load()
    engine = make_engine(settings.database_url, pool_size=1)
    live = _Live(settings.broker_url)
    left = limit
    stopped = _told_to_stop()
    try:
        for event in _in_order(engine, live, first, stopped):
            if stopped.is_set():
                return
            if not wanted(event["type"].removeprefix("forge.")):
                continue
            _show(event, as_json=as_json)
            left = None if left is None else left - 1
            if left == 0:
                return
    except KeyboardInterrupt:
        return
    finally:
        live.close()
        engine.dispose()


@app.command("rewind")
def rewind_(
    position: Annotated[int, typer.Argument(min=0, help="The first one to be sent again.")],
) -> None:
    """Publish again from a position on, after the broker has lost what was in it."""
    with database() as session:
        rewind(session, position)
        now = progress(session)
    standard_output().print(f"{now.lag} events are published again, from {position} on")


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show how many entries are published, and how many wait."""
    with database() as session:
        now = progress(session)
    if as_json:
        print_json({"cursor": now.position, "head": now.head, "lag": now.lag})
        return
    standard_output().print(f"{now.position} of {now.head} entries are published, {now.lag} wait")


@app.command()
def consume() -> None:
    """Record the events of the overlay runtime until stopped; run as many as you like."""
    run_consumer()


def _told_to_stop() -> threading.Event:
    """Set by the first signal to end; a second one interrupts whatever is going on.

    An exception out of nowhere would be lost where Python cannot raise one, as in a destructor;
    and a queue that is left bound makes the house publish to nobody.
    """
    stopped = threading.Event()

    def stop(number: int, _: object) -> None:
        stopped.set()
        signal.signal(number, signal.default_int_handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return stopped


def _matcher(binding: str) -> Callable[[str], object]:
    """Whether a kind of entry matches, as the broker itself sees it."""
    if not is_binding(binding):
        raise typer.BadParameter("kinds look like proposal.decided, proposal.* or #")
    return re.compile(TopicExchange(None).key_to_pattern(binding)).match


def _in_order(
    engine: Engine, live: _Live, first: int | None, stopped: threading.Event
) -> Iterator[Event]:
    """Every event from ``first`` on once, without a gap: what is not heard in turn is read."""
    if first is None:
        with reading(engine) as session:
            first = progress(session).head
    else:
        for event in _written(engine, first):
            yield event
            first = int(event["id"]) + 1
    while not stopped.is_set():
        heard = live.next(LOOK_SECONDS)
        if heard is not None and int(heard["id"]) == first:
            yield heard
            first += 1
        elif heard is None or int(heard["id"]) > first:
            for event in _written(engine, first):
                yield event
                first = int(event["id"]) + 1


def _written(engine: Engine, first: int) -> Iterator[Event]:
    """Events from ``first`` up to the ledger's head."""
    while True:
        with reading(engine) as session:
            entries = read(session, first)
            source = origin(session)
        if not entries:
            return
        yield from published(source, entries)
        first = entries[-1].position + 1


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        # ASCII: nothing that a member wrote can steer the terminal.
        print(json.dumps(event, separators=(",", ":")), flush=True)
        return
    words = [event.get(name) for name in ("id", "time", "type", "subject")]
    words.append(event["data"].get("actor"))
    print("  ".join(shown(word).replace("\n", "�") for word in words), flush=True)


def _is_event(given: Any) -> bool:
    """Whether it can be shown; anybody who has the broker's password may have sent it."""
    return (
        isinstance(given, dict)
        and re.fullmatch("[0-9]{1,18}", str(given.get("id"))) is not None
        and isinstance(given.get("type"), str)
        and isinstance(given.get("data"), dict)
    )


class _Live:
    """Events as the broker hands them out; while it is away nothing is heard."""

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url
        self._connection: Any = None
        self._complained = False
        self._heard: deque[Event] = deque()

    def next(self, seconds: float) -> Event | None:
        """The next event, or None after so many seconds without one."""
        if self._heard:
            return self._heard.popleft()
        try:
            if self._connection is None:
                self._listen()
            self._connection.drain_events(timeout=seconds)
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  # whatever a broker, or what is in it, provokes
            self._say_once(error)
            self.close()
            time.sleep(seconds)
        return self._heard.popleft() if self._heard else None

    def close(self) -> None:
        """End the connection; with it goes the queue."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(Exception):  # it is thrown away either way
            connection.close()

    def _listen(self) -> None:
        # The house's own transport lets nothing but wake-ups in.
        own = urlsplit(self._url).scheme == "redis"
        self._connection = celery.connection_for_read(
            self._url,
            transport="kombu.transport.redis:Transport" if own else None,
            transport_options={"client_name": CLIENT_NAME} if own else None,
        )
        name = f"forge.ledger.live.{uuid4().hex}"
        # Valkey's channels have the routing key in their name: this is all of them.
        queue = Queue(name, LIVE, routing_key="#", exclusive=True, auto_delete=True, durable=False)
        Consumer(self._connection.channel(), [queue], no_ack=True, on_message=self._hear).consume()
        self._complained = False

    def _hear(self, message: Any) -> None:
        with suppress(ValueError):
            event = json.loads(message.body)
            if _is_event(event):
                self._heard.append(event)

    def _say_once(self, error: Exception) -> None:
        if not self._complained:
            complain(
                f"the broker cannot be listened to ({type(error).__name__}); "
                "until it can, the ledger is read once a second"
            )
        self._complained = True
