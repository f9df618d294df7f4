"""What any payload must be before its own shape is looked at: small, shallow, plain JSON."""

from __future__ import annotations

import math
from typing import Any, Final

import rfc8785

from forge_core.errors import Refused
from forge_core.text import refuse_unstorable, shown

MOST_DEPTH: Final = 5
MOST_KEYS: Final = 100
MOST_BYTES: Final = 10_000
MOST_INTEGER: Final = 2**53 - 1  # beyond it JSON readers disagree about the value (RFC 8785)


def require_plain_object(raw: object) -> dict[str, Any]:
    """Return ``raw`` when it is a JSON object within the limits above.

    Raises ``Refused`` PAYLOAD_NOT_OBJECT, PAYLOAD_TOO_DEEP, PAYLOAD_TOO_MANY_KEYS,
    PAYLOAD_TOO_LARGE, PAYLOAD_WRONG_TYPE, PAYLOAD_NUMBER, TEXT_NUL or TEXT_SURROGATE.
    """
    if not isinstance(raw, dict):
        raise Refused("PAYLOAD_NOT_OBJECT", f"payload must be a JSON object, not {shown(raw)}")
    keys = nodes = 0
    waiting: list[tuple[str, int, object]] = [("payload", 1, raw)]
    while waiting:
        path, depth, value = waiting.pop()
        # Every value costs at least one byte, so this bounds the work before the exact count.
        nodes += len(value) + 1 if isinstance(value, (str, list)) else 1
        if nodes > MOST_BYTES:
            raise _too_large()
        if isinstance(value, (dict, list)) and depth > MOST_DEPTH:
            raise Refused("PAYLOAD_TOO_DEEP", f"{path} is nested deeper than {MOST_DEPTH} levels")
        if isinstance(value, dict):
            keys += len(value)
            if keys > MOST_KEYS:
                raise Refused("PAYLOAD_TOO_MANY_KEYS", f"payload has more than {MOST_KEYS} keys")
            waiting.extend(
                (f"{path}.{_key(path, key)}", depth + 1, item) for key, item in value.items()
            )
        elif isinstance(value, list):
            waiting.extend((f"{path}[{i}]", depth + 1, item) for i, item in enumerate(value))
        else:
            _check_scalar(path, value)
    if len(rfc8785.dumps(raw)) > MOST_BYTES:
        raise _too_large()
    return raw


def _key(path: str, key: object) -> str:
    if not isinstance(key, str):
        raise Refused("PAYLOAD_WRONG_TYPE", f"{path} has a key that is not text: {shown(key)}")
    refuse_unstorable(f"a key of {path}", key)
    return key if key.isidentifier() and key.isascii() and len(key) <= 60 else f"[{shown(key)}]"


def _check_scalar(path: str, value: object) -> None:
    if isinstance(value, str):
        refuse_unstorable(path, value)
    elif value is None:
        raise Refused("PAYLOAD_WRONG_TYPE", f"{path} is null; leave the key out instead")
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) > MOST_INTEGER:
            raise Refused(
                "PAYLOAD_NUMBER",
                f"{path} is {shown(value)}; a JSON whole number is exact only up to 2^53 - 1 "
                "(write larger ones as text)",
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Refused("PAYLOAD_NUMBER", f"{path} is {value}; it must be a finite number")
    else:
        raise Refused("PAYLOAD_WRONG_TYPE", f"{path} is {shown(value)}, which JSON cannot carry")


def _too_large() -> Refused:
    return Refused(
        "PAYLOAD_TOO_LARGE", f"payload is larger than {MOST_BYTES:,} bytes in canonical form"
    )
