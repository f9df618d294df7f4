"""The one encoder: RFC 8785 bytes, leaf hashes (RFC 9162) and commitments to text.

Decimals, big integers and times are strings before they come here; ``rfc8785`` refuses what JSON
cannot carry exactly.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import rfc8785

SALT_BYTES = 16


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of a JSON object. Raises ``rfc8785.CanonicalizationError`` subclasses."""
    return rfc8785.dumps(dict(document))


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || body): the leaf hash of RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x00" + body).digest()


def commit(text: str, salt: bytes) -> str:
    """Hex SHA-256(salt || UTF-8 text): binds a text without revealing it."""
    return hashlib.sha256(salt + text.encode()).hexdigest()


def new_salt() -> bytes:
    """Fresh random salt, so that equal or guessable texts have unrelated commitments."""
    return secrets.token_bytes(SALT_BYTES)
