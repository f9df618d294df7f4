"""The rules in force: what governance may set about each, and how far its findings are answered.

Every rule is one registered value of class ``rule``: a mode and the rule's terms. So only the
protected track changes them, and a proposal shows the whole rule as it was and as it will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from forge_core.capabilities.declaration import Capability, CapabilityClass, Value
from forge_core.clock import parse_moment
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.immune.detectors import (
    attempts,
    crowds,
    hosts,
    overlay_calls,
    overlay_life,
    usage,
)
from forge_core.immune.detectors.addresses import Network, parse_network
from forge_core.immune.detectors.finding import Rule, Subject, Terms

PREFIX: Final = "immune."
ALLOWED_MOST: Final = 30


class Mode(StrEnum):
    """``observe`` finds and writes down; only ``enforce`` touches anybody."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


class Rung(StrEnum):
    """How far a response goes, in this order; ``restrict`` is for members, ``block`` addresses."""

    OBSERVE = "observe"
    WARN = "warn"
    THROTTLE = "throttle"
    RESTRICT = "restrict"
    BLOCK = "block"
    QUARANTINE = "quarantine"
    HOLD = "hold"

    @property
    def height(self) -> int:
        """Its place in the order."""
        return list(Rung).index(self)

    @property
    def touches(self) -> bool:
        """Whether whom it is about feels anything of it."""
        return self.height >= Rung.THROTTLE.height


@dataclass(frozen=True)
class Term:
    """A threshold: a whole number, or a decimal as text; its bounds are inclusive."""

    default: int | str
    least: int | str
    most: int | str

    @property
    def annotated(self) -> Any:
        """As pydantic reads it."""
        if isinstance(self.default, int):
            return Annotated[int, Field(ge=self.least, le=self.most)]
        return Annotated[str, AfterValidator(self._decimal)]

    def _decimal(self, value: str) -> str:
        if len(value) > 20:
            raise ValueError("at most 20 characters")
        try:
            number = parse_decimal(value)
        except Refused as refusal:
            raise ValueError(refusal.message) from refusal  # pydantic says where it stands
        if not parse_decimal(self.least) <= number <= parse_decimal(self.most):
            raise ValueError(f"{self.least} to {self.most} is allowed")
        return to_decimal_string(number)


