"""Waiting for servers: the same call again, and an end to it."""

from __future__ import annotations

import pytest

from forge_core.errors import Misconfigured, Refused, Unavailable
from forge_workers.replay.patience import Patience


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def patience(limit: float, told: list[str] | None = None) -> tuple[Patience, Time]:
    time = Time()
    heard = [] if told is None else told
    return Patience(limit, told=heard.append, clock=lambda: time.now, sleep=time.sleep), time


def test_call_is_repeated_until_the_server_is_back() -> None:
    told: list[str] = []
    patient, _ = patience(60, told)
    answers = iter([Unavailable("restarting"), Unavailable("starting up"), "done"])

    def act() -> str:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    assert patient.until_available(act) == "done"
    assert told == ["restarting", "starting up"]


def test_patience_ends_when_nothing_moves() -> None:
    patient, time = patience(60)

    def act() -> None:
        raise Unavailable("it is away")

    with pytest.raises(Unavailable, match="nothing has moved for 60 s: it is away"):
        patient.until_available(act)
    assert 60 < time.now < 65


def test_progress_starts_the_time_anew() -> None:
    patient, time = patience(10)
    for _ in range(20):
        patient.wait(8, "slow")
        patient.progress()

    assert time.now == 160


@pytest.mark.parametrize("error", [Misconfigured("no address"), Refused("NO", "a rule")])
def test_what_waiting_cannot_cure_is_raised_at_once(error: Exception) -> None:
    patient, time = patience(60)

    def act() -> None:
        raise error

    with pytest.raises(type(error)):
        patient.until_available(act)
    assert time.now == 0
