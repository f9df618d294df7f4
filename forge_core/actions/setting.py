"""Actions that set a registered key: configuration, feature_activation, governance_rule."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.fields import NAME_MOST, switch_field, text_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present, require_still
from forge_core.actions.targets import Target, named
from forge_core.capabilities.declaration import Capability, CapabilityClass, Value
from forge_core.capabilities.features import FIAT_UNLOCK, PREFIX
from forge_core.capabilities.values import SETTING_CHANGED, SETTING_RESTORED, Setting
from forge_core.clock import rfc3339
from forge_core.errors import Refused
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel
from forge_core.text import ID_MOST, shown

_CHANGED_BY: Final = {
    CapabilityClass.ORDINARY: "configuration",
    CapabilityClass.PROTOCOL: "configuration",
    CapabilityClass.FEATURE: "feature_activation",
    CapabilityClass.TREASURY: "governance_rule",
    CapabilityClass.RULE: "governance_rule",
    CapabilityClass.EMERGENCY: "emergency",
}


def _value(key: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, list):
            raise Refused(
                "PAYLOAD_WRONG_TYPE",
                f"payload.{key} must be a number, a text, true or false, or the object of a "
                f"registered model, not {shown(value)}",
            )
        return value

    return BeforeValidator(check)


class SetValue(Action):
    """Set one registered key. ``old_value``, when given, is compared at execution (INV-32)."""

    key: Annotated[str, text_field("key", ID_MOST)]
    new_value: Annotated[Any, _value("new_value")]
    old_value: Annotated[Any, _value("old_value")] = None


class SwitchFeature(Action):
    """Switch a feature on or off."""

    feature: Annotated[str, text_field("feature", NAME_MOST)]
    enabled: Annotated[bool, switch_field("enabled")]

    @property
    def key(self) -> str:
        return PREFIX + self.feature


def checked(catalogue: Catalogue, action: SetValue) -> SetValue:
    """Canonical values within the bounds of the key's declaration."""
    declared = catalogue.get(action.key)
    new = declared.check(action.new_value, name="payload.new_value")
    if "old_value" not in action.model_fields_set or action.old_value is None:
        return SetValue(key=action.key, new_value=new)
    old = declared.check(action.old_value, name="payload.old_value")
    if old == new:
        raise Refused("NO_CHANGE", f"payload.new_value is {shown(new)}, as payload.old_value is")
    return SetValue(key=action.key, new_value=new, old_value=old)


def completed(present: Present, action: SetValue) -> SetValue:
    """Without an ``old_value`` the proposal is against the present one; execution compares."""
    if action.old_value is not None:
        return action
    value = present.setting(action.key).value
    if value == action.new_value:
        raise Refused("NO_CHANGE", f"{action.key} is {shown(value)} already")
    return SetValue(key=action.key, new_value=action.new_value, old_value=value)


def require_class(type_: str, declared: Capability) -> None:
    """``TYPE_MISMATCH`` unless keys of that class are changed by this type of proposal."""
    wanted = _CHANGED_BY[declared.klass]
    if wanted != type_:
        raise Refused(
            "TYPE_MISMATCH",
            f"{declared.key} is of class {declared.klass}: it is changed only by "
            f"{wanted}, not by {type_}",
        )


def plan_value(present: Present, frame: Frame, key: str, new: object) -> Planned:
    """The present value and the checked new one; the entry that sets it."""
    declared = present.catalogue.get(key)
    before, after = present.setting(key), declared.check(new)
    if before.value == after:
        raise Refused("NO_CHANGE", f"{key} is {shown(after)} already")
    present.write(target(key), Setting(after, frame.proposal))
    data = {"before": before.value, "after": after, "proposal": frame.proposal}
    return Planned(
        target=target(key),
        before=before.value,
        after=after,
        entries=(Entry(SETTING_CHANGED, frame.at, frame.proposer, key, data),),
        way_back={"writer": before.writer},
        capability=declared,
    )


def undo_value(present: Present, effect: Effect, frame: Frame) -> Planned:
    """The value before, and whoever had written that; only while nobody has changed it since."""
    key = Target.parse(effect.target).id
    declared = present.catalogue.get(key)
    now = present.setting(key)
    present.require_latest(effect)
    require_still(key, expected=effect.after, present=now.value)
    writer = effect.way_back["writer"]
    # Bounds may have changed since, and so may a declared default.
    restored: Value = declared.default if writer is None else declared.check(effect.before)
    if restored != effect.before:
        raise Refused("STALE_VALUE", f"the default of {key} is {restored} now")
    present.write(effect.target, Setting(restored, writer))
    data = {
        "before": now.value,
        "after": restored,
        "writer": writer,
        "undoes": effect.proposal,
        "proposal": frame.proposal,
    }
    return Planned(
        target=effect.target,
        before=now.value,
        after=restored,
        entries=(Entry(SETTING_RESTORED, frame.at, frame.proposer, key, data),),
        capability=declared,
    )


def target(key: str) -> str:
    """What proposals on one key have in common."""
    return named("setting", key)


def _plan_set(present: Present, action: SetValue, frame: Frame) -> Planned:
    if action.old_value is not None:
        now = present.setting(action.key).value
        require_still(action.key, expected=action.old_value, present=now)
    return plan_value(present, frame, action.key, action.new_value)


def _plan_switch(present: Present, action: SwitchFeature, frame: Frame) -> Planned:
    if action.key == FIAT_UNLOCK and action.enabled:
        _require_open(present)
    # Whoever proposed to switch it expected it the other way.
    now = present.setting(action.key).value
    require_still(action.key, expected=not action.enabled, present=now)
    return plan_value(present, frame, action.key, action.enabled)


def _complete_switch(present: Present, action: SwitchFeature) -> SwitchFeature:
    if present.setting(action.key).value == action.enabled:
        raise Refused("NO_CHANGE", f"{action.key} is {shown(action.enabled)} already")
    return action


def _require_open(present: Present) -> None:
    opens_at = str(present.setting("fiat_unlock.opens_at").value)
    if rfc3339(present.now) < opens_at:
        raise Refused("FEATURE_NOT_OPEN", f"fiat_unlock may be unlocked from {opens_at} on")


def _klass(catalogue: Catalogue, action: SetValue | SwitchFeature) -> CapabilityClass:
    return catalogue.get(action.key).klass


def _setting_kind(name: str, trust: TrustLevel, *, census: bool = False) -> ActionKind[SetValue]:
    def check(catalogue: Catalogue, action: SetValue) -> SetValue:
        require_class(name, catalogue.get(action.key))
        return checked(catalogue, action)

    return ActionKind(
        name=name,
        trust=trust,
        model=SetValue,
        touches=_klass,
        target=lambda action: target(action.key),
        plan=_plan_set,
        undo=undo_value,
        check=check,
        complete=completed,
        census=census,
    )


def _check_switch(catalogue: Catalogue, action: SwitchFeature) -> SwitchFeature:
    require_class("feature_activation", catalogue.get(action.key))
    catalogue.get(action.key).check(action.enabled, name="payload.enabled")
    return action


CONFIGURATION = _setting_kind("configuration", TrustLevel.TRUSTED)

# The weights and thresholds of voting are among these.
GOVERNANCE_RULE = _setting_kind("governance_rule", TrustLevel.CORE, census=True)

FEATURE_ACTIVATION = ActionKind(
    name="feature_activation",
    trust=TrustLevel.TRUSTED,
    model=SwitchFeature,
    touches=_klass,
    target=lambda action: target(action.key),
    plan=_plan_switch,
    undo=undo_value,
    check=_check_switch,
    complete=_complete_switch,
)
