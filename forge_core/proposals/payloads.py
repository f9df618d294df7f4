"""What each type of proposal carries, and its canonical bytes.

A payload is parsed when it is proposed and again when it is executed: bounds and classes are
checked both times (INV-39), and the hash fixes what was voted on (INV-33).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import rfc8785
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from forge_core.capabilities.declaration import CapabilityClass, Value
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel, parse_level
from forge_core.proposals.json_guard import require_plain_object
from forge_core.proposals.types import RULES, ProposalType, parse_type
from forge_core.text import ID_MOST, require_id, require_text, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge_core.capabilities.registry import Registry

TEXT_MOST: Final = 10_000
NAME_MOST: Final = 200
VERSION_MOST: Final = 64
EXECUTION_MS_MOST: Final = 600_000

_VERSION: Final = re.compile(
    r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_CHANGED_BY: Final = {
    CapabilityClass.FEATURE: "feature_activation",
    CapabilityClass.TREASURY: "treasury_allocation",
    CapabilityClass.RULE: "governance_rule",
}


def _id(key: str) -> BeforeValidator:
    return BeforeValidator(lambda value: require_id(f"payload.{key}", value))


def _text(key: str, most: int) -> BeforeValidator:
    return BeforeValidator(lambda v: require_text(f"payload.{key}", v, least=1, most=most))


def _level(key: str) -> BeforeValidator:
    return BeforeValidator(lambda value: parse_level(f"payload.{key}", value))


def _version(key: str) -> BeforeValidator:
    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > VERSION_MOST or not _VERSION.fullmatch(value):
            raise Refused(
                "VERSION_INVALID",
                f"payload.{key} is {shown(value)}; a version looks like 1.4.0 or 2.0.0-rc.1 "
                f"and has at most {VERSION_MOST} characters",
            )
        return value

    return BeforeValidator(check)


def _execution_ms(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(
            "PAYLOAD_WRONG_TYPE",
            f"payload.max_execution_ms must be a whole number, not {shown(value)}",
        )
    if not 1 <= value <= EXECUTION_MS_MOST:
        raise Refused(
            "VALUE_OUT_OF_RANGE",
            f"payload.max_execution_ms is {shown(value)}; 1 to {EXECUTION_MS_MOST:,} is allowed",
        )
    return value


def _scalar(key: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, (dict, list)):
            raise Refused(
                "PAYLOAD_WRONG_TYPE",
                f"payload.{key} must be a number, a text, true or false, not {shown(value)}",
            )
        return value

    return BeforeValidator(check)


class _Payload(BaseModel):
    """``TEXTS`` are the free texts: the ledger has their commitments in their place."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    TEXTS: ClassVar[tuple[str, ...]] = ()


class Configuration(_Payload):
    """Set one registered key. ``old_value``, when given, is compared at execution (INV-32)."""

    key: Annotated[str, _text("key", ID_MOST)]
    new_value: Annotated[Any, _scalar("new_value")]
    old_value: Annotated[Any, _scalar("old_value")] = None


class Policy(_Payload):
    """Enter a policy in the register; without ``text`` the proposal's description is the text."""

    TEXTS = ("text",)

    text: Annotated[str | None, _text("text", TEXT_MOST)] = None


class TrustAdjustment(_Payload):
    """Give a member another trust level."""

    member: Annotated[str, _id("member")]
    current_trust: Annotated[TrustLevel, _level("current_trust")]
    new_trust: Annotated[TrustLevel, _level("new_trust")]

    @model_validator(mode="after")
    def _changes_something_allowed(self) -> TrustAdjustment:
        if self.new_trust is self.current_trust:
            raise Refused("NO_CHANGE", f"payload.new_trust is {self.new_trust}, as it is already")
        if self.new_trust is TrustLevel.CORE:
            raise Refused(
                "CORE_NOT_GRANTED",
                "payload.new_trust is CORE; a CORE seat is never granted by trust_adjustment",
            )
        return self


class OverlayRegistration(_Payload):
    """Admit a new overlay. ``max_execution_ms`` bounds one of its runs, in milliseconds."""

    TEXTS = ("name", "description")

    overlay: Annotated[str, _id("overlay")]
    name: Annotated[str, _text("name", NAME_MOST)]
    version: Annotated[str, _version("version")]
    description: Annotated[str | None, _text("description", TEXT_MOST)] = None
    max_execution_ms: Annotated[int | None, BeforeValidator(_execution_ms)] = None


