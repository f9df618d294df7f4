"""Every refusal and failure of the house, as types with a stable machine code.

A message says what was wrong and what would be right. It never carries a secret, and no
personal text longer than a short, escaped excerpt.
"""

from __future__ import annotations

from typing import ClassVar


class ForgeError(Exception):
    """The root: anything this project raises on purpose."""

    code: ClassVar[str] = "FORGE_ERROR"
    http_status: ClassVar[int] = 500

    @property
    def detail(self) -> str:
        """What was wrong and what would be right, without the code."""
        return str(self)


class Refused(ForgeError):
    """A rule said no. The refusal is the answer; trying again unchanged gives it again.

    ``code`` is chosen where the rule stands, so that one word (``VOTER_NOT_IN_ROLL``) finds the
    rule, its test and its documentation.
    """

    http_status: ClassVar[int] = 422

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # each refusal has its own code
        self.message = message
        if code.endswith("_UNKNOWN"):  # what was asked for is not there
            self.http_status = 404  # type: ignore[misc]

    @property
    def detail(self) -> str:
        """What was wrong and what would be right, without the code."""
        return self.message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Unavailable(ForgeError):
    """A server (database, broker, counters) cannot be used now. Exit status 3 of the CLI."""

    code: ClassVar[str] = "UNAVAILABLE"
    http_status: ClassVar[int] = 503


class Misconfigured(Unavailable):
    """A setting is missing or wrong; the message names it and says what would be right."""

    code: ClassVar[str] = "MISCONFIGURED"


class Fenced(ForgeError):
    """This worker's claim on a job was taken back; its work is rolled back, never applied."""

    code: ClassVar[str] = "FENCED"


class Inconsistent(ForgeError):
    """Stored facts contradict an invariant. Never repaired silently."""

    code: ClassVar[str] = "INCONSISTENT"
