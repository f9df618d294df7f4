"""The application: which calls there are, and what is answered when something is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio.to_thread
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forge_core.database import describe
from forge_core.errors import ForgeError
from forge_workers.api.calls import Calls
from forge_workers.api.documents import Problem
from forge_workers.api.forms import PROBLEMS, AdviceOnProposal, ProposalPage, Standing

AT_ONCE: Final = 8
"""Documents that are read at the same time; who comes then waits."""

log = structlog.get_logger(__name__)

_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_NO_SUCH_CALL: Final = {
    404: ("CALL_UNKNOWN", "there is no such call; /openapi.json has all of them"),
    405: ("CALL_NOT_ALLOWED", "nothing can be done here: there is only GET"),
}


def make_app(engine: Engine) -> ASGIApp:
    """What a server runs; it needs SELECT, and nothing else."""
    app = FastAPI(
        title="Forge Governance",
        version="1",
        # The usual pages about an interface load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_few_at_once,
    )
    calls = Calls(engine)
    app.get("/health", response_model=None)(calls.health)
    app.head("/health", response_model=None, include_in_schema=False)(calls.health)
    for path, call, form in (
        ("/v1/proposals", calls.proposals, ProposalPage),
        ("/v1/proposals/{proposal}", calls.proposal, dict),
        ("/v1/proposals/{proposal}/advice", calls.advice, AdviceOnProposal),
        ("/v1/advice", calls.standing, Standing),
    ):
        app.get(path, response_model=None, responses={200: {"model": form}, **PROBLEMS})(call)
    app.exception_handler(ForgeError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_no_such_call)
    app.exception_handler(Exception)(_failed)
    return Outermost(app)


class Outermost:
    """Every answer says that it is kept nowhere and is what it says; no error goes further.

    The server would log all that is known of it, texts of members included.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except Exception as error:
            if scope["type"] != "http":  # it could not start
                raise
            log.error("gateway.failed", error=describe(error))  # noqa: TRY400  # see above


@asynccontextmanager
async def _few_at_once(_: FastAPI) -> AsyncIterator[None]:
    # As many as there are connections: who waits, waits here, and for no connection.
    anyio.to_thread.current_default_thread_limiter().total_tokens = AT_ONCE
    yield


# What is async here waits behind no document: all else runs in one of the few threads.
async def _refused(_: Request, error: Exception) -> Problem:
    assert isinstance(error, ForgeError)  # noqa: S101  # registered for nothing else
    return Problem.of(error)


async def _invalid(_: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for nothing else
    return Problem(422, "CALL_INVALID", "; ".join(map(_wrong, error.errors())))


def _wrong(problem: Any) -> str:
    where: Sequence[Any] = problem["loc"]
    return f"{where[-1]}: {problem['msg']}"


async def _no_such_call(_: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for nothing else
    code, detail = _NO_SUCH_CALL.get(error.status_code, ("CALL_INVALID", error.detail))
    return Problem(error.status_code, code, detail)


async def _failed(_: Request, error: Exception) -> Problem:  # noqa: ARG001  # Outermost logs it
    return Problem(500, "INTERNAL", "this is our fault; the gateway's log says more")
