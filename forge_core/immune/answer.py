"""What a finding is answered with, given how things stand. Pure.

The rung that the rule's ladder comes to, unless something speaks against touching anybody: then
it is written down, or people are told, and the answer says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forge_core.immune.rulebook import Governed, Mode, Rung


class Why(StrEnum):
    """Why an answer goes no further than it does."""

    LADDER = "the rule's ladder"
    MODE = "the rule is only to observe"
    ALLOWED = "the subject is on the allowlist"
    UNKNOWN = "nothing of that name is registered"
    PAUSED = "automatic action pauses"
    CORE = "CORE is never touched automatically"
    LAST_PROVIDER = "it is the last provider of a capability"
    BLAST_RADIUS = "too many overlays are contained already"


@dataclass(frozen=True)
class Circumstances:
    """What there is to consider beside the finding; ``earlier``: answers to it in the last hour."""

    mode: Mode
    earlier: int = 0
    known: bool = True
    allowed: bool = False
    paused: bool = False
    core: bool = False
    last_provider: bool = False
    within_blast_radius: bool = True


@dataclass(frozen=True)
class Answer:
    """A rung, and what people may confirm (``pending``) where it may not go as far as it would."""

    rung: Rung
    why: Why = Why.LADDER
    pending: Rung | None = None

    @property
    def is_systemic(self) -> bool:
        """Whether what fails is no fault of single overlays any more."""
        return self.why is Why.BLAST_RADIUS


def answer_to(rule: Governed, given: Circumstances) -> Answer:
    """The answer; nothing touches anybody unless everything speaks for it."""
    rung = rule.ladder[min(given.earlier, len(rule.ladder) - 1)]
    if not given.known:
        return Answer(Rung.OBSERVE, Why.UNKNOWN)
    if given.mode is Mode.OBSERVE:
        return Answer(Rung.OBSERVE, Why.MODE)
    if not rung.touches:
        return Answer(rung)
    against = (
        (given.allowed, Answer(Rung.OBSERVE, Why.ALLOWED)),
        (given.paused, Answer(Rung.OBSERVE, Why.PAUSED)),
        (given.core, Answer(Rung.WARN, Why.CORE, pending=rung)),
        (given.last_provider, Answer(Rung.WARN, Why.LAST_PROVIDER, pending=rung)),
        (not given.within_blast_radius, Answer(Rung.WARN, Why.BLAST_RADIUS)),
    )
    return next((answer for speaks, answer in against if speaks), Answer(rung))
