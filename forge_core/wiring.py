"""The one list of every package's capabilities, tables, entry kinds, job kinds and derivations."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Final

from sqlalchemy import Table

from forge_core.capabilities import rate_limits, values
from forge_core.capabilities.registry import Registry
from forge_core.database import Base, Held
from forge_core.enforcement import execution
from forge_core.jobs.kinds import Chore, Derivation, JobKind
from forge_core.jobs.prune import prune
from forge_core.ledger import erasure, instance, keys, received, sealing
from forge_core.ledger.entries import EntryKind
from forge_core.members import commands, delegation, electorate, genesis, imported, restrictions
from forge_core.overlays import register
from forge_core.proposals import creation, expiry, opening, track_values, weights
from forge_core.proposals.types import ProposalType
from forge_core.voting import ballots, cancelling, closing, counting, tally_check

REGISTRY: Final = Registry(
    (*rate_limits.CAPABILITIES, *weights.CAPABILITIES, *track_values.CAPABILITIES)
)

ENTRY_KINDS: Final[tuple[EntryKind, ...]] = (
    genesis.FOUNDED,
    genesis.ROLE_GRANTED,
    instance.CLOCK_ADVANCED,
    keys.KEY_ANNOUNCED,
    erasure.TEXT_ERASED,
    received.COMMAND_RECEIVED,
    electorate.ADMITTED,
    electorate.LEVEL_CHANGED,
    restrictions.RESTRICTED,
    restrictions.RELEASED,
    delegation.DELEGATED,
    delegation.REVOKED,
    imported.IMPORTED,
    imported.SEALED,
    values.SETTING_CHANGED,
    values.POLICY_ADOPTED,
    register.REGISTERED,
    register.UPDATED,
    creation.CREATED,
    opening.ACTIVATED,
    expiry.EXPIRED,
    cancelling.CANCELLED,
    ballots.BALLOT_CAST,
    tally_check.TALLY_CORRECTED,
    closing.DECIDED,
    closing.QUEUED,
    execution.EXECUTED,
    execution.FAILED,
)

# The packages' tables are declared by importing them; sorted, so that a key comes before its users.
for _package in ("capabilities", "jobs", "ledger", "members", "overlays", "proposals", "voting"):
    import_module(f"forge_core.{_package}.model")
TABLES: Final[tuple[Table, ...]] = tuple(Base.metadata.sorted_tables)
DERIVED: Final = tuple(table for table in TABLES if table.info["held"] is Held.DERIVED)

COMMANDS: Final[tuple[JobKind, ...]] = (
    JobKind(
        "proposals.create",
        queue="proposals",
        step=partial(creation.create, registry=REGISTRY),
        claim=100,
    ),
    JobKind(
        "proposals.activate",
        queue="proposals",
        step=partial(opening.activate, registry=REGISTRY),
        claim=100,
    ),
    JobKind("proposals.cancel", queue="proposals", step=cancelling.cancel),
    *commands.job_kinds(tuple(ProposalType)),
)

JOB_KINDS: Final[tuple[JobKind, ...]] = (
    *COMMANDS,
    # Deadlines have to be met whatever fails on the way: these two are not given up soon.
    JobKind(
        "proposals.expire",
        queue="closure",
        step=expiry.expire,
        claim=100,
        attempts=1_000,
        errors=1_000,
    ),
    JobKind(
        "proposals.close",
        queue="closure",
        step=closing.close,
        claim=200,
        attempts=1_000,
        errors=1_000,
    ),
    JobKind("votes.recount", queue="recounts", step=tally_check.check_tallies, claim=20),
    JobKind(
        "enforcement.execute",
        queue="execution",
        step=partial(execution.execute, registry=REGISTRY),
        # One commit each: few at a time, so that decisions do not wait behind many executions.
        claim=5,
        together=False,
        # Whoever holds a lock for long must not turn an approval into a failure.
        attempts=1_000,
        on_dead=execution.give_up,
    ),
)

CHORES: Final[tuple[Chore, ...]] = (
    Chore("votes.count", queue="votes", step=counting.count, backlog=counting.BACKLOG),
    Chore("ledger.seal", queue="ledger", step=sealing.seal),
    Chore("jobs.prune", queue="maintenance", step=prune),
)

DERIVATIONS: Final[tuple[Derivation, ...]] = (
    closing.DUE,
    closing.ELAPSED,
    expiry.LAPSED,
    tally_check.STALE,
)
