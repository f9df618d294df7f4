"""What is sent: JSON documents, and problems with the code that every way into the house gives."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse

from forge_core.access.tokens import NotLetIn
from forge_core.errors import ForgeError
from forge_workers.words.values import plain


class Document(JSONResponse):
    """Times as RFC 3339, and decimals as strings, which lose nothing."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, default=plain).encode()


class Problem(Document):
    """RFC 9457, and the ``code``."""

    media_type = "application/problem+json"

    def __init__(self, status: int, code: str, detail: str) -> None:
        told = {"title": code, "status": status, "code": code, "detail": detail}
        who = {"WWW-Authenticate": "Bearer"} if status == NotLetIn.http_status else None
        super().__init__({"type": "about:blank", **told}, status, who)

    @classmethod
    def of(cls, error: ForgeError) -> Problem:
        """As the house says it."""
        return cls(error.http_status, error.code, error.detail)
