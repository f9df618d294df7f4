"""Policies: texts that are in force once they are adopted."""

from __future__ import annotations

from typing import Annotated

from forge_core.actions.fields import TEXT_MOST, text_field
from forge_core.actions.kind import Action, ActionKind, Effect, Frame, Planned
from forge_core.actions.present import Present
from forge_core.capabilities.declaration import CapabilityClass
from forge_core.capabilities.values import POLICY_ADOPTED, POLICY_REPEALED
from forge_core.ledger.entries import Entry
from forge_core.members.levels import TrustLevel


class Policy(Action):
    """Enter a policy in the register; without ``text`` the proposal's description is the text."""

    TEXTS = ("text",)

    text: Annotated[str | None, text_field("text", TEXT_MOST)] = None


def _plan(_present: Present, action: Policy, frame: Frame) -> Planned:
    after = {"title": frame.title, "text": action.text or frame.description}
    data = {**after, "action": frame.index}
    return Planned(
        target=f"policy:{frame.proposal}:{frame.index}",
        before=None,
        after=after,
        entries=(Entry(POLICY_ADOPTED, frame.at, frame.proposer, frame.proposal, data),),
    )


def _undo(present: Present, effect: Effect, frame: Frame) -> Planned:
    present.require_latest(effect)
    data = {"action": effect.index, "proposal": frame.proposal}
    return Planned(
        target=effect.target,
        before=effect.after,
        after=None,
        entries=(Entry(POLICY_REPEALED, frame.at, frame.proposer, effect.proposal, data),),
    )


KIND = ActionKind(
    name="policy",
    trust=TrustLevel.TRUSTED,
    model=Policy,
    touches=lambda *_: CapabilityClass.ORDINARY,
    target=lambda _: None,
    plan=_plan,
    undo=_undo,
    # A text changes nothing by itself, so whoever votes on it may be chosen.
    rolls=True,
)
