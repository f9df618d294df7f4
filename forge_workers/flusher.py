"""A first-in-first-out flusher: many callers, one batch at a time, an answer for each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from forge_core.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Flusher(Generic[Item, Answer]):
    """Hands what callers put in to ``flush``, in order, at most ``most`` at once.

    While one batch is under way the next one gathers: alone, a caller waits for nobody; under
    load, batches grow by themselves. When ``flush`` raises, that batch's callers get the error.
    """

    def __init__(self, flush: Callable[[Sequence[Item]], list[Answer]], most: int) -> None:
        self._flush = flush
        self._most = most
        self._waiting: deque[tuple[Item, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, item: Item) -> Future[Answer]:
        """Queue one item; the future resolves when its batch is done."""
        return self.put_all([item])[0]

    def put_all(self, items: Sequence[Item]) -> list[Future[Answer]]:
        """Queue items, together and in order."""
        futures: list[Future[Answer]] = [Future() for _ in items]
        with self._changed:
            if self._closed:
                raise Unavailable("this client is closed")
            self._waiting.extend(zip(items, futures, strict=True))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
                self._thread.start()
            self._changed.notify()
        return futures

    def close(self) -> None:
        """Flush what is waiting, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = [
                    self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))
                ]
            self._answer(batch)

    def _answer(self, batch: Sequence[tuple[Item, Future[Answer]]]) -> None:
        wanted = [pair for pair in batch if pair[1].set_running_or_notify_cancel()]
        try:
            answers = self._flush([item for item, _ in wanted])
        except Exception as error:  # noqa: BLE001  # the callers get it, whatever it is
            for _, future in wanted:
                future.set_exception(error)
            return
        for (_, future), answer in zip(wanted, answers, strict=True):
            future.set_result(answer)
