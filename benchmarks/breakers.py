"""Four ways to set a failing overlay aside: ours, and three that others run, at their defaults.

Models of published algorithms, not their code: Envoy's outlier detection (consecutive failures;
its success-rate rule asks for 100 requests in ten seconds, which nobody here makes), resilience4j's
CircuitBreaker (count-based window), fail2ban's jail. Times are seconds.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Protocol

from forge_core.immune.containment import Containment, Stage, called, contained, elapsed
from forge_core.immune.overlay_calls import LAST, Call, Fault, judge_calls
from forge_core.immune.rulebook import InForce

HALF = Fraction(1, 2)
TERMS = InForce.of({}).terms
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Breaker(Protocol):
    """Lets calls through to one overlay, and is told how they went."""

    opened: int
    """How many times it was set aside."""

    def admits(self, now: float) -> bool:
        """Whether a call made now is let through."""

    def called(self, now: float, *, success: bool) -> None:
        """How a call that was let through went."""


class Forge:
    """The rules over the last calls, quarantine, probation, hold."""

    def __init__(self) -> None:
        self.opened = 0
        self._state = Containment(Stage.ACTIVE, EPOCH)
        self._calls: deque[Call] = deque(maxlen=LAST)
        self._number = 0

    def admits(self, now: float) -> bool:
        self._state = elapsed(self._state, HALF, self._response, _moment(now))
        return self._state.admits()

    def called(self, now: float, *, success: bool) -> None:
        self._number += 1
        at = _moment(now)
        if self._state.stage is Stage.PROBATION:
            self._state = called(self._state, HALF, self._response, at, success=success)
            return
        call = Call(at, f"{self._number:09}", success, None if success else Fault.OVERLAY)
        self._calls.append(call)
        if not success and judge_calls("it", self._calls, {call.id}, TERMS):
            self.opened += 1
            self._state = contained(self._state, self._response, at)
            self._calls.clear()

    @property
    def _response(self) -> str:
        return f"response {self.opened}"


class Envoy:
    """Five failures in a row eject for 30 s times the number of ejections, up to 300 s.

    A sweep every ten seconds lets back in, and takes one from the number where all was well.
    """

    IN_A_ROW, SWEEP, BASE, MOST = 5, 10.0, 30.0, 300.0

    def __init__(self) -> None:
        self.opened = 0
        self._in_a_row = self._times = 0
        self._ejected_at: float | None = None
        self._swept = 0.0

    def admits(self, now: float) -> bool:
        while self._swept + self.SWEEP <= now:
            self._swept += self.SWEEP
            if self._ejected_at is None:
                self._times = max(self._times - 1, 0)
            elif self._swept - self._ejected_at >= min(self.BASE * self._times, self.MOST):
                self._ejected_at, self._in_a_row = None, 0
        return self._ejected_at is None

    def called(self, now: float, *, success: bool) -> None:
        self._in_a_row = 0 if success else self._in_a_row + 1
        if self._in_a_row >= self.IN_A_ROW:
            self.opened += 1
            self._times += 1
            self._ejected_at = now


class Resilience4j:
    """Half of the last 100 calls failed: open for 60 s, then ten calls decide."""

    WINDOW, OPEN, HALF_OPEN = 100, 60.0, 10

    def __init__(self) -> None:
        self.opened = 0
        self._last: deque[bool] = deque(maxlen=self.WINDOW)
        self._open_until: float | None = None

    def admits(self, now: float) -> bool:
        if self._open_until is not None and now >= self._open_until:
            self._open_until, self._last = None, deque(maxlen=self.HALF_OPEN)
        return self._open_until is None

    def called(self, now: float, *, success: bool) -> None:
        self._last.append(success)
        if len(self._last) < (self._last.maxlen or 0):
            return
        if 2 * self._last.count(False) >= len(self._last):
            self.opened += 1
            self._open_until = now + self.OPEN
        elif self._last.maxlen == self.HALF_OPEN:
            self._last = deque(maxlen=self.WINDOW)


class Fail2ban:
    """Five failures within ten minutes ban for ten minutes; no success makes up for them."""

    RETRIES, FIND, BAN = 5, 600.0, 600.0

    def __init__(self) -> None:
        self.opened = 0
        self._failures: deque[float] = deque(maxlen=self.RETRIES)
        self._banned_until = 0.0

    def admits(self, now: float) -> bool:
        return now >= self._banned_until

    def called(self, now: float, *, success: bool) -> None:
        if success:
            return
        self._failures.append(now)
        if len(self._failures) == self.RETRIES and now - self._failures[0] <= self.FIND:
            self.opened += 1
            self._banned_until = now + self.BAN
            self._failures.clear()


BREAKERS: dict[str, type[Breaker]] = {
    "ours": Forge,
    "Envoy": Envoy,
    "resilience4j": Resilience4j,
    "fail2ban": Fail2ban,
}


def _moment(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)
