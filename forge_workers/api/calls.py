"""The calls: documents as the reading commands print them.

A call carries a bearer token (RFC 6750). Token and document are read in one transaction, of a role
that can change nothing, so that a token that was revoked opens nothing from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
import structlog
from fastapi import Depends, Path, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from forge_core.access import tokens
from forge_core.access.tokens import NotLetIn
from forge_core.advisory import report
from forge_core.database import describe
from forge_core.errors import Unavailable
from forge_core.text import require_id
from forge_workers import queries
from forge_workers.api.documents import Document
from forge_workers.api.forms import Period, Wanted
from forge_workers.reading import reading, steady
from forge_workers.words.advice import ADVISORY

HEALTH_SECONDS: Final = 3

log = structlog.get_logger(__name__)

_READS = text("SELECT EXISTS (SELECT FROM access_tokens), EXISTS (SELECT FROM proposals)")


async def _token(
    given: Annotated[
        HTTPAuthorizationCredentials | None,
        Depends(HTTPBearer(auto_error=False, description="`forge token issue` makes one.")),
    ],
) -> str:
    if given is None:
        raise NotLetIn("give a token: Authorization: Bearer …; an operator issues one")
    return given.credentials


Token = Annotated[str, Depends(_token)]
ProposalId = Annotated[str, Path(description="As `forge proposal list` shows it.")]


class Calls:
    """What can be asked, of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = steady(engine)
        self._looking: anyio.CapacityLimiter | None = None

    async def health(self) -> dict[str, Any]:
        """Say whether documents can be read now; needs no token, and waits behind nobody."""
        self._looking = self._looking or anyio.CapacityLimiter(1)
        with anyio.move_on_after(HEALTH_SECONDS):
            await anyio.to_thread.run_sync(
                self._look, limiter=self._looking, abandon_on_cancel=True
            )
            return {"status": "ok"}
        raise Unavailable("the database does not answer")

    def proposals(self, token: Token, wanted: Annotated[Wanted, Query()]) -> Document:
        """List the newest proposals, each with its votes and what is advised.

        ``next`` is what ``before`` has to be to get those that are older; null at the end.
        """
        with self._let_in(token) as session:
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

    def proposal(self, token: Token, proposal: ProposalId) -> Document:
        """Show one proposal: text, change, terms, gates, tally, decision, advice, history."""
        with self._let_in(token) as session:
            return Document(queries.proposal(session, require_id("a proposal", proposal)))

    def advice(self, token: Token, proposal: ProposalId) -> Document:
        """Show all advice on one proposal, newest first, and what came of the like of it."""
        with self._let_in(token) as session:
            given = queries.advice(session, require_id("a proposal", proposal))
            earlier = report.earlier(session, proposal, given[0]) if given else None
            return Document({"note": ADVISORY, "advice": given, "earlier": earlier})

    def standing(self, token: Token, period: Annotated[Period, Query()]) -> Document:
        """Show on what terms a model is asked, what that took, and what came of advice."""
        with self._let_in(token) as session:
            return Document({"note": ADVISORY, **report.standing(session, period.days)})

    @contextmanager
    def _let_in(self, token: str) -> Iterator[Session]:
        with self._reading() as session:
            tokens.require_token(session, token, tokens.Scope.READ)
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """What a driver says of a server is for the log: it names hosts and roles."""
        try:
            with reading(self._engine) as session:
                yield session
        except Unavailable as error:
            log.warning("gateway.unavailable", error=str(error))
            raise Unavailable("the database cannot be used now; try again") from None

    def _look(self) -> None:
        try:
            with self._reading() as session:
                session.execute(_READS)
        except DBAPIError as error:
            # Without the traceback, which quotes statements.
            log.error("gateway.unfit", error=describe(error))  # noqa: TRY400
            raise Unavailable(
                "this database is not as the gateway knows it; its log says more"
            ) from None
