"""Bearer tokens (RFC 6750): issued to a holder, kept as a hash, with scopes, an end, a way back.

A token is 256 random bits, so that one SHA-256 keeps it: there is nothing to guess. What is looked
up is the hash, so that the time it takes tells nothing of the token. They run on real time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.database import run
from forge_core.errors import ForgeError, Refused
from forge_core.text import require_id

LONGEST: Final = timedelta(days=366)
_FORM: Final = re.compile(r"forge_[A-Za-z0-9_-]{43}")

_ISSUE = text("""
    INSERT INTO access_tokens (id, holder, secret_hash, scopes, issued_at, expires_at)
    VALUES (:id, :holder, :hash, :scopes, clock_timestamp(), clock_timestamp() + :lasts)
    RETURNING expires_at
""")
_TOKEN = text("""
    SELECT scopes, expires_at <= clock_timestamp() AS expired,
        revoked_at IS NOT NULL AS revoked
    FROM access_tokens WHERE secret_hash = :hash
""")
_REVOKE = text("""
    UPDATE access_tokens SET revoked_at = coalesce(revoked_at, clock_timestamp())
    WHERE id = :id RETURNING id
""")
_TOKENS = text("""
    SELECT id, holder, scopes, issued_at, expires_at, revoked_at,
        revoked_at IS NULL AND expires_at > clock_timestamp() AS opens
    FROM access_tokens ORDER BY issued_at DESC, id LIMIT :limit
""")


class Scope(StrEnum):
    """What a token opens."""

    READ = "read"


class NotLetIn(ForgeError):
    """There is no such token, or not any more. It is not said which."""

    code = "TOKEN_INVALID"
    http_status = 401


class OutOfScope(ForgeError):
    """The token is good, and not for this."""

    code = "TOKEN_SCOPE"
    http_status = 403


@dataclass(frozen=True)
class Issued:
    """The only time a ``token`` is seen."""

    id: str
    token: str
    expires_at: datetime


def issue(session: Session, holder: str, scopes: Collection[Scope], lasts: timedelta) -> Issued:
    """Make a token. Raises ``Refused`` ID_INVALID, TOKEN_SCOPES, TOKEN_LIFETIME."""
    require_id("the holder", holder)
    if not scopes:
        raise Refused("TOKEN_SCOPES", f"a token opens something: {', '.join(Scope)}")
    if not timedelta(0) < lasts <= LONGEST:
        raise Refused(
            "TOKEN_LIFETIME", f"a token lasts at most {LONGEST.days} days; make a new one"
        )
    id_, token = secrets.token_hex(6), f"forge_{secrets.token_urlsafe(32)}"
    given = {"id": id_, "holder": holder, "hash": _hash(token), "lasts": lasts}
    row = session.execute(_ISSUE, {**given, "scopes": sorted(scopes)}).one()
    return Issued(id_, token, row.expires_at)


def require_token(session: Session, token: str, scope: Scope) -> None:
    """Raises ``NotLetIn`` and ``OutOfScope`` unless it opens this now; writes nothing."""
    row = None
    if _FORM.fullmatch(token):
        row = session.execute(_TOKEN, {"hash": _hash(token)}).one_or_none()
    if row is None or row.expired or row.revoked:
        raise NotLetIn("this token opens nothing (any more); an operator issues one")
    if scope not in row.scopes:
        raise OutOfScope(f"this token is for {', '.join(row.scopes)}; here {scope} is needed")


def revoke(session: Session, id_: str) -> None:
    """It opens nothing from now on; once more is fine. ``Refused`` ID_INVALID, TOKEN_UNKNOWN."""
    require_id("a token", id_)
    if session.execute(_REVOKE, {"id": id_}).one_or_none() is None:
        raise Refused("TOKEN_UNKNOWN", f"there is no token {id_[:60]!r}; see `forge token list`")


def tokens(session: Session, *, limit: int) -> Sequence[dict[str, Any]]:
    """The newest tokens, without anything that would open."""
    return [dict(row._mapping) for row in run(session, _TOKENS, limit=limit)]  # noqa: SLF001


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
