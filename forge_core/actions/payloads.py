"""A proposal's payload: one action, or several that happen all or not at all.

A payload is parsed when it is proposed and again when it is executed: bounds and classes are
checked both times (INV-39), and the hash fixes what was voted on (INV-33).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import rfc8785
from pydantic import ValidationError

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.json_guard import require_plain_object
from forge_core.actions.kind import Action, ActionKind
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.complaints import what_is_wrong
from forge_core.errors import Refused
from forge_core.text import shown

ACTIONS_MOST: Final = 64
BYTES_MOST: Final = 100_000
ACTIONS: Final = "actions"
_CODES: Final = {"missing": "PAYLOAD_MISSING_KEY", "extra_forbidden": "PAYLOAD_UNKNOWN_KEY"}


@dataclass(frozen=True)
class Payload:
    """The actions of one type of proposal, in the order in which they happen."""

    kind: ActionKind[Any]
    actions: tuple[Action, ...]

    def classes(self, catalogue: Catalogue) -> frozenset[CapabilityClass]:
        """What kinds of things its actions touch; the strictest decides the track."""
        return frozenset(self.kind.touches(catalogue, action) for action in self.actions)

    def targets(self) -> tuple[str, ...]:
        """What its actions change, as far as rivals could change it too."""
        named = {self.kind.target(action) for action in self.actions}
        return tuple(sorted(target for target in named if target is not None))

    def texts(self) -> Iterator[tuple[int, str, str]]:
        """Its free texts: the action's index, the field, the text."""
        for index, action in enumerate(self.actions):
            for field in action.TEXTS:
                if (value := getattr(action, field)) is not None:
                    yield index, field, value

    def with_texts(self, replaced: Mapping[tuple[int, str], str]) -> Payload:
        """The same with other words in these fields."""
        actions = tuple(
            action.model_copy(
                update={field: word for (at, field), word in replaced.items() if at == index}
            )
            for index, action in enumerate(self.actions)
        )
        return Payload(self.kind, actions)

    def json(self) -> dict[str, Any]:
        """Plain JSON: the action itself when there is one, else the list of them."""
        plain = [action.model_dump(mode="json", exclude_none=True) for action in self.actions]
        return plain[0] if len(plain) == 1 else {ACTIONS: plain}

    def canonical(self) -> bytes:
        """The canonical form (RFC 8785)."""
        return rfc8785.dumps(self.json())

    def digest(self) -> str:
        """SHA-256 of the canonical form, as 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical()).hexdigest()


def parse_payload(
    type_: object, raw: object, catalogue: Catalogue, *, bounds: bool = True
) -> Payload:
    """Return the typed payload, its values canonical and within their declared bounds.

    Without ``bounds`` only its shape is looked at: what was executed once is read so, whatever
    the declarations have become.

    Each action is held to the limits of ``require_plain_object``, and all together to 100,000
    bytes.

    Raises ``Refused``: what ``require_plain_object`` raises, PAYLOAD_UNKNOWN_KEY,
    PAYLOAD_MISSING_KEY, PAYLOAD_WRONG_TYPE, ACTIONS_COUNT, ACTIONS_CONFLICT, UNKNOWN_CAPABILITY,
    TYPE_MISMATCH, VALUE_TYPE, VALUE_OUT_OF_RANGE, NO_CHANGE, …
    """
    kind = catalogue.kind(type_)
    given = _actions(raw)
    if kind.single and len(given) > 1:
        raise Refused("ACTIONS_COUNT", f"{kind.name} is the one action itself, never several")
    payload = Payload(kind, tuple(_parse(kind, one, catalogue, bounds=bounds) for one in given))
    if len(given) > 1 and len(payload.canonical()) > BYTES_MOST:
        raise Refused("PAYLOAD_TOO_LARGE", f"the actions have more than {BYTES_MOST:,} bytes")
    targets = [t for action in payload.actions if (t := kind.target(action)) is not None]
    if not kind.repeats and len(set(targets)) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise Refused("ACTIONS_CONFLICT", f"two actions change {twice}; one proposal does it once")
    return payload


def _actions(raw: object) -> Sequence[dict[str, Any]]:
    if not (isinstance(raw, dict) and ACTIONS in raw):
        return [require_plain_object(raw)]
    listed = raw[ACTIONS]
    if len(raw) > 1:
        raise Refused("PAYLOAD_UNKNOWN_KEY", "a payload with actions has no other key")
    if not isinstance(listed, list):
        raise Refused("PAYLOAD_WRONG_TYPE", f"payload.actions is a list, not {shown(listed)}")
    if not 2 <= len(listed) <= ACTIONS_MOST:
        raise Refused(
            "ACTIONS_COUNT",
            f"payload.actions has {len(listed)}; a proposal has 2 to {ACTIONS_MOST} actions, "
            "or is the one action itself",
        )
    return [require_plain_object(one) for one in listed]


def _parse(
    kind: ActionKind[Any], plain: dict[str, Any], catalogue: Catalogue, *, bounds: bool
) -> Action:
    declared = plain.get("type")
    if "type" in plain and "type" not in kind.model.model_fields and declared != kind.name:
        raise Refused(
            "TYPE_MISMATCH",
            f"the payload says it is {shown(declared)}, the proposal {kind.name}; "
            "the proposal's type counts, so leave it out of the payload",
        )
    try:
        action: Action = kind.model.model_validate(plain)
    except ValidationError as error:
        raise _refusal(kind, error) from error
    return kind.check(catalogue, action) if bounds else action


def _refusal(kind: ActionKind[Any], error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]["type"]
    code = _CODES.get(first, "PAYLOAD_WRONG_TYPE")
    return Refused(code, what_is_wrong(error, kind.model, path="payload", name=kind.name))
