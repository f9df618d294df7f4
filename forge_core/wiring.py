"""The one list of every package's capabilities, entry kinds, job kinds and derivations."""

from __future__ import annotations

from functools import partial
from typing import Final

from forge_core.actions import (
    additions,
    emergency,
    extension,
    overlay,
    policy,
    rollback,
    setting,
    treasury,
    trust,
    windows,
)
from forge_core.actions.catalogue import Catalogue
from forge_core.advisory import advising, terms
from forge_core.advisory.consulting import batching, consult, turns
from forge_core.capabilities import (
    emergencies,
    extensions,
    features,
    modules,
    protocol,
    rate_limits,
    values,
)
from forge_core.capabilities.platform import with_platform
from forge_core.enforcement import (
    execution,
    holding,
    joint,
    outbox,
    retrying,
    review,
    unlocking,
)
from forge_core.immune import (
    checking,
    drafting,
    incidents,
    pending,
    recovering,
    responses,
    rulebook,
    tidying,
    watching,
)
from forge_core.immune import commands as immune_commands
from forge_core.jobs.kinds import Chore, Derivation, JobKind, Outside
from forge_core.jobs.prune import prune
from forge_core.ledger import erasure, instance, keys, received, sealing
from forge_core.ledger.entries import EntryKind
from forge_core.members import (
    commands,
    delegation,
    electorate,
    genesis,
    holdings,
    imported,
    restrictions,
    roles,
)
from forge_core.overlays import register, standing
from forge_core.proposals import creation, expiry, opening, queueing, track_values, weights
from forge_core.treasury import accounts
from forge_core.treasury import commands as treasury_commands
from forge_core.voting import ballots, cancelling, closing, counting, tally_check

CATALOGUE: Final = Catalogue(
    with_platform(
        (
            *rate_limits.CAPABILITIES,
            *protocol.CAPABILITIES,
            *features.CAPABILITIES,
            *emergencies.CAPABILITIES,
            *weights.CAPABILITIES,
            *track_values.CAPABILITIES,
            *rulebook.CAPABILITIES,
            *terms.CAPABILITIES,
        )
    ),
    (
        setting.CONFIGURATION,
        policy.KIND,
        trust.ADJUSTMENT,
        overlay.REGISTRATION,
        overlay.UPDATE,
        overlay.STANDING,
        setting.FEATURE_ACTIVATION,
        treasury.KIND,
        setting.GOVERNANCE_RULE,
        trust.ROLE_CHANGE,
        extension.KIND,
        emergency.KIND,
        rollback.KIND,
    ),
    (*protocol.ORDERS, *track_values.ORDERS),
)
"""What may change, as the code and the platform's own modules declare it; governance extends it."""

ENTRY_KINDS: Final[tuple[EntryKind, ...]] = (
    genesis.FOUNDED,
    roles.ROLE_GRANTED,
    roles.ROLE_WITHDRAWN,
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
    holdings.HOLDINGS_REPORTED,
    holdings.MATERIALISED,
    values.SETTING_CHANGED,
    values.SETTING_RESTORED,
    values.POLICY_ADOPTED,
    values.POLICY_REPEALED,
    extensions.EXTENSION_ADDED,
    extensions.EXTENSION_REMOVED,
    modules.MODULE_REGISTERED,
    modules.MODULE_UPDATED,
    modules.MODULE_REMOVED,
    register.REGISTERED,
    register.UPDATED,
    register.TRUST_CHANGED,
    register.DEREGISTERED,
    accounts.DEPOSITED,
    accounts.TRANSFERRED,
    windows.WINDOW_IMPOSED,
    windows.WINDOW_ENDED,
    additions.DECISION_RECORDED,
    additions.DECISION_WITHDRAWN,
    creation.CREATED,
    opening.ACTIVATED,
    expiry.EXPIRED,
    cancelling.CANCELLED,
    ballots.BALLOT_CAST,
    tally_check.TALLY_CORRECTED,
    closing.DECIDED,
    review.REVIEWED,
    review.SIGNED_OFF,
    queueing.QUEUED,
    retrying.RETRIED,
    execution.EXECUTED,
    execution.FAILED,
    execution.ROLLED_BACK,
    execution.ATTEMPT_REFUSED,
    joint.PROPOSED,
    joint.CONFIRMED,
    joint.ENDED,
    outbox.DELIVERED,
    outbox.UNDELIVERABLE,
    register.STATUS_CHANGED,
    standing.CONTAINED,
    responses.RESPONDED,
    responses.ENDED,
    pending.ACTION_OPENED,
    pending.ACTION_CONFIRMED,
    incidents.OPENED,
    incidents.CLOSED,
    advising.ADVISED,
)

