"""What the platform tells of itself: CloudEvents 1.0 in JSON, each of a known type, read strictly.

An event is a claim of whoever may publish: it is checked for its shape and for its time, and names
overlays and members that there may not be. Unknown attributes are passed over, as CloudEvents asks;
so a newer runtime is not deaf to an older house.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from forge_core.clock import parse_moment
from forge_core.errors import Refused
from forge_core.immune.detectors.addresses import normalised
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.detectors.overlay_calls import Fault
from forge_core.text import shown

MESSAGE_MOST: Final = 1_000_000
"""Bytes of one message, a batch included."""
BATCH_MOST: Final = 1_000
AHEAD_MOST: Final = timedelta(seconds=60)
"""So far may a publisher's clock be in front of ours."""
KEPT: Final = timedelta(hours=24)

_DAY_MS: Final = 86_400_000
_WHOLE: Final = 2**53 - 1

# Printable and without spaces, as every id of the house. Patterns that count are matched slowly.
_Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\A[^\p{C}\p{Z}]*\z")]
_Word = Annotated[str, StringConstraints(max_length=300, pattern=r"\A[^\p{Cc}]*\z")]
_Count = Annotated[int, Field(ge=0, le=_WHOLE)]
_Percent = Annotated[float, Field(ge=0, le=100, strict=False, allow_inf_nan=False)]


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a time is a text as in RFC 3339")  # noqa: TRY004  # pydantic wants it so
    return parse_moment(value)


_Moment = Annotated[datetime, BeforeValidator(_text)]


class _Model(BaseModel):
    # Most processes never read an event: what reads them is made with the first one.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)


class Invoked(_Model):
    """An overlay ran. ``fuel`` and ``memory`` (bytes) are what it used."""

    overlay: _Id
    function: _Word = ""
    success: bool
    error: _Word | None = None
    fault: Annotated[Fault | None, Field(strict=False)] = None
    execution_ms: Annotated[int, Field(ge=0, le=_DAY_MS)] = 0
    fuel: _Count = 0
    memory: _Count = 0
    caller: _Id | None = None

    @model_validator(mode="after")
    def _failed_by_somebody(self) -> Invoked:
        if self.success == (self.fault is not None):
            raise ValueError("fault says who is to blame for a failure, and only for one")
        return self


class LifecycleChange(_Model):
    """An overlay was registered with the runtime, activated or stopped."""

    overlay: _Id


class Attempted(_Model):
    """Somebody tried to log in. ``ip`` is kept as the address that is counted."""

    ip: Annotated[str, AfterValidator(normalised)]
    member: _Id | None = None
    success: bool
    user_agent: _Word = ""


class RequestWindow(_Model):
    """One minute of a member's requests, as the gateway counted them."""

    member: _Id
    limit: Annotated[int, Field(ge=1, le=_WHOLE)]
    used: _Count
    refused: _Count = 0


class Downloaded(_Model):
    """A member fetched these items."""

    member: _Id
    items: Annotated[list[_Id], Field(min_length=1, max_length=1_000)]


class Sampled(_Model):
    """How a host is doing; shares in percent."""

    host: _Id
    memory: _Percent
    disk: _Percent
    queue_depth: _Count = 0
    connections: _Count = 0


class _Event(_Model):
    specversion: Literal["1.0"]
    id: _Id
    source: _Id
    time: _Moment


class OverlayInvoked(_Event):
    """CloudEvent ``overlay.invoked``."""

    type: Literal["overlay.invoked"]
    data: Invoked

    @property
    def subject(self) -> Subject:
        return Subject("overlay", self.data.overlay)


class OverlayChanged(_Event):
    """CloudEvents about an overlay's life in the runtime."""

    type: Literal["overlay.registered", "overlay.activated", "overlay.stopped"]
    data: LifecycleChange

    @property
    def subject(self) -> Subject:
        return Subject("overlay", self.data.overlay)


class AuthAttempted(_Event):
    """CloudEvent ``auth.attempted``."""

    type: Literal["auth.attempted"]
    data: Attempted

    @property
    def subject(self) -> Subject:
        return Subject("address", self.data.ip)


class ApiRequestWindow(_Event):
    """CloudEvent ``api.request_window``."""

    type: Literal["api.request_window"]
    data: RequestWindow

    @property
    def subject(self) -> Subject:
        return Subject("member", self.data.member)


class DataDownloaded(_Event):
    """CloudEvent ``data.downloaded``."""

    type: Literal["data.downloaded"]
    data: Downloaded

    @property
    def subject(self) -> Subject:
        return Subject("member", self.data.member)


class ResourceSampled(_Event):
    """CloudEvent ``resource.sampled``."""

    type: Literal["resource.sampled"]
    data: Sampled

    @property
    def subject(self) -> Subject:
        return Subject("host", self.data.host)


RuntimeEvent = (
    OverlayInvoked
    | OverlayChanged
    | AuthAttempted
    | ApiRequestWindow
    | DataDownloaded
    | ResourceSampled
)
_EVENT: Final[TypeAdapter[RuntimeEvent]] = TypeAdapter(
    Annotated[RuntimeEvent, Field(discriminator="type")], config=ConfigDict(defer_build=True)
)


_OUR_WORDS: Final = {
    "string_pattern_mismatch": "it is 1 to 200 characters without spaces, all of them visible",
    "union_tag_invalid": "there are no events of this type",
}


def read_message(body: bytes) -> Sequence[Any]:
    """The events of one message, a single one or a batch, each still to be read.

    Raises ``Refused`` MESSAGE_TOO_LARGE, MESSAGE_UNREADABLE.
    """
    if len(body) > MESSAGE_MOST:
        raise Refused("MESSAGE_TOO_LARGE", f"a message has at most {MESSAGE_MOST:,} bytes")
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused("MESSAGE_UNREADABLE", f"no JSON: {str(error)[:200]}") from error
    events = given if isinstance(given, list) else [given]
    if len(events) > BATCH_MOST:
        raise Refused("MESSAGE_TOO_LARGE", f"a batch has at most {BATCH_MOST:,} events")
    return events


def read_event(raw: object, now: datetime) -> RuntimeEvent:
    """One event. Raises ``Refused``.

    EVENT_INVALID, TIME_INVALID, ADDRESS_INVALID; EVENT_AHEAD and EVENT_TOO_OLD measure by ``now``.
    """
    try:
        event = _EVENT.validate_python(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(shown(part).strip("'") for part in problem["loc"][1:]) or "the event"
        why = _OUR_WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        raise Refused("EVENT_INVALID", f"{where}: {why}") from error
    if event.time - now > AHEAD_MOST:
        raise Refused("EVENT_AHEAD", f"it is dated {event.time.isoformat()}, in the future")
    if now - event.time > KEPT:
        raise Refused("EVENT_TOO_OLD", f"it is of {event.time.isoformat()}, more than a day ago")
    return event
