"""Sending commands and ballots in order, however often a server goes away in between."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from forge_core.errors import Unavailable
from forge_workers.client import Answer, Ballot, BallotAnswer, Command, GovernanceClient
from forge_workers.replay.observe import Observer
from forge_workers.replay.patience import Patience

COMMAND_BATCH = 200
SECONDS_BETWEEN_READINGS = 1.0
_ANSWER_SECONDS = 3.0

Item = TypeVar("Item")


class Watch(Protocol):
    """Whoever wants to see a replay while it runs."""

    def phase(self, what: str) -> None:
        """Something else is being done from now on."""

    def sent(self, ballots: int) -> None:
        """Take note that so many more ballots were answered."""

    def depths(self, waiting: Mapping[str, int]) -> None:
        """Take note of how much is waiting, by queue."""

    def trouble(self, reason: str) -> None:
        """Take note that a server is away and is waited for."""


class Sender:
    """Sends one batch after the other; a batch without an answer is sent again, the same."""

    def __init__(
        self, client: GovernanceClient, observer: Observer, watch: Watch, patience: Patience
    ) -> None:
        self._client = client
        self._observer = observer
        self._watch = watch
        self._patience = patience
        self._next_reading = 0.0

    def carry(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands and wait for their answers, which come back in the same order."""
        answers: list[Answer] = []
        for part in parts(commands, COMMAND_BATCH):
            ids = self._patience.until_available(partial(self._client.commands, part))
            answers += self._settled(ids)
        return answers

    def carry_all(self, commands: Sequence[Command]) -> None:
        """Like `carry`, where every one has to be done; raises the first refusal."""
        for answer in self.carry(commands):
            answer.require_done()

    def cast(self, ballots: Sequence[Ballot]) -> list[BallotAnswer]:
        """Send ballots in one batch; one answer each, in the same order."""
        answers = self._patience.until_available(lambda: self._client.vote_many(ballots))
        self._patience.progress()
        self._watch.sent(len(ballots))
        self.read_depths()
        return answers

    def read_depths(self) -> None:
        """Show the watch how much is waiting, at most once a second."""
        now = time.monotonic()
        if now < self._next_reading:
            return
        self._next_reading = now + SECONDS_BETWEEN_READINGS
        try:
            self._watch.depths(self._observer.depths())
        except Unavailable as error:
            self._watch.trouble(str(error))

    def _settled(self, ids: Sequence[UUID]) -> list[Answer]:
        answers = self._patience.until_available(
            lambda: self._client.wait_many(ids, _ANSWER_SECONDS)
        )
        self._patience.progress()
        self.read_depths()
        return answers


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into consecutive pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
