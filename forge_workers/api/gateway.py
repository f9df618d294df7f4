"""What is answered: documents as the reading commands print them, and problems with a code.

A call carries a bearer token (RFC 6750). Token and document are read in one transaction, of a role
that can change nothing, so that a token that was revoked opens nothing from then on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Final

import anyio.to_thread
import structlog
from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forge_core.access import tokens
from forge_core.access.tokens import NotLetIn
from forge_core.advisory import report
from forge_core.database import describe
from forge_core.errors import ForgeError, Refused
from forge_core.proposals.lifecycle import Status
from forge_core.text import require_id
from forge_workers import queries
from forge_workers.api.forms import PROBLEMS, AdviceOnProposal, ProposalPage, Standing
from forge_workers.reading import reading, steady
from forge_workers.words.advice import ADVISORY
from forge_workers.words.values import plain

AT_ONCE: Final = 8
"""Documents that are read at the same time; who comes then waits."""

LIMIT_MOST: Final = 500

log = structlog.get_logger(__name__)

_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

_bearer = HTTPBearer(auto_error=False, description="`forge token issue` makes one.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
ProposalId = Annotated[str, Path(description="As `forge proposal list` shows it.")]


class Document(JSONResponse):
    """Times as RFC 3339, and decimals as strings, which lose nothing."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, default=plain).encode()


class Problem(Document):
    """RFC 9457, with the ``code`` that every way into the house gives."""

    media_type = "application/problem+json"

    def __init__(self, status: int, code: str, detail: str) -> None:
        told = {"title": code, "status": status, "code": code, "detail": detail}
        who = {"WWW-Authenticate": "Bearer"} if status == NotLetIn.http_status else None
        super().__init__({"type": "about:blank", **told}, status, who)


class Wanted(BaseModel):
    """Which proposals; a parameter that is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = Field(None, description="Only this status.")
    type: str | None = Field(None, description="Only this type.")
    before: str | None = Field(None, description="Only what is older than this proposal.")
    limit: int = Field(50, ge=1, le=LIMIT_MOST, description="At most so many.")


class Period(BaseModel):
    """Of which days."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(
        report.DAYS, ge=0, le=report.DAYS_MOST, description="So many days before today; 0: today."
    )


class Gateway:
    """The calls, over one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = steady(engine)

    def health(self) -> dict[str, Any]:
        """Say whether documents can be read now; needs no token."""
        with reading(self._engine) as session:
            session.execute(text("SELECT 1"))
        return {"status": "ok"}

    def proposals(self, bearer: Bearer, wanted: Annotated[Wanted, Query()]) -> Document:
        """List the newest proposals, each with its votes and what is advised.

        ``next`` is what ``before`` has to be to get those that are older; null at the end.
        """
        with self._let_in(bearer) as session:
            if wanted.before is not None:
                queries.status(session, require_id("before", wanted.before))
            found = queries.proposals(
                session,
                status=wanted.status,
                type_=None if wanted.type is None else require_id("type", wanted.type),
                limit=wanted.limit + 1,
                before=wanted.before,
            )
            page = [dict(row) for row in found[: wanted.limit]]
            more = len(found) > wanted.limit
            return Document({"proposals": page, "next": page[-1]["id"] if more else None})

    def proposal(self, bearer: Bearer, proposal: ProposalId) -> Document:
        """Show one proposal: text, change, terms, gates, tally, decision, advice, history."""
        with self._let_in(bearer) as session:
            return Document(queries.proposal(session, require_id("a proposal", proposal)))

    def advice(self, bearer: Bearer, proposal: ProposalId) -> Document:
        """Show all advice on one proposal, newest first, and what came of the like of it."""
        with self._let_in(bearer) as session:
            given = queries.advice(session, require_id("a proposal", proposal))
            earlier = report.earlier(session, proposal, given[0]) if given else None
            return Document({"note": ADVISORY, "advice": given, "earlier": earlier})

    def standing(self, bearer: Bearer, period: Annotated[Period, Query()]) -> Document:
        """Show on what terms a model is asked, what that took, and what came of advice."""
        with self._let_in(bearer) as session:
            return Document({"note": ADVISORY, **report.standing(session, period.days)})

    @contextmanager
    def _let_in(self, bearer: HTTPAuthorizationCredentials | None) -> Iterator[Session]:
        if bearer is None:
            raise NotLetIn("give a token: Authorization: Bearer …; an operator issues one")
        with reading(self._engine) as session:
            tokens.require_bearer(session, bearer.credentials, tokens.Scope.READ)
            yield session


def make_app(engine: Engine) -> FastAPI:
    """The application that a server runs; it needs SELECT, and nothing else."""
    # The usual pages about an interface load their scripts from elsewhere.
    app = FastAPI(
        title="Forge Governance", version="1", docs_url=None, redoc_url=None, lifespan=_few_at_once
    )
    gateway = Gateway(engine)
    app.get("/health", response_model=None)(gateway.health)
    app.head("/health", response_model=None, include_in_schema=False)(gateway.health)
    for path, call, form in (
        ("/v1/proposals", gateway.proposals, ProposalPage),
        ("/v1/proposals/{proposal}", gateway.proposal, dict),
        ("/v1/proposals/{proposal}/advice", gateway.advice, AdviceOnProposal),
        ("/v1/advice", gateway.standing, Standing),
    ):
        app.get(path, response_model=None, responses={200: {"model": form}, **PROBLEMS})(call)
    app.exception_handler(ForgeError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_no_such_call)
    app.exception_handler(Exception)(_failed)
    app.add_middleware(Unkept)
    return app


class Unkept:
    """Every answer says that it is kept nowhere, and is what it says it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)


@asynccontextmanager
async def _few_at_once(_: FastAPI) -> Any:
    # As many as there are connections: who waits, waits here, and for no connection.
    anyio.to_thread.current_default_thread_limiter().total_tokens = AT_ONCE
    yield


def _refused(_: Request, error: Exception) -> Problem:
    assert isinstance(error, ForgeError)  # noqa: S101  # registered for nothing else
    status = 404 if error.code.endswith("_UNKNOWN") else error.http_status
    return Problem(status, error.code, error.message if isinstance(error, Refused) else str(error))


def _invalid(_: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for nothing else
    return Problem(422, "CALL_INVALID", "; ".join(map(_wrong, error.errors())))


def _wrong(problem: Any) -> str:
    where: Sequence[Any] = problem["loc"]
    return f"{where[-1]}: {problem['msg']}"


def _no_such_call(_: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for nothing else
    codes = {404: "CALL_UNKNOWN", 405: "CALL_NOT_ALLOWED"}
    return Problem(
        error.status_code,
        codes.get(error.status_code, "CALL_INVALID"),
        "there is no such call; /openapi.json has all of them, and each is a GET",
    )


def _failed(_: Request, error: Exception) -> Problem:
    log.error("gateway.failed", error=describe(error))
    return Problem(500, "INTERNAL", "this is our fault; the gateway's log says more")
