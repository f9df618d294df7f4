"""Taking hold of a proposal and of everything that its execution may change.

Electorate, proposals ascending, then what they change: whoever waits for one of them has changed
nothing yet. The time, and what governance has added to the catalogue, are read after the locks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.payloads import parse_payload
from forge_core.actions.rollback import undone_proposals
from forge_core.actions.targets import Target
from forge_core.actions.windows import TARGET as WINDOWS
from forge_core.clock import forge_now
from forge_core.errors import ForgeError, Refused
from forge_core.locks import lock_name, share_name
from forge_core.members.electorate import lock_version
from forge_core.proposals.basis import Basis, basis_of, undone_by
from forge_core.proposals.locking import LockedProposal, lock_proposals, require_proposal

_PROPOSAL = text("SELECT id, type, payload, predecessor FROM proposals WHERE id = :id")


class Overtaken(ForgeError):
    """The locks that were taken are not those that are needed now; nothing was done."""

    code = "OVERTAKEN"


@dataclass(frozen=True)
class Held:
    """A locked proposal, the others that count, and what was read after the locks."""

    proposal: LockedProposal
    others: Mapping[str, LockedProposal]
    catalogue: Catalogue
    now: datetime


def hold(session: Session, id_: object, catalogue: Catalogue) -> Held:
    """Lock what executing this proposal needs. Raises ``Refused`` PROPOSAL_UNKNOWN.

    Type, payload and predecessor of a proposal never change, so they may be read before. What its
    payload means may: then the locks are those of another meaning, and it is for another attempt.
    """
    rows = session.execute(_PROPOSAL, {"id": id_}).all() if isinstance(id_, str) else []
    for row in rows:
        basis = _basis(session, row.type, bytes(row.payload), with_extensions(session, catalogue))
        if basis is not None and basis.kind.census:
            lock_version(session)
        undone = [] if basis is None else undone_by(basis.payload)
        locked = lock_proposals(session, [row.id, row.predecessor, *undone])
        _lock_targets(session, set() if basis is None else basis.targets)
        extended = with_extensions(session, catalogue)
        again = _basis(session, row.type, bytes(row.payload), extended)
        if again is not None and not _covers(basis, again):
            raise Overtaken("what it changes was declared anew while it waited for its locks")
        return Held(require_proposal(locked, row.id), locked, extended, forge_now(session))
    raise Refused("PROPOSAL_UNKNOWN", f"there is no proposal {str(id_)[:80]!r}")


def _covers(locked_for: Basis | None, needed: Basis) -> bool:
    """Whether the locks for the one are enough for the other."""
    return (
        locked_for is not None
        and needed.targets <= locked_for.targets
        and needed.kind.census <= locked_for.kind.census
    )


def _basis(session: Session, type_: str, payload: bytes, catalogue: Catalogue) -> Basis | None:
    """What it is about; None where it cannot be read, and so will not be executed either."""
    try:
        parsed = parse_payload(type_, json.loads(payload), catalogue, bounds=False)
        return basis_of(parsed, catalogue, undone_proposals(session, undone_by(parsed)))
    except (Refused, ValueError):
        return None


def _lock_targets(session: Session, targets: set[str]) -> None:
    """Each thing as a whole; a window that is being imposed comes before or after all of this."""
    names = {Target.parse(target).lock for target in targets}
    for name in sorted({*names, WINDOWS}):
        take = lock_name if name in names else share_name
        take(session, name)
