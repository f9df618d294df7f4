"""Seeing a replay while it runs: live on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from forge_workers.replay.sender import Watch

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def watching(console: Console, ballots: int) -> Iterator[Watch]:
    """Show a replay of so many ballots on ``console`` for as long as the block lasts."""
    if not console.is_terminal:
        yield _Lines(console, ballots)
        return
    display = _Display(ballots)
    with Live(display, console=console, refresh_per_second=5, transient=True):
        yield display


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} ballots/s", style="cyan")


class _Display:
    """What `rich.live.Live` draws: the bar, what is waiting where, and any trouble."""

    def __init__(self, ballots: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("starting", total=ballots)
        self._waiting: Mapping[str, int] = {}
        self._trouble = ""

    def __rich__(self) -> Group:
        lines = [Text(f"  queues: {describe(self._waiting)}", style="dim")]
        if self._trouble:
            lines.append(Text(f"  {self._trouble}", style="yellow"))
        return Group(self._progress, *lines)

    def phase(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def sent(self, ballots: int) -> None:
        self._trouble = ""
        self._progress.advance(self._task, ballots)

    def depths(self, waiting: Mapping[str, int]) -> None:
        self._trouble = ""
        self._waiting = waiting

    def trouble(self, reason: str) -> None:
        self._trouble = reason


class _Lines:
    def __init__(self, console: Console, ballots: int) -> None:
        self._console = console
        self._ballots = ballots
        self._sent = 0
        self._phase = "starting"
        self._trouble = ""
        self._started = time.monotonic()
        self._next_line = self._started + SECONDS_BETWEEN_LINES

    def phase(self, what: str) -> None:
        self._phase = what

    def sent(self, ballots: int) -> None:
        self._sent += ballots

    def depths(self, waiting: Mapping[str, int]) -> None:
        self._trouble = ""
        self._say(f"queues: {describe(waiting)}")

    def trouble(self, reason: str) -> None:
        self._say(reason)

    def _say(self, detail: str) -> None:
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        rate = self._sent / (now - self._started)
        self._console.print(
            f"{self._phase}: {self._sent:,} of {self._ballots:,} ballots, {rate:,.0f}/s; {detail}",
            highlight=False,
            soft_wrap=True,
        )


def describe(waiting: Mapping[str, int]) -> str:
    """Say how much is waiting in each queue."""
    return ", ".join(f"{queue} {count:,}" for queue, count in waiting.items())
