"""The automatic date of fiat_unlock: a rule that the sweep applies, as an entry in its own name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.actions.catalogue import Catalogue
from forge_core.actions.setting import target
from forge_core.actions.windows import TARGET as WINDOWS
from forge_core.actions.windows import windows
from forge_core.capabilities.features import FIAT_UNLOCK
from forge_core.capabilities.values import SETTING_CHANGED, present_setting
from forge_core.clock import forge_now, rfc3339
from forge_core.jobs.kinds import Derivation, Job, Outcome
from forge_core.ledger.entries import Entry, append
from forge_core.locks import lock_name, share_name

ACTOR: Final = "rule:fiat_unlock"
AUTOMATIC_AT: Final = "fiat_unlock.automatic_at"

_DECIDED = text("SELECT EXISTS (SELECT FROM effects WHERE target = :target)")


def unlock(session: Session, jobs: Sequence[Job], *, catalogue: Catalogue) -> list[Outcome]:
    """The step of ``features.unlock``. What was ever decided about the feature, and undone, stands.

    A freeze or a pause stops it as it stops what was voted on.
    Running it twice changes nothing: the first time leaves a value behind.
    """
    share_name(session, WINDOWS)  # no freeze begins while this looks whether there is one
    lock_name(session, target(FIAT_UNLOCK))
    now = forge_now(session)
    held = any(window.holds(now) for window in windows(session, now))
    setting = present_setting(session, catalogue, FIAT_UNLOCK)
    decided = session.execute(_DECIDED, {"target": target(FIAT_UNLOCK)}).scalar_one()
    automatic_at = present_setting(session, catalogue, AUTOMATIC_AT).value
    open_ = setting.writer is None and not decided
    if open_ and not held and rfc3339(now) >= str(automatic_at):
        data = {"before": setting.value, "after": True, "proposal": ACTOR}
        append(session, [Entry(SETTING_CHANGED, now, ACTOR, FIAT_UNLOCK, data)])
    return [Outcome.done() for _ in jobs]


def due(catalogue: Catalogue) -> Derivation:
    """Found once: after it the feature has a value of its own."""
    default = catalogue.get(AUTOMATIC_AT).default
    return Derivation(
        "fiat_unlock",
        text(f"""
            INSERT INTO jobs (kind, key, once, payload, actor)
            SELECT 'features.unlock', 'unlock:fiat_unlock', false, '{{}}', 'system'
            FROM instance
            WHERE NOT EXISTS (SELECT FROM setting_values WHERE key = '{FIAT_UNLOCK}')
                AND NOT EXISTS (SELECT FROM effects WHERE target = '{target(FIAT_UNLOCK)}')
                AND forge_now() >= CAST(coalesce(
                    (SELECT value #>> '{{}}' FROM setting_values WHERE key = '{AUTOMATIC_AT}'),
                    '{default}'
                ) AS timestamptz)
                AND NOT EXISTS (
                    SELECT FROM execution_windows
                    WHERE from_at <= forge_now() AND until_at > forge_now()
                )
                AND NOT EXISTS (
                    SELECT FROM jobs WHERE key = 'unlock:fiat_unlock'
                        AND state IN ('pending', 'running', 'dead')
                )
            LIMIT :limit
            ON CONFLICT DO NOTHING
            RETURNING kind
        """),  # noqa: S608  # built from constants
    )
