"""Four ways to set a failing overlay aside: ours, and three that others run, at their defaults.

Models of published algorithms, not their code, each read in the version that its class names.
Times are seconds. Whatever needs more than one overlay's calls is left out and said so.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from forge_core.immune.containment import Containment, Stage, called, contained, elapsed
from forge_core.immune.detectors.overlay_calls import AGE, FAILURE_RATE, FAILURES_IN_A_ROW, LAST
from forge_core.immune.rulebook import InForce

TERMS: Final = InForce.of({}).terms
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
NEVER: Final = math.inf


class Breaker(Protocol):
    """Lets calls through to one overlay, and is told how they went."""

    opened: int
    """How many times it was set aside."""
    shut_until: float
    """No call before this moment is let through, so that nobody need ask; `NEVER` is people's."""

    def admits(self, now: float) -> bool:
        """Whether a call made now is let through."""

    def called(self, now: float, *, success: bool) -> None:
        """How a call that was let through went."""


class Forge:
    """The failure rules over the last calls, then quarantine, probation and hold.

    Quarantine and probation are the product's own functions. The rules are counted along, since
    judging every window anew takes a thousand times as long; a test holds the two together.
    """

    RATE: Final = TERMS[FAILURE_RATE.name]["rate"]
    LEAST: Final = TERMS[FAILURE_RATE.name]["least_calls"]
    IN_A_ROW: Final = TERMS[FAILURES_IN_A_ROW.name]["in_a_row"]
    AGE: Final = AGE.total_seconds()

    def __init__(self) -> None:
        self.opened = 0
        self.shut_until = 0.0
        self._state = Containment(Stage.ACTIVE, EPOCH)
        self._active = True
        self._response = ""
        self._window: deque[tuple[float, bool]] = deque()
        self._failed = self._in_a_row = 0

    def admits(self, now: float) -> bool:
        if self._active:
            return True
        self._move(elapsed(self._state, self.RATE, self._response, _moment(now)))
        return self._state.admits()

    def called(self, now: float, *, success: bool) -> None:
        if not self._active:
            at = _moment(now)
            self._move(called(self._state, self.RATE, self._response, at, success=success))
            return
        self._count(now, success=success)
        if success:
            return
        calls = len(self._window)
        over = calls >= self.LEAST and (
            self._failed * self.RATE.denominator > self.RATE.numerator * calls
        )
        if over or min(self._in_a_row, calls) >= self.IN_A_ROW:
            self.opened += 1
            self._response = f"{self.opened} at {now}"
            self._move(contained(self._state, self._response, _moment(now)))
            self._window.clear()
            self._failed = self._in_a_row = 0

    def _count(self, now: float, *, success: bool) -> None:
        window = self._window
        window.append((now, success))
        if success:
            self._in_a_row = 0
        else:
            self._in_a_row += 1
            self._failed += 1
        while len(window) > LAST or now - window[0][0] > self.AGE:
            self._failed -= not window.popleft()[1]

    def _move(self, state: Containment) -> None:
        self._state = state
        self._active = state.stage is Stage.ACTIVE
        if state.stage is Stage.HELD:
            self.shut_until = NEVER
        elif state.until is not None:
            self.shut_until = (state.until - EPOCH).total_seconds()


class Envoy:
    """Five failures in a row eject for 30 s times the number of ejections, up to 300 s.

    A sweep every ten seconds lets back in, and takes one from the number where all was well. As
    in 1.31 and later (`outlier_detection_impl.cc` at 00c7146d). Left out: the success-rate rule,
    which asks for 100 requests in ten seconds; the other rules, which are off by default; and the
    limit of 10 % ejected at once, which below ten hosts ejects nobody.
    """

    IN_A_ROW, SWEEP, BASE, MOST = 5, 10.0, 30.0, 300.0

    def __init__(self) -> None:
        self.opened = 0
        self.shut_until = 0.0
        self._in_a_row = self._times = 0

    def admits(self, now: float) -> bool:
        return now >= self.shut_until

    def called(self, now: float, *, success: bool) -> None:
        if success:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row < self.IN_A_ROW:
            return
        self.opened += 1
        self._in_a_row = 0
        healthy_sweeps = int((now - self.shut_until) // self.SWEEP)
        self._times = max(self._times - healthy_sweeps, 0)
        if self._times * self.BASE < self.MOST + self.BASE:
            self._times += 1
        lasts = min(self.BASE * self._times, self.MOST)
        self.shut_until = math.ceil((now + lasts) / self.SWEEP) * self.SWEEP


class Resilience4j:
    """Half of the last 100 calls failed: open for 60 s, then ten calls decide.

    As in 2.4.0 (`CircuitBreakerStateMachine`, `CircuitBreakerMetrics`), with its window of calls.
    Left out: slow calls, of which there are none here.
    """

    WINDOW, OPEN, HALF_OPEN = 100, 60.0, 10

    def __init__(self) -> None:
        self.opened = 0
        self.shut_until = 0.0
        self._open = False
        self._last: deque[bool] = deque()
        self._size = self.WINDOW
        self._failed = 0

    def admits(self, now: float) -> bool:
        if self._open and now > self.shut_until:
            self._open = False
            self._start(self.HALF_OPEN)
        return not self._open

    def called(self, now: float, *, success: bool) -> None:
        self._last.append(success)
        self._failed += not success
        if len(self._last) < self._size:
            return
        if len(self._last) > self._size:
            self._failed -= not self._last.popleft()
        if 2 * self._failed >= self._size:
            self.opened += 1
            self._open = True
            self.shut_until = now + self.OPEN
        elif self._size == self.HALF_OPEN:
            self._start(self.WINDOW)

    def _start(self, size: int) -> None:
        self._last.clear()
        self._size, self._failed = size, 0


class Fail2ban:
    """Five failures within ten minutes ban for ten minutes; no success makes up for them.

    "Within" is an estimate: what is older counts at its rate, and nothing counts ten minutes after
    the last failure. As in 1.1.2.dev1 (`failmanager.py`, `ticket.py` and `jail.conf` at deffcbcd).
    Left out: the second that unbanning, and the five that forgetting, may take longer.
    """

    RETRIES, FIND, BAN = 5, 600.0, 600.0

    def __init__(self) -> None:
        self.opened = 0
        self.shut_until = 0.0
        self._failures = 0
        self._first = self._latest = 0.0

    def admits(self, now: float) -> bool:
        return not self.opened or now > self.shut_until

    def called(self, now: float, *, success: bool) -> None:
        if success:
            return
        if self._failures and now - self._latest >= self.FIND:
            self._failures = 0
        if not self._failures:
            self._first = now
        elif now - self._first > self.FIND:
            self._failures = round(self._failures / (now - self._first) * self.FIND)
            self._first = now - self.FIND
        self._latest = now
        self._failures += 1
        if self._failures >= self.RETRIES:
            self.opened += 1
            self._failures = 0
            self.shut_until = now + self.BAN


BREAKERS: Final[dict[str, type[Breaker]]] = {
    "ours": Forge,
    "Envoy": Envoy,
    "resilience4j": Resilience4j,
    "fail2ban": Fail2ban,
}


def _moment(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)
