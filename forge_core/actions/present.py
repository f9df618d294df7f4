"""The present state as a plan sees it: what is stored, and what earlier actions make of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import Effect
from forge_core.capabilities.declaration import Value
from forge_core.capabilities.values import Setting, present_setting, present_values
from forge_core.errors import Refused
from forge_core.members.census import Census, present_census
from forge_core.members.electorate import MemberNow, members_now, present_version

Row = TypeVar("Row")

# Two proposals of one target execute one after the other, so their times tell the order.
_LATEST = text("""
    SELECT proposal_id, action FROM effects AS done
    WHERE target = ANY(:targets) AND direction = 'apply' AND NOT EXISTS (
        SELECT FROM effects AS undone
        WHERE undone.proposal_id = done.proposal_id AND undone.action = done.action
            AND undone.direction = 'undo'
    )
    ORDER BY applied_at DESC LIMIT 1
""")


class Present:
    """Reads each thing once, and remembers what is planned for it.

    The executing step holds the locks of every target before it makes one; without locks it is a
    preview, true as of now.
    """

    def __init__(self, session: Session, catalogue: Catalogue, now: datetime) -> None:
        self.session = session
        self.catalogue = catalogue
        self.now = now
        self._rows: dict[str, Any] = {}

    def read(self, name: str, load: Callable[[Session], Row]) -> Row:
        """The thing of that name, loaded at the first question."""
        if name not in self._rows:
            self._rows[name] = load(self.session)
        row: Row = self._rows[name]
        return row

    def write(self, name: str, row: object) -> None:
        """What later actions of the same plan shall see."""
        self._rows[name] = row

    def setting(self, key: str) -> Setting:
        """Value and writer of a key. Raises ``Refused`` UNKNOWN_CAPABILITY."""
        return self.read(
            f"setting:{key}", lambda session: present_setting(session, self.catalogue, key)
        )

    def values(self) -> dict[str, Value]:
        """Every key's value, with what is planned."""
        stored = self.read("values", lambda session: present_values(session, self.catalogue))
        planned = {
            name.removeprefix("setting:"): row.value
            for name, row in self._rows.items()
            if name.startswith("setting:")
        }
        return {**stored, **planned}

    def member(self, id_: str) -> MemberNow:
        """The member. Raises ``Refused`` MEMBER_UNKNOWN."""
        found = self.read(f"member:{id_}", lambda session: members_now(session, [id_]).get(id_))
        if found is None:
            raise Refused("MEMBER_UNKNOWN", f"there is no member {id_!r}")
        return found

    def census(self) -> Census:
        """Who could govern, with what is planned."""
        return self.read("census", present_census)

    def next_version(self) -> int:
        """The electorate version that a change of membership or level carries."""
        version = self.read("version", present_version) + 1
        self.write("version", version)
        return version

    def require_latest(self, effect: Effect, *others: str) -> None:
        """``STALE_VALUE`` unless the last change of its target, and of ``others``, is this one."""
        given = {"targets": [effect.target, *others]}
        row = self.session.execute(_LATEST, given).one_or_none()
        if row is None or (row.proposal_id, row.action) != (effect.proposal, effect.index):
            raise Refused(
                "STALE_VALUE",
                f"{effect.target} was changed again after {effect.proposal}; undo that first",
            )


def require_still(target: str, *, expected: object, present: object) -> None:
    """``STALE_VALUE`` unless what stands there now is what the proposal expects to change."""
    if expected != present:
        raise Refused("STALE_VALUE", f"{target} is {present} now; the proposal expected {expected}")
