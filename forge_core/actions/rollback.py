"""Rolling back: what an executed proposal changed is put back, action by action, last one first.

Trust, track and gates are those of the proposal that is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.fields import id_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.database import run
from forge_core.errors import Refused
from forge_core.members.levels import TrustLevel

ROLLBACK = "rollback"
MOST_TIMELOCK_HOURS = 72

_EFFECTS = text("""
    SELECT proposal_id AS proposal, action AS index, type, target, before, after, way_back
    FROM effects AS done
    WHERE proposal_id = :proposal AND direction = 'apply' AND NOT EXISTS (
        SELECT FROM effects AS undone
        WHERE undone.proposal_id = done.proposal_id AND undone.action = done.action
            AND undone.direction = 'undo'
    )
    ORDER BY action DESC
""")


class Rollback(Action):
    """Undo everything that one executed proposal changed."""

    proposal: Annotated[str, id_field("proposal")]


@dataclass(frozen=True)
class Undone:
    """The proposal that a rollback is about."""

    id: str
    type: str
    status: str
    payload: bytes


_UNDONE = text("SELECT id, type, status, payload FROM proposals WHERE id = ANY(:ids)")


def undone_proposals(session: Session, ids: Sequence[str]) -> dict[str, Undone]:
    """The proposals among ``ids``, by id. Type and payload of a proposal never change."""
    rows = run(session, _UNDONE, ids=sorted(set(ids))) if ids else ()
    return {row.id: Undone(row.id, row.type, row.status, bytes(row.payload)) for row in rows}


def require_undoable(undone: Undone | None, id_: str) -> Undone:
    """``PROPOSAL_UNKNOWN``, ``ROLLBACK_OF_ROLLBACK``, ``NOT_EXECUTED``, ``ALREADY_ROLLED_BACK``."""
    if undone is None:
        raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {id_!r}")
    if undone.type == ROLLBACK:
        raise Refused("ROLLBACK_OF_ROLLBACK", "propose the change itself again instead")
    if undone.status == "rolled_back":
        raise Refused("ALREADY_ROLLED_BACK", f"{id_} is rolled back; it happens once")
    if undone.status != "executed":
        raise Refused("NOT_EXECUTED", f"{id_} is {undone.status}; there is nothing to undo")
    return undone


def plan_undoing(
    present: Present, catalogue: Catalogue, proposal: str, frame: Frame
) -> list[tuple[Effect, Planned]]:
    """What putting back each effect would do, in the order in which it happens."""
    found = run(present.session, _EFFECTS, proposal=proposal)
    planned = []
    for row in found:
        if row.type is None:
            raise Refused("NOT_UNDOABLE", f"{proposal} was executed before effects were recorded")
        effect = Effect(**row._mapping)  # noqa: SLF001  # Row's public name for itself as a mapping
        planned.append((effect, catalogue.kind(effect.type).undo(present, effect, frame)))
    return planned


def _never(*_: object) -> NoReturn:
    raise AssertionError("a rollback is planned from effects, not as an action")


KIND = ActionKind(
    name=ROLLBACK,
    # The trust and class of what is undone count instead of these.
    trust=TrustLevel.CORE,
    model=Rollback,
    touches=lambda *_: CapabilityClass.RULE,
    target=lambda action: f"rollback:{action.proposal}",
    plan=_never,
    undo=_never,
    paused=False,
    # What it undoes decides about trust, track and terms: that has to be one proposal.
    single=True,
)
