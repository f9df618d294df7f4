"""A first-in-first-out flusher: many callers, one batch at a time, an answer for each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from forge_core.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Group(Generic[Item]):
    """Items that stay together, and the one future that tells of them."""

    items: Sequence[Item]
    future: Future[Any]
    alone: bool


class Flusher(Generic[Item, Answer]):
    """Hands what callers put in to ``flush``, in order, at most ``most`` at once.

    While one batch is under way the next one gathers: alone, a caller waits for nobody; under
    load, batches grow by themselves. ``flush`` does a batch or nothing: when it raises, each
    caller's items are tried by themselves, so that the error reaches only whom it concerns. An
    outage (``Unavailable``) concerns them all.
    """

    def __init__(self, flush: Callable[[Sequence[Item]], list[Answer]], most: int) -> None:
        self._flush = flush
        self._most = most
        self._waiting: deque[_Group[Item]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, item: Item) -> Future[Answer]:
        """Queue one item; the future resolves when its batch is done."""
        return self._put(_Group([item], Future(), alone=True))

    def put_all(self, items: Sequence[Item]) -> list[Answer]:
        """Queue items in order, and wait for all their answers.

        In pieces with one future each: a future an item would cost more than the ballot in it.
        """
        pieces = [items[n : n + self._most] for n in range(0, len(items), self._most)]
        futures = [self._put(_Group(piece, Future(), alone=False)) for piece in pieces]
        return [answer for future in futures for answer in future.result()]

    def close(self) -> None:
        """Flush what is waiting, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _put(self, group: _Group[Item]) -> Future[Any]:
        with self._changed:
            if self._closed:
                raise Unavailable("this client is closed")
            self._waiting.append(group)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
                self._thread.start()
            self._changed.notify()
        return group.future

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._next_batch()
            self._answer([g for g in batch if g.future.set_running_or_notify_cancel()])

    def _next_batch(self) -> list[_Group[Item]]:
        """As many of the first groups as fit; the first one always does."""
        batch = [self._waiting.popleft()]
        size = len(batch[0].items)
        while self._waiting and size + len(self._waiting[0].items) <= self._most:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].items)
        return batch

    def _answer(self, batch: Sequence[_Group[Item]]) -> None:
        try:
            answers = iter(self._flush([item for group in batch for item in group.items]))
        except Exception as error:  # noqa: BLE001  # the callers get it, whatever it is
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for group in batch:
                    self._answer([group])
                return
            for group in batch:
                group.future.set_exception(error)
            return
        for group in batch:
            own = [next(answers) for _ in group.items]
            group.future.set_result(own[0] if group.alone else own)
