"""Planning a whole payload: what each action would change, or why none of it can happen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.kind import Effect, Frame, Planned
from forge_core.actions.payloads import Payload
from forge_core.actions.present import Present
from forge_core.actions.rollback import (
    Rollback,
    plan_undoing,
    require_undoable,
    undone_proposals,
)
from forge_core.actions.self_brick import refuse_to_brick


@dataclass(frozen=True)
class Step:
    """One planned change; ``undoes`` is the effect that it puts back, for a rollback."""

    planned: Planned
    undoes: Effect | None = None


def plan(present: Present, catalogue: Catalogue, payload: Payload, frame: Frame) -> Sequence[Step]:
    """What executing the payload now would change, in order; nothing is written.

    Raises ``Refused`` with the reason of the first action that cannot happen, VALUES_CONTRADICT
    when the outcome breaks an order between keys, SELF_BRICK when nobody could govern after it.
    """
    census, values = (
        (present.census(), present.values())
        if needs_census(present, payload)
        else (
            None,
            {},
        )
    )
    steps = _steps(present, catalogue, payload, frame)
    if any(step.planned.capability for step in steps):
        catalogue.check_orders(present.values())
    if census is not None:
        refuse_to_brick(census, values, present.census(), present.values())
    return steps


def needs_census(present: Present, payload: Payload) -> bool:
    """Whether it may change who can govern."""
    if payload.kind.census:
        return True
    ids = [action.proposal for action in payload.actions if isinstance(action, Rollback)]
    return any(
        present.catalogue.kind(undone.type).census
        for undone in undone_proposals(present.session, ids).values()
    )


def _steps(
    present: Present, catalogue: Catalogue, payload: Payload, frame: Frame
) -> Sequence[Step]:
    steps: list[Step] = []
    for index, action in enumerate(payload.actions):
        at = replace(frame, index=index)
        if isinstance(action, Rollback):
            undone = undone_proposals(present.session, [action.proposal]).get(action.proposal)
            require_undoable(undone, action.proposal)
            steps += (
                Step(planned, effect)
                for effect, planned in plan_undoing(present, catalogue, action.proposal, at)
            )
        else:
            steps.append(Step(payload.kind.plan(present, action, at)))
    return steps
