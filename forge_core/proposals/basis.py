"""What decides about a proposal's trust, track and terms: its own actions, or those it undoes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import ActionKind
from forge_core.actions.payloads import Payload, parse_payload
from forge_core.actions.rollback import MOST_TIMELOCK_HOURS, Rollback, Undone, require_undoable
from forge_core.actions.setting import SwitchFeature
from forge_core.capabilities.declaration import CapabilityClass, Value
from forge_core.capabilities.features import FIAT_UNLOCK
from forge_core.errors import Refused
from forge_core.exact import parse_decimal
from forge_core.proposals.tracks import Terms, Track, changes_parameter, terms_for, track_of


@dataclass(frozen=True)
class Basis:
    """``payload`` is what the proposal carries, ``governing`` what its class is read from."""

    payload: Payload
    governing: Payload
    classes: frozenset[CapabilityClass]

    @property
    def kind(self) -> ActionKind[Any]:
        """Whose trust a proposer needs."""
        return self.governing.kind

    @property
    def targets(self) -> set[str]:
        """What it changes: a rollback is a rival of whatever changes what it undoes."""
        return {*self.payload.targets(), *self.governing.targets()}

    @property
    def track(self) -> Track:
        """The track of the strictest class."""
        return track_of(self.classes)

    def require_track(self, voted_on: str | None) -> None:
        """``TRACK_CHANGED``: what became a matter of another track was not voted on as such."""
        if self.track != voted_on:
            raise Refused(
                "TRACK_CHANGED",
                f"what it changes belongs to the {self.track} track now; it passed {voted_on}",
            )

    def terms(self, values: Mapping[str, Value], *, voting_hours: int | None = None) -> Terms:
        """The terms as they are now; frozen when voting opens."""
        terms = terms_for(
            self.track,
            values,
            voting_hours=voting_hours,
            changes_parameter=changes_parameter(self.classes),
        )
        if self.payload is not self.governing:
            hours = min(MOST_TIMELOCK_HOURS, terms.timelock_hours)
            return replace(terms, timelock_hours=hours)
        return _with_fiat_unlock(terms, self.payload, values)


def require_roll_allowed(
    kind: ActionKind[Any], electorate: str | None, values: Mapping[str, Value]
) -> None:
    """``ELECTORATE_NOT_ALLOWED``: who chooses the voters chooses the outcome.

    Types that only record may name a roll; for the others governance allows it by type.
    """
    allowed = kind.rolls or values.get(f"electorate.{kind.name}") is True
    if electorate is not None and not allowed:
        raise Refused(
            "ELECTORATE_NOT_ALLOWED",
            f"{kind.name} is voted on by all members by trust; a governance_rule may set "
            f"electorate.{kind.name} to let its proposers name another electorate",
        )


def basis_of(payload: Payload, catalogue: Catalogue, undone: Mapping[str, Undone]) -> Basis:
    """The basis of a payload. ``undone`` holds the proposals that rollbacks name.

    Raises ``Refused``: PROPOSAL_UNKNOWN, NOT_EXECUTED, … when there is nothing to undo.
    """
    governing = payload
    for action in payload.actions:
        if isinstance(action, Rollback):
            target = require_undoable(undone.get(action.proposal), action.proposal)
            governing = parse_payload(
                target.type, json.loads(target.payload), catalogue, bounds=False
            )
    return Basis(payload, governing, governing.classes(catalogue))


def undone_by(payload: Payload) -> list[str]:
    """The proposals that this payload would roll back."""
    return [action.proposal for action in payload.actions if isinstance(action, Rollback)]


def _with_fiat_unlock(terms: Terms, payload: Payload, values: Mapping[str, Value]) -> Terms:
    """Unlocking fiat_unlock takes what its own values say, where that is more."""
    unlocks = any(
        isinstance(action, SwitchFeature) and action.key == FIAT_UNLOCK and action.enabled
        for action in payload.actions
    )
    if not unlocks:
        return terms
    voters = int(str(values["fiat_unlock.min_yes_voters"]))
    approval = parse_decimal(values["fiat_unlock.approval"])
    return replace(
        terms,
        min_yes_voters=max(terms.min_yes_voters, voters),
        approval=max(terms.approval, approval),
    )
