"""Why there is no answer: in our own words, with nothing in it that somebody else wrote."""

from __future__ import annotations

from datetime import timedelta

from forge_core.errors import ForgeError


class NoAnswer(ForgeError):
    """A call that came to nothing.

    ``outage`` says that the service is at fault, and counts for the breaker; ``again`` that the
    same call may do better later, ``after`` how long the service wishes to be left alone.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        outage: bool = False,
        again: bool = False,
        after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # each failure has its own code
        self.message = message
        self.outage = outage
        self.again = again
        self.after = after

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