class OverlayUpdate(_Payload):
    """Move an overlay from one version to another."""

    overlay: Annotated[str, _id("overlay")]
    current_version: Annotated[str, _version("current_version")]
    new_version: Annotated[str, _version("new_version")]

    @model_validator(mode="after")
    def _changes_something(self) -> OverlayUpdate:
        if self.new_version == self.current_version:
            raise Refused(
                "NO_CHANGE", f"payload.new_version is {self.new_version}, as it is already"
            )
        return self


Payload = Configuration | Policy | TrustAdjustment | OverlayRegistration | OverlayUpdate

_MODELS: Final[Mapping[ProposalType, type[Payload]]] = {
    ProposalType.CONFIGURATION: Configuration,
    ProposalType.POLICY: Policy,
    ProposalType.TRUST_ADJUSTMENT: TrustAdjustment,
    ProposalType.OVERLAY_REGISTRATION: OverlayRegistration,
    ProposalType.OVERLAY_UPDATE: OverlayUpdate,
}


def free_texts(proposal_type: object) -> tuple[str, ...]:
    """The keys of such a payload whose values are free text."""
    return _MODELS[parse_type(proposal_type)].TEXTS


def parse_payload(proposal_type: object, raw: object, registry: Registry) -> Payload:
    """Return the typed payload, its values canonical and within their declared bounds.

    ``proposal_type`` may be a name. Raises ``Refused``: what ``require_plain_object`` raises,
    PAYLOAD_UNKNOWN_KEY, PAYLOAD_MISSING_KEY, PAYLOAD_WRONG_TYPE, UNKNOWN_CAPABILITY,
    TYPE_MISMATCH, VALUE_TYPE, VALUE_OUT_OF_RANGE, NO_CHANGE, …
    """
    known = parse_type(proposal_type)
    plain = require_plain_object(raw)
    try:
        payload = _MODELS[known].model_validate(plain)
    except ValidationError as error:
        raise _refusal(known, error) from error
    return (
        _check_configuration(payload, registry) if isinstance(payload, Configuration) else payload
    )


def payload_json(payload: Payload) -> dict[str, Value]:
    """The payload as plain JSON values; keys that were not given are absent."""
    plain: dict[str, Value] = payload.model_dump(mode="json", exclude_none=True)
    return plain


def payload_bytes(payload: Payload) -> bytes:
    """The payload's canonical form (RFC 8785)."""
    return rfc8785.dumps(dict(payload_json(payload)))


def payload_hash(payload: Payload) -> str:
    """SHA-256 of the canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(payload_bytes(payload)).hexdigest()


def _check_configuration(payload: Configuration, registry: Registry) -> Configuration:
    declared = registry.get(payload.key)
    if declared.klass not in RULES[ProposalType.CONFIGURATION].classes:
        raise Refused(
            "TYPE_MISMATCH",
            f"{payload.key} is of class {declared.klass}: it is changed only by "
            f"{_CHANGED_BY[declared.klass]}, not by configuration",
        )
    new = declared.check(payload.new_value, name="payload.new_value")
    if "old_value" not in payload.model_fields_set:
        return Configuration(key=payload.key, new_value=new)
    old = declared.check(payload.old_value, name="payload.old_value")
    if old == new:
        raise Refused("NO_CHANGE", f"payload.new_value is {shown(new)}, as payload.old_value is")
    return Configuration(key=payload.key, new_value=new, old_value=old)


def _refusal(proposal_type: ProposalType, error: ValidationError) -> Refused:
    model = _MODELS[proposal_type]
    found: list[tuple[str, str]] = []
    for problem in error.errors(include_url=False, include_input=False):
        path = "payload" + "".join(f".{_path_part(part)}" for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            found.append(("PAYLOAD_UNKNOWN_KEY", f"{path} is unknown; {proposal_type} has {known}"))
        elif problem["type"] == "missing":
            found.append(("PAYLOAD_MISSING_KEY", f"{path} is missing"))
        else:
            found.append(("PAYLOAD_WRONG_TYPE", f"{path}: {problem['msg']}"))
    return Refused(found[0][0], "; ".join(message for _, message in found[:5]))


def _path_part(part: int | str) -> str:
    return part if isinstance(part, str) and part.isidentifier() and part.isascii() else shown(part)