class RuleValue(BaseModel):
    """What is set of any rule; each adds its terms."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    mode: Mode = Mode.ENFORCE


@dataclass(frozen=True)
class Governed:
    """A rule with its terms, and the rungs that its findings climb.

    The first finding is answered with the first rung, one that follows within an hour of it with
    the next. A response of a rung that has no ladder of its own ``lasts`` so long. Rules of one
    ``matter`` find the same thing in two ways; it is answered once.
    """

    rule: Rule
    description: str
    ladder: tuple[Rung, ...]
    terms: Mapping[str, Term]
    mode: Mode = Mode.ENFORCE
    lasts: timedelta = timedelta(minutes=10)
    matter: str = ""
    model: type[BaseModel] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fields: dict[str, Any] = {
            name: (term.annotated, term.default) for name, term in self.terms.items()
        }
        fields["mode"] = (Mode, self.mode)
        name = "".join(part.title() for part in self.rule.name.replace(".", "_").split("_"))
        object.__setattr__(self, "matter", self.matter or self.rule.name)
        object.__setattr__(self, "model", create_model(name, __base__=RuleValue, **fields))

    @property
    def key(self) -> str:
        """Under which governance sets it."""
        return PREFIX + self.rule.name

    @property
    def capability(self) -> Capability:
        """Its declaration."""
        return Capability(
            key=self.key,
            klass=CapabilityClass.RULE,
            description=self.description,
            model=self.model,
            default={},
        )


_TEN: Final = Term(10, 3, 1_000)
_HALF: Final = Term("0.5", "0.05", "0.99")
_CALLS: Final = Term(10, 5, overlay_calls.LAST)

RULEBOOK: Final = (
    Governed(
        overlay_calls.FAILURE_RATE,
        "quarantines an overlay of whose last 50 calls more than this share failed",
        (Rung.QUARANTINE,),
        {"rate": _HALF, "least_calls": _CALLS},
        matter="failing",
    ),
    Governed(
        overlay_calls.FAILURES_IN_A_ROW,
        "quarantines an overlay of which so many calls failed one after the other",
        (Rung.QUARANTINE,),
        {"in_a_row": Term(10, 3, overlay_calls.LAST)},
        matter="failing",
    ),
    Governed(
        overlay_calls.SLOW_CALLS,
        "warns of, then throttles an overlay of whose last 50 calls more than this share were slow",
        (Rung.WARN, Rung.THROTTLE),
        {"slow_rate": _HALF, "least_calls": _CALLS},
    ),
    Governed(
        overlay_calls.EXHAUSTION,
        "warns of, then throttles an overlay whose calls come near a limit of its manifest",
        (Rung.WARN, Rung.THROTTLE),
        {"exhausted_rate": _HALF, "least_calls": _CALLS},
    ),
    Governed(
        overlay_life.OUTLIER,
        "notes an overlay that fails far more than the others",
        (Rung.OBSERVE,),
        {
            "least_calls": Term(50, 10, 10_000),
            "least_peers": Term(5, 3, 1_000),
            "deviations": Term("3.5", "2", "20"),
        },
        mode=Mode.OBSERVE,
    ),
    Governed(
        overlay_life.FLAPS,
        "holds an overlay for people that was quarantined so often within a day",
        (Rung.HOLD,),
        {"quarantines": Term(3, 2, 100)},
    ),
    Governed(
        overlay_life.SILENCE,
        "warns of an overlay that nobody calls while so many calls are usual",
        (Rung.WARN,),
        {"expected": Term(30, 10, 10_000)},
        lasts=timedelta(hours=1),
    ),
    Governed(
        attempts.GUESSING,
        "blocks an address from which so many attempts to log in failed within 5 minutes",
        (Rung.BLOCK,),
        {"failures": _TEN},
    ),
    Governed(
        attempts.SPRAYING,
        "blocks an address from which attempts failed for so many members within an hour",
        (Rung.BLOCK,),
        {"members": _TEN},
    ),
    Governed(
        attempts.RIGHT_GUESS,
        "warns of a success after so many failed attempts for the same member within an hour",
        (Rung.WARN,),
        {"failures_before": Term(5, 2, 1_000)},
        lasts=timedelta(hours=1),
    ),
    Governed(
        usage.RATE_ABUSE,
        "warns of, then restricts a member whose limit is used up to this share in so many of 5 "
        "minutes",
        (Rung.WARN, Rung.RESTRICT),
        {"full": Term("0.9", "0.5", "1"), "full_minutes": Term(3, 2, usage.LAST)},
    ),
    Governed(
        usage.HOARDING,
        "warns of, then restricts a member who downloads far more than usual within an hour",
        (Rung.WARN, Rung.RESTRICT),
        {"floor": Term(500, 50, 1_000_000), "times_usual": Term("5", "2", "100")},
        lasts=timedelta(hours=1),
    ),
    Governed(
        hosts.RUNNING_OUT,
        "warns of a host whose memory or disk is used up to these shares",
        (Rung.WARN,),
        {
            "memory_warning": Term("0.8", "0.5", "1"),
            "memory_critical": Term("0.95", "0.5", "1"),
            "disk_warning": Term("0.85", "0.5", "1"),
            "disk_critical": Term("0.95", "0.5", "1"),
        },
    ),
    Governed(
        crowds.BURST,
        "notes a proposal on which far more is voted in a minute than usual",
        (Rung.OBSERVE,),
        {"least_ballots": Term(20, 5, 100_000), "times_usual": Term("10", "2", "1000")},
        mode=Mode.OBSERVE,
    ),
    Governed(
        crowds.NEW_ACCOUNTS,
        "notes a proposal for one side of which mostly new members vote",
        (Rung.OBSERVE,),
        {"least_new": Term(5, 2, 10_000), "new_share": Term("0.5", "0.1", "1")},
        mode=Mode.OBSERVE,
    ),
)
GOVERNED: Final[Mapping[str, Governed]] = {one.rule.name: one for one in RULEBOOK}
"""By the names of the rules, in the order in which they are listed."""


def _moment(value: str) -> str:
    parse_moment(value)
    return value


def _network(value: str) -> str:
    return str(parse_network(value))


class AllowedSubject(BaseModel):
    """Somebody who is observed and never touched: an overlay, a member, a host or a network."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    overlay: str | None = None
    member: str | None = None
    network: Annotated[str, AfterValidator(_network)] | None = None
    until: Annotated[str, AfterValidator(_moment)] | None = None

    def holds(self, subject: Subject, now: datetime) -> bool:
        """Whether it is about the subject, and not over yet."""
        until = parse_moment(self.until)
        if until is not None and now >= until:
            return False
        if subject.kind == "address":
            return self.network is not None and Network(self.network).holds(subject.id)
        return subject.id == {"overlay": self.overlay, "member": self.member}.get(subject.kind)


