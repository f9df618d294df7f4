"""The pages: proposals, one proposal with the advice on it, and how good advice was.

Each is read in one transaction of a role that can change nothing, and shows text of members and
models as text: escaped, without what steers a reader's eye, and where no script may run.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from flower.views import BaseHandler
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from tornado.web import StaticFileHandler, authenticated, url

from forge_core.advisory import report
from forge_core.database import make_engine
from forge_core.enforcement.standing import LIVE
from forge_core.errors import ForgeError, Refused
from forge_core.exact import parse_decimal
from forge_core.proposals.lifecycle import Status
from forge_core.settings import Settings
from forge_core.text import require_id
from forge_workers import queries
from forge_workers.reading import reading, steady
from forge_workers.words import advice as advice_words
from forge_workers.words import standing as standing_words
from forge_workers.words import values

PROPOSALS_MOST: Final = 100
RIVALS_MOST: Final = 10
_AT_ONCE: Final = 4
"""Readers: a slow database holds up these pages, and none of Flower's own."""

_readers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="governance")

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page(BaseHandler):  # type: ignore[misc]  # Flower says no types
    """Reads, then shows. A refusal is a page of its own, with its status."""

    template: ClassVar[str]

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    @authenticated
    async def get(self, *given: str) -> None:
        """Nothing else is allowed: there is no way to act."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(_readers, self._read, *given)
        except ForgeError as error:
            self.set_status(error.http_status)
            self.show("refused.html", code=error.code, message=error.detail)
        else:
            self.show(self.template, **found)

    def show(self, template: str, **given: Any) -> None:
        """With the words that templates use."""
        self.render(
            template, shown=values.shown, values=values, words=advice_words,
            standing_words=standing_words, **given,
        )  # fmt: skip

    @abstractmethod
    def read(self, session: Session, *given: str) -> dict[str, Any]:
        """What the template shows."""

    def _read(self, *given: str) -> dict[str, Any]:
        with reading(steady(engine())) as session:
            return self.read(session, *given)


class Proposals(Page):
    """The newest, or the newest of a status."""

    template = "proposals.html"

    def read(self, session: Session, *given: str) -> dict[str, Any]:
        """Raises ``Refused`` STATUS_UNKNOWN, ID_INVALID and PROPOSAL_UNKNOWN."""
        (status,) = given or (None,)
        if status is not None and status not in set(Status):
            raise Refused("STATUS_UNKNOWN", f"a proposal's status is one of {', '.join(Status)}")
        before = self.get_query_argument("before", None)
        if before is not None:
            queries.status(session, require_id("before", before))
        found = queries.proposals(
            session, status=status, type_=None, limit=PROPOSALS_MOST + 1, before=before
        )
        return {
            "proposals": found[:PROPOSALS_MOST],
            "more": len(found) > PROPOSALS_MOST,
            "status": status,
            "statuses": list(Status),
            "shares": shares,
        }


class Proposal(Page):
    """What a voter wants to know before voting."""

    template = "proposal.html"

    def read(self, session: Session, *given: str) -> dict[str, Any]:
        """Raises ``Refused`` ID_INVALID and PROPOSAL_UNKNOWN."""
        (id_,) = given
        found = queries.proposal(session, require_id("a proposal", id_))
        newest = found["advice"][0] if found["advice"] else None
        earlier = None if newest is None else report.earlier(session, id_, newest)
        return {
            "proposal": found,
            "newest": newest,
            "earlier": earlier,
            "shares": shares,
            "live": LIVE,
            "rivals_most": RIVALS_MOST,
        }


class Advising(Page):
    """What asking models took, and what came of advice."""

    template = "advising.html"

    def read(self, session: Session, *given: str) -> dict[str, Any]:  # noqa: ARG002  # takes none
        """Of the last week."""
        return {"standing": report.standing(session, report.DAYS), "days": report.DAYS}


ROUTES: Final = [
    url(r"/governance", Proposals, name="governance"),
    url(r"/governance/is/(.+)", Proposals, name="governance-status"),
    url(r"/governance/proposals/(.+)", Proposal, name="governance-proposal"),
    url(r"/governance/advice", Advising, name="governance-advice"),
    url(
        r"/governance/static/(.*)",
        StaticFileHandler,
        {"path": str(Path(__file__).parent / "static")},
        name="governance-static",
    ),
]


def shares(weights: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Sides of a tally as (side, from, width) of a bar that is 100 long; empty without ballots."""
    sides = ("for", "against", "abstain")
    cast = [parse_decimal(weights[f"{side}_weight"] or "0", most_digits=1_000) for side in sides]
    whole = sum(cast, Fraction(0))
    if not whole:
        return []
    bar, place = [], Fraction(0)
    for side, weight in zip(sides, cast, strict=True):
        bar.append((side, float(place), float(100 * weight / whole)))
        place += 100 * weight / whole
    return bar


@cache
def engine() -> Engine:
    """The one of this process, made before anybody asks. ``Misconfigured`` without an address."""
    settings = Settings.load(needed=("reader_database_url",))
    return make_engine(settings.reader_database_url, pool_size=_AT_ONCE)
