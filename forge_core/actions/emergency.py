"""Emergencies: pause all execution for a while, resume it, or adjust a parameter within limits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator, model_validator

from forge_core.actions import setting
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.fields import one_of_field, text_field, whole_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present, require_still
from forge_core.actions.windows import TARGET, WINDOW_ENDED, Window, imposed, windows
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.capabilities.emergencies import ADJUSTMENT, PAUSE_HOURS
from forge_core.clock import as_utc, rfc3339
from forge_core.errors import Refused
from forge_core.exact import parse_decimal
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel
from forge_core.text import ID_MOST

PAUSE_HOURS_MOST: Final = 168
_FIELDS: Final = {
    "pause": {"hours"},
    "resume": set[str](),
    "adjust": {"key", "new_value", "old_value"},
}


class Emergency(Action):
    """``pause`` for some hours, ``resume``, or ``adjust`` a key to a new value."""

    action: Annotated[str, one_of_field("action", "pause", "resume", "adjust")]
    hours: Annotated[int | None, whole_field("hours", 1, PAUSE_HOURS_MOST)] = None
    key: Annotated[str | None, text_field("key", ID_MOST)] = None
    new_value: Annotated[Any, BeforeValidator(lambda value: value)] = None
    old_value: Annotated[Any, BeforeValidator(lambda value: value)] = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Emergency:
        given = self.model_fields_set - {"action"}
        allowed = _FIELDS[self.action]
        for key in sorted(given - allowed):
            raise Refused("PAYLOAD_UNKNOWN_KEY", f"payload.{key} does not belong to {self.action}")
        for key in sorted(allowed - {"old_value"} - given):
            raise Refused(
                "PAYLOAD_MISSING_KEY", f"payload.{key} is missing; {self.action} needs it"
            )
        return self

    @property
    def value(self) -> setting.SetValue:
        """The adjustment as the setting of a key."""
        old = {} if self.old_value is None else {"old_value": self.old_value}
        return setting.SetValue(key=cast("str", self.key), new_value=self.new_value, **old)


def _check(catalogue: Catalogue, action: Emergency) -> Emergency:
    if action.action != "adjust":
        return action
    declared = catalogue.get(action.key)
    if declared.klass not in (CapabilityClass.ORDINARY, CapabilityClass.PROTOCOL) or (
        declared.type not in ("integer", "decimal")
    ):
        raise Refused(
            "TYPE_MISMATCH",
            f"{declared.key} is of class {declared.klass}, {declared.type or 'a document'}: an "
            "emergency adjusts ordinary and protocol numbers only",
        )
    return _with(action, setting.checked(catalogue, action.value))


def _complete(present: Present, action: Emergency) -> Emergency:
    if action.action != "adjust":
        return action
    return _with(action, setting.completed(present, action.value))


def _with(action: Emergency, value: setting.SetValue) -> Emergency:
    return Emergency(action=action.action, **value.model_dump(exclude_none=True))


def _target(action: Emergency) -> str:
    return setting.target(cast("str", action.key)) if action.action == "adjust" else TARGET


def _plan(present: Present, action: Emergency, frame: Frame) -> Planned:
    if action.action == "adjust":
        return _plan_adjustment(present, action, frame)
    if action.action == "pause":
        return _plan_pause(present, cast("int", action.hours), frame)
    return _plan_resumption(present, frame)


def _plan_adjustment(present: Present, action: Emergency, frame: Frame) -> Planned:
    value = action.value
    now = present.setting(value.key).value
    if value.old_value is not None:
        require_still(value.key, expected=value.old_value, present=now)
    share = parse_decimal(present.setting(ADJUSTMENT).value)
    old, new = parse_decimal(now), parse_decimal(value.new_value)
    if abs(new - old) > share * abs(old):
        raise Refused(
            "ADJUSTMENT_TOO_LARGE",
            f"{value.key} is {now}; an emergency changes it by at most {share * 100} % of that, "
            f"to {value.new_value} would be more",
        )
    return setting.plan_value(present, frame, value.key, value.new_value)


def _plan_pause(present: Present, hours: int, frame: Frame) -> Planned:
    most = cast("int", present.setting(PAUSE_HOURS).value)
    if hours > most:
        raise Refused("VALUE_OUT_OF_RANGE", f"a pause lasts at most {most} hours, not {hours}")
    window = Window(
        f"w-{frame.proposal}-{frame.index}",
        "pause",
        frame.at,
        frame.at + timedelta(hours=hours),
    )
    before = _pause(present)
    if before is not None and before.until_at >= window.until_at:
        raise Refused("NO_CHANGE", f"execution is paused until {rfc3339(before.until_at)} already")
    present.write(TARGET, window)
    entry = imposed(window, actor=frame.proposer, at=frame.at, more={"proposal": frame.proposal})
    return Planned(TARGET, _shown(before), _shown(window), (entry,))


def _plan_resumption(present: Present, frame: Frame) -> Planned:
    pause = _pause(present)
    if pause is None:
        raise Refused("NO_CHANGE", "execution is not paused")
    present.write(TARGET, None)
    ended = _ended(present, frame, longer_than=frame.at)
    return Planned(TARGET, _shown(pause), None, tuple(ended))


def _undo(present: Present, effect: Effect, frame: Frame) -> Planned:
    """Paused as long as before, and by the same pause where that is still there."""
    if effect.target != TARGET:
        return setting.undo_value(present, effect, frame)
    present.require_latest(effect)
    was = None if effect.before is None else datetime.fromisoformat(effect.before["until"])
    until = frame.at if was is None else as_utc(was)
    before = _pause(present)
    entries = _ended(present, frame, longer_than=until)
    left = _last(w for w in _pauses(present) if w.holds(present.now) and w.until_at <= until)
    if until > frame.at and (left is None or left.until_at < until):
        left = Window(f"w-{frame.proposal}-{frame.index}", "pause", frame.at, until)
        more = {"proposal": frame.proposal}
        entries.append(imposed(left, actor=frame.proposer, at=frame.at, more=more))
    return Planned(TARGET, _shown(before), _shown(left), tuple(entries))


def _ended(present: Present, frame: Frame, *, longer_than: datetime) -> list[Entry]:
    return [
        Entry(WINDOW_ENDED, frame.at, frame.proposer, window.id, {"proposal": frame.proposal})
        for window in _pauses(present)
        if window.until_at > longer_than
    ]


def _pauses(present: Present) -> list[Window]:
    return [window for window in windows(present.session, present.now) if window.kind == "pause"]


def _last(found: Iterable[Window]) -> Window | None:
    return max(found, key=lambda window: window.until_at, default=None)


def _pause(present: Present) -> Window | None:
    """The pause that ends last, if there is one in force."""

    def load(_session: object) -> Window | None:
        return _last(window for window in _pauses(present) if window.holds(present.now))

    return present.read(TARGET, load)


def _shown(window: Window | None) -> dict[str, str] | None:
    return None if window is None else {"paused": window.id, "until": rfc3339(window.until_at)}


KIND = ActionKind(
    name="emergency",
    trust=TrustLevel.CORE,
    model=Emergency,
    touches=lambda *_: CapabilityClass.EMERGENCY,
    target=_target,
    plan=_plan,
    undo=_undo,
    check=_check,
    complete=_complete,
    paused=False,
)