COMMANDS: Final[tuple[JobKind, ...]] = (
    JobKind(
        "proposals.create",
        queue="proposals",
        step=partial(creation.create, catalogue=CATALOGUE),
        # Fifty of the largest proposals have to fit into a lease.
        claim=50,
    ),
    JobKind(
        "proposals.activate",
        queue="proposals",
        step=partial(opening.activate, catalogue=CATALOGUE),
        claim=50,
    ),
    JobKind("proposals.cancel", queue="proposals", step=cancelling.cancel),
    JobKind(
        "enforcement.review",
        queue="execution",
        step=partial(review.review, catalogue=CATALOGUE),
        together=False,
    ),
    JobKind("enforcement.sign_off", queue="execution", step=review.sign_off, together=False),
    JobKind("enforcement.retry", queue="execution", step=retrying.retry, together=False),
    JobKind("enforcement.freeze", queue="execution", step=holding.freeze, together=False),
    JobKind("enforcement.thaw", queue="execution", step=holding.thaw, together=False),
    JobKind("joint.propose", queue="proposals", step=joint.propose, together=False),
    JobKind(
        "joint.confirm",
        queue="proposals",
        step=partial(joint.confirm, catalogue=CATALOGUE),
        together=False,
    ),
    JobKind("joint.cancel", queue="proposals", step=joint.cancel, together=False),
    *(
        JobKind(name, queue="immune", step=step, together=False)
        for name, step in immune_commands.STEPS.items()
    ),
    JobKind("treasury.deposit", queue="proposals", step=treasury_commands.deposit, together=False),
    *commands.job_kinds(lambda session: additions.with_extensions(session, CATALOGUE).types),
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
        step=partial(execution.execute, catalogue=CATALOGUE),
        # One commit each: few at a time, so that decisions do not wait behind many executions.
        claim=5,
        together=False,
        # Whoever holds a lock for long must not turn an approval into a failure.
        attempts=1_000,
        # A handler that kills its worker every time does.
        losses=5,
        on_dead=execution.give_up,
    ),
    JobKind(
        "joint.settle",
        queue="execution",
        step=partial(joint.settle, catalogue=CATALOGUE),
        together=False,
    ),
    JobKind("enforcement.go_on", queue="execution", step=review.go_on, together=False),
    *(JobKind(name, queue="immune", step=step) for name, step in checking.STEPS.items()),
    JobKind("immune.draft", queue="proposals", step=partial(drafting.draft, catalogue=CATALOGUE)),
    JobKind("immune.recover", queue="immune", step=recovering.recover),
    JobKind(
        "advisory.analyse",
        queue="analysis",
        step=partial(advising.advise, catalogue=CATALOGUE),
        # Each may be a wall of text; while they are read no statement is made.
        claim=5,
    ),
    JobKind(
        advising.CONSULT,
        queue="analysis",
        step=Outside(
            partial(consult.prepare, catalogue=CATALOGUE),
            consult.act,
            consult.apply,
            consult.abreast,
        ),
        lease=consult.LEASE,
        on_dead=consult.give_up,
    ),
    JobKind(
        advising.BATCH,
        queue="analysis",
        step=Outside(
            partial(batching.prepare, catalogue=CATALOGUE),
            batching.act,
            partial(batching.apply, catalogue=CATALOGUE),
            lambda _: 1,
        ),
        lease=consult.LEASE,
    ),
    JobKind(
        "features.unlock",
        queue="execution",
        step=partial(unlocking.unlock, catalogue=CATALOGUE),
    ),
)

CHORES: Final[tuple[Chore, ...]] = (
    Chore("votes.count", queue="votes", step=counting.count, backlog=counting.BACKLOG),
    Chore("ledger.seal", queue="ledger", step=sealing.seal),
    Chore("immune.watch", queue="immune", step=watching.watch),
    Chore("immune.tidy", queue="immune", step=tidying.tidy),
    Chore("advisory.tidy", queue="analysis", step=turns.forget),
    Chore("jobs.prune", queue="maintenance", step=prune),
)

DERIVATIONS: Final[tuple[Derivation, ...]] = (
    closing.DUE,
    review.UNBLOCKED,
    holding.elapsed(CATALOGUE),
    expiry.LAPSED,
    tally_check.STALE,
    joint.DUE,
    unlocking.due(CATALOGUE),
    checking.UNJUDGED,
    recovering.ELAPSED,
    drafting.HELD,
    advising.UNADVISED,
)
