"""What an action changes, by name: a register, perhaps one aspect of a thing in it, and its id.

``setting:difficulty``, ``overlay:scout``, ``overlay.trust:scout``; a register of one thing
(``treasury``) needs no id. The aspect comes before the id,
which may hold any character. Proposals of one target are rivals; what they lock while they execute
is the thing itself, whatever aspect of it they change.
"""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """The parts of a target's name."""

    register: str
    aspect: str | None
    id: str

    def __str__(self) -> str:
        aspect = "" if self.aspect is None else f".{self.aspect}"
        return f"{self.register}{aspect}:{self.id}" if self.id else self.register

    @property
    def lock(self) -> str:
        """The name that stands for the thing as a whole."""
        return str(self._replace(aspect=None))

    @classmethod
    def parse(cls, name: str) -> Target:
        """Undo ``str``."""
        kind, _, id_ = name.partition(":")
        register, _, aspect = kind.partition(".")
        return cls(register, aspect or None, id_)


def named(register: str, id_: str, aspect: str | None = None) -> str:
    """The name of a target."""
    return str(Target(register, aspect, id_))