class Responses(BaseModel):
    """What holds for all rules."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    mode: Mode = Mode.ENFORCE
    blast_share: Annotated[str, AfterValidator(Term("0.2", "0.01", "0.5")._decimal)] = "0.2"
    pause_minutes: Annotated[int, Field(ge=1, le=1_440)] = 10


class Allowlist(BaseModel):
    """Who is never touched automatically."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    allowed: Annotated[list[AllowedSubject], Field(max_length=ALLOWED_MOST)] = Field(
        default_factory=list
    )


RESPONSES_KEY: Final = PREFIX + "responses"
ALLOWLIST_KEY: Final = PREFIX + "allowlist"

CAPABILITIES: Final = (
    *(one.capability for one in RULEBOOK),
    Capability(
        key=RESPONSES_KEY,
        klass=CapabilityClass.RULE,
        description="whether anybody is touched automatically, which share of the overlays at "
        "once, and for how long all of it pauses beyond that",
        model=Responses,
        default={},
    ),
    Capability(
        key=ALLOWLIST_KEY,
        klass=CapabilityClass.RULE,
        description="overlays, members and networks that are never touched automatically",
        model=Allowlist,
        default={},
    ),
)


@dataclass(frozen=True)
class InForce:
    """The rulebook as governance has set it now; ``terms`` of the rules that are not off."""

    modes: Mapping[str, Mode]
    terms: Mapping[str, Terms]
    responses: Responses
    allowlist: Allowlist

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> InForce:
        """From present values; a key without one stands at its default."""
        set_: dict[str, Any] = {one.rule.name: _of(one, values) for one in RULEBOOK}
        responses = Responses.model_validate(values.get(RESPONSES_KEY, {}), strict=False)
        # Of the rule's own mode and the one for all the lower one holds.
        modes = {
            name: min(Mode(value["mode"]), responses.mode, key=list(Mode).index)
            for name, value in set_.items()
        }
        terms = {
            name: {term: parse_decimal(value[term]) for term in GOVERNED[name].terms}
            for name, value in set_.items()
            if modes[name] is not Mode.OFF
        }
        allowlist = Allowlist.model_validate(values.get(ALLOWLIST_KEY, {}), strict=False)
        return cls(modes, terms, responses, allowlist)

    def allows(self, subject: Subject, now: datetime) -> bool:
        """Whether the subject is on the allowlist."""
        return any(one.holds(subject, now) for one in self.allowlist.allowed)

    @property
    def blast_share(self) -> Fraction:
        return parse_decimal(self.responses.blast_share)

    @property
    def pause(self) -> timedelta:
        return timedelta(minutes=self.responses.pause_minutes)


def keys() -> Iterable[str]:
    """Every key of the immune system."""
    return (one.key for one in CAPABILITIES)


def _of(one: Governed, values: Mapping[str, Value]) -> dict[str, Any]:
    value: Any = values.get(one.key, {})
    return one.model.model_validate(value, strict=False).model_dump(mode="json")
