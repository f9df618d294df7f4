"""What a call comes to: a text, or why there is none, in our own words and nobody else's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from forge_core.advisory.analysis import Usage
from forge_core.errors import ForgeError


class NoAnswer(ForgeError):
    """A call that came to nothing.

    ``outage`` says that the service is at fault, and counts for the breaker; ``again`` that the
    same call may do better later, ``after`` how long the service wishes to be left alone, and
    ``paid`` that it may have cost something all the same: nobody knows what.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        outage: bool = False,
        again: bool = False,
        after: timedelta | None = None,
        paid: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # each failure has its own code
        self.message = message
        self.outage = outage
        self.again = again
        self.after = after
        self.paid = paid

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class Reply:
    """A text or a failure. ``usage`` is None where nobody can know it."""

    text: str | None
    failure: NoAnswer | None
    usage: Usage | None

    @classmethod
    def failed(cls, failure: NoAnswer) -> Reply:
        return cls(None, failure, None if failure.paid else Usage(calls=1))
