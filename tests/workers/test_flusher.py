"""The flusher: order, batches, errors for exactly those whom they concern."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from forge_core.errors import Unavailable
from forge_workers.flusher import Flusher


class Sink:
    """Answers each item with itself times ten, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def flush(self, items: Sequence[int]) -> list[int]:
        self.gate.wait(10)
        self.batches.append(list(items))
        if -1 in items:
            raise ValueError("this batch fails")
        return [item * 10 for item in items]


def test_each_caller_gets_the_answer_to_their_own_item() -> None:
    sink = Sink()
    flusher = Flusher(sink.flush, most=100)
    futures = [flusher.put(number) for number in (1, 2, 3)]
    assert [future.result(10) for future in futures] == [10, 20, 30]
    flusher.close()


def test_many_items_of_one_caller_are_answered_in_order_however_they_are_cut() -> None:
    sink = Sink()
    flusher = Flusher(sink.flush, most=4)
    assert flusher.put_all(list(range(11))) == [number * 10 for number in range(11)]
    assert [number for batch in sink.batches for number in batch] == list(range(11))
    assert max(len(batch) for batch in sink.batches) <= 4
    assert flusher.put_all([]) == []
    flusher.close()


def test_items_leave_in_the_order_they_came_in_batches_of_at_most_the_limit() -> None:
    sink = Sink()
    sink.gate.clear()
    flusher = Flusher(sink.flush, most=4)
    futures = [flusher.put(number) for number in range(11)]
    sink.gate.set()
    assert [future.result(10) for future in futures] == [number * 10 for number in range(11)]
    assert [number for batch in sink.batches for number in batch] == list(range(11))
    assert max(len(batch) for batch in sink.batches) <= 4
    flusher.close()


def test_a_failing_batch_fails_its_own_callers_and_the_next_one_goes_on() -> None:
    sink = Sink()
    flusher = Flusher(sink.flush, most=1)
    bad, good = flusher.put(-1), flusher.put(5)
    with pytest.raises(ValueError, match="this batch fails"):
        bad.result(10)
    assert good.result(10) == 50
    flusher.close()


def test_a_bad_item_fails_its_own_caller_and_not_those_who_shared_its_batch() -> None:
    sink = Sink()
    sink.gate.clear()
    flusher = Flusher(sink.flush, most=100)
    futures = [flusher.put(number) for number in (1, 2, -1, 3)]
    sink.gate.set()
    flusher.close()
    assert isinstance(futures.pop(2).exception(0), ValueError)
    assert [future.result(0) for future in futures] == [10, 20, 30]


def test_an_outage_is_told_to_all_at_once() -> None:
    sink = Sink()
    sink.gate.clear()
    tried: list[int] = []

    def away(items: Sequence[int]) -> list[int]:
        sink.gate.wait(10)
        tried.append(len(items))
        raise Unavailable("the database is away")

    flusher = Flusher(away, most=100)
    futures = [flusher.put(number) for number in range(5)]
    sink.gate.set()
    flusher.close()
    assert all(isinstance(future.exception(0), Unavailable) for future in futures)
    assert len(tried) <= 2


def test_closing_sends_what_is_waiting_and_refuses_what_comes_later() -> None:
    sink = Sink()
    sink.gate.clear()
    flusher = Flusher(sink.flush, most=1)
    futures = [flusher.put(number) for number in (1, 2, 3)]
    threading.Timer(0.05, sink.gate.set).start()
    flusher.close()
    assert [future.result(0) for future in futures] == [10, 20, 30]
    with pytest.raises(Unavailable, match="closed"):
        flusher.put(4)


def test_a_cancelled_item_is_never_sent() -> None:
    sink = Sink()
    sink.gate.clear()
    flusher = Flusher(sink.flush, most=1)
    first, second, third = (flusher.put(number) for number in (1, 2, 3))
    assert second.cancel()
    sink.gate.set()
    flusher.close()
    assert (first.result(0), third.result(0)) == (10, 30)
    assert 2 not in [number for batch in sink.batches for number in batch]
