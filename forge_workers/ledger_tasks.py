"""The ledger's periodic work that acts outside the database: signing, keeping, verifying."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

import structlog
from sqlalchemy import Engine

from forge_core.database import transaction
from forge_core.errors import Inconsistent, Misconfigured, Refused
from forge_core.ledger.checkpoints import CheckpointFile, CheckpointSink, Signer, checkpoint
from forge_core.ledger.keys import PROMISES, ensure_announced
from forge_core.ledger.notes import SigningKey
from forge_core.ledger.rolling import verify_piece
from forge_core.members.genesis import is_founded
from forge_core.settings import Settings
from forge_workers.keyfiles import load_key

log = structlog.get_logger(__name__)

SINKS = "FORGE_CHECKPOINT_SINKS"


def checkpoint_sinks(settings: Settings) -> list[CheckpointSink]:
    """The append-only file, and what ``FORGE_CHECKPOINT_SINKS`` names beside it.

    That is a list, separated by commas, of ``module:function``; each function takes the settings
    and returns a ``CheckpointSink``. ``Misconfigured`` when one cannot be had.
    """
    named = filter(None, os.environ.get(SINKS, "").split(","))
    others = [_factory(name.strip())(settings) for name in named]
    return [CheckpointFile(settings.checkpoint_file), *others]


def make_checkpoint(engine: Engine, settings: Settings) -> None:
    """``ledger.checkpoint``. Safe to repeat, and to kill anywhere: see ``checkpoint``."""
    try:
        signer = Signer.beside(settings.ledger_key, load_key(settings.ledger_key))
        if settings.promise_key.exists():
            _announce_promises(engine, load_key(settings.promise_key))
        checkpoint(engine, signer, checkpoint_sinks(settings))
    except (Inconsistent, Misconfigured, Refused) as error:
        # Not repaired, not hidden, and tried again: doctor and the next run say it too.
        log.error("checkpoint.refused", code=error.code, reason=str(error))  # noqa: TRY400


def verify_some(engine: Engine, settings: Settings) -> None:
    """``ledger.verify``: a piece of the rolling verification. Safe to repeat: see ``rolling``."""
    sinks = checkpoint_sinks(settings)
    with transaction(engine) as session:
        found = verify_piece(session, sinks)
    for one in found:
        log.error("ledger.discrepancy", where=one.where, position=one.position, meaning=one.meaning)


def _announce_promises(engine: Engine, key: SigningKey) -> None:
    """Once there is a ledger, it names the key whose promises it keeps."""
    with transaction(engine) as session:
        if is_founded(session):
            ensure_announced(session, key.verifier, PROMISES)


def _factory(name: str) -> Callable[[Settings], CheckpointSink]:
    module, _, attribute = name.partition(":")
    try:
        found: Callable[[Settings], CheckpointSink] = getattr(
            importlib.import_module(module), attribute
        )
    except (ImportError, AttributeError, ValueError) as error:
        raise Misconfigured(
            f"{SINKS} names {name!r}; it is module:function, and this one cannot be imported"
        ) from error
    return found
