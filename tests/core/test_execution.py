"""The execution step: what it refuses, what fails without effect, and what happens exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from forge_core.capabilities.declaration import Change, Delivery
from forge_core.clock import rfc3339
from forge_core.database import transaction
from forge_core.enforcement.outbox import ATTEMPTS_MOST, deliver_next, revive
from forge_core.errors import Refused
from forge_core.failpoints import Failpoint, arm
from forge_core.wiring import JOB_KINDS
from tests.core.factories import REVIEWERS, House, catalogue_with
from tests.core.full_house import (
    CASES,
    carried,
    clock_stopped,
    done,
    due_again,
    effects,
    now_rows,
    platform_key,
    play,
    queued,
    reason,
    send,
    setting,
    undo,
    warned,
)
from tests.support import until

ORDINARY = {"type": "configuration", "payload": {"key": "rate_limit.CORE", "new_value": 7}}
PROTOCOL = {"type": "configuration", "payload": {"key": "difficulty", "new_value": 5}}
COLOUR = {"type": "configuration", "payload": {"key": "platform.colour", "new_value": 9}}


# Whatever may not be executed is refused, by whatever route it comes, and that is recorded


def draft(house: House) -> str:
    return house.propose("carl", **PROTOCOL)


def active(house: House) -> str:
    return house.open("carl", **PROTOCOL)


def over_but_open(house: House) -> str:
    """Voting is over, and nobody has closed it."""
    proposal = active(house)
    house.approve(proposal)
    house.advance_to(house.column(proposal, "closes_at") + timedelta(days=30))
    return proposal


def rejected(house: House) -> str:
    proposal = active(house)
    house.vote(proposal, "carl", "against")
    house.end_voting(proposal)
    assert house.status(proposal) == "rejected"
    return proposal


def unreviewed(house: House) -> str:
    return house.approved("carl", **PROTOCOL)


def reviewed_by_four(house: House) -> str:
    proposal = unreviewed(house)
    for member in REVIEWERS[:4]:
        house.review(proposal, member)
    house.sign_all(proposal)
    return proposal


def rejected_by_review(house: House) -> str:
    """Three fifths approve; it takes two thirds."""
    proposal = unreviewed(house)
    for member in REVIEWERS[:5]:
        house.review(proposal, member, approves=member not in REVIEWERS[:2])
    house.sign_all(proposal)
    return proposal


def unsigned(house: House) -> str:
    proposal = unreviewed(house)
    house.review_all(proposal)
    return proposal


def signed_by_one_too_few(house: House) -> str:
    """Eleven voted for it, so six sign."""
    proposal = unsigned(house)
    for member in ("cora", "gus", "tara", "rae", "ray"):
        house.do("enforcement.sign_off", member, proposal_id=proposal)
    return proposal


def early(house: House) -> str:
    proposal = queued(house, **PROTOCOL)
    house.advance_to(house.column(proposal, "eta") - timedelta(hours=1))
    return proposal


def lapsed_draft(house: House) -> str:
    proposal = draft(house)
    house.advance(days=30)
    house.settle()
    return proposal


def lapsed_gates(house: House) -> str:
    proposal = unreviewed(house)
    house.advance(days=30)
    house.settle()
    return proposal


def past_grace(house: House) -> str:
    proposal = queued(house, **PROTOCOL)
    house.advance_to(house.column(proposal, "expires_at"))
    house.settle()
    return proposal


def cancelled(house: House) -> str:
    proposal = early(house)
    house.do("proposals.cancel", "gus", proposal_id=proposal, reason="enough")
    return proposal


def executed(house: House) -> str:
    return done(house, **PROTOCOL)


def rolled_back(house: House) -> str:
    proposal = executed(house)
    undo(house, proposal)
    return proposal


def failed(house: House) -> str:
    stale = {"key": "difficulty", "new_value": 6, "old_value": 5}
    proposal = carried(house, type="configuration", payload=stale)
    assert house.status(proposal) == "failed"
    return proposal


def due(house: House) -> str:
    proposal = queued(house, **PROTOCOL)
    house.advance_to(house.column(proposal, "eta"))
    return proposal


def frozen(house: House) -> str:
    proposal = due(house)
    until_at = house.one("SELECT forge_now() + INTERVAL '1 day'").isoformat()
    house.do("enforcement.freeze", "gus", until=until_at, reason="holiday")
    return proposal


def paused(house: House) -> str:
    play(house, CASES["a pause"])
    return queued(house, **ORDINARY)


def before_its_predecessor(house: House) -> str:
    first = house.propose("carl", **ORDINARY)
    proposal = queued(house, predecessor=first, **PROTOCOL)
    house.advance_to(house.column(proposal, "eta"))
    return proposal


def after_a_predecessor_that_is_no_more(house: House) -> str:
    first = done(house, **ORDINARY)
    proposal = queued(house, predecessor=first, **PROTOCOL)
    undo(house, first)
    house.advance_to(house.column(proposal, "eta"))
    return proposal


MAY_NOT: Mapping[str, tuple[Callable[[House], str], str]] = {
    "a draft": (draft, "VOTING_NOT_APPROVED"),
    "an open voting": (active, "VOTING_NOT_APPROVED"),
    "a voting that is over and not closed": (over_but_open, "VOTING_NOT_APPROVED"),
    "a rejected one": (rejected, "VOTING_NOT_APPROVED"),
    "one without reviews": (unreviewed, "INSUFFICIENT_REVIEWERS"),
    "one with a review too few": (reviewed_by_four, "INSUFFICIENT_REVIEWERS"),
    "one that the reviewers reject": (rejected_by_review, "CODE_REVIEW_REJECTED"),
    "one without sign-offs": (unsigned, "IMPLEMENTATION_NOT_APPROVED"),
    "one with a sign-off too few": (signed_by_one_too_few, "IMPLEMENTATION_NOT_APPROVED"),
    "one in its timelock": (early, "TIMELOCK_ACTIVE"),
    "a lapsed draft": (lapsed_draft, "EXPIRED"),
    "one whose gates lapsed": (lapsed_gates, "EXPIRED"),
    "one past its grace": (past_grace, "EXPIRED"),
    "a cancelled one": (cancelled, "CANCELLED"),
    "an executed one": (executed, "ALREADY_EXECUTED"),
    "a rolled back one": (rolled_back, "ALREADY_EXECUTED"),
    "a failed one": (failed, "EXECUTION_FAILED"),
    "one in a freeze": (frozen, "EXECUTION_HELD"),
    "one in a pause": (paused, "EXECUTION_HELD"),
    "one before its predecessor": (before_its_predecessor, "PREDECESSOR_NOT_EXECUTED"),
    "one whose predecessor is undone": (
        after_a_predecessor_that_is_no_more,
        "PREDECESSOR_NOT_EXECUTED",
    ),
}


@pytest.mark.parametrize("name", MAY_NOT)
def test_what_may_not_be_executed_changes_nothing_and_is_recorded(full_house, name):
    """INV-02, INV-27, INV-37: a job row by whoever it may be; not one derived row is different."""
    make, code = MAY_NOT[name]
    proposal = make(full_house)
    status = full_house.status(proposal)
    full_house.sql("UPDATE jobs SET state = 'superseded' WHERE state = 'pending'")
    image, rows = full_house.image(proposal), full_house.derived_rows()
    entries = len(full_house.entries())

    assert send(full_house, proposal) == ("refused", code)

    assert full_house.image(proposal) == image
    assert full_house.derived_rows() == rows
    assert len(full_house.entries()) == entries + 1
    (attempt,) = full_house.entries("execution.refused")
    assert attempt["subject"] == proposal
    assert attempt["data"] == {"code": code, "status": status, "by": "mallory"}


def test_what_a_close_begins_in_a_freeze_is_no_attempt_and_happens_after_it(full_house):
    """INV-37: nobody tried anything; the sweep finds it when the freeze is over."""
    first = full_house.open(**ORDINARY)
    second = full_house.open(predecessor=first)
    for proposal in (first, second):
        full_house.approve(proposal)
    until = rfc3339(full_house.column(second, "closes_at") + timedelta(days=1))
    full_house.do("enforcement.freeze", "gus", until=until, reason="A closer look first.")
    full_house.end_voting(second)
    full_house.perform("enforcement.execute")
    assert [full_house.status(proposal) for proposal in (first, second)] == ["queued", "queued"]
    assert full_house.entries("execution.refused") == []

    full_house.advance(days=2)
    full_house.settle()
    full_house.settle()

    assert [full_house.status(proposal) for proposal in (first, second)] == ["executed"] * 2
    assert full_house.entries("execution.refused") == []


@pytest.mark.parametrize("name", MAY_NOT)
def test_no_sweep_derives_an_execution_that_would_be_refused(full_house, name):
    make, _ = MAY_NOT[name]
    proposal = make(full_house)
    full_house.sql("UPDATE jobs SET state = 'superseded' WHERE state = 'pending'")

    full_house.sweep()

    waiting = "SELECT count(*) FROM jobs WHERE state = 'pending' AND key = 'execute:' || %s"
    assert full_house.one(waiting, proposal) == 0


@pytest.mark.parametrize(
    "payload", ['{"proposal_id": "p-none"}', '{"proposal_id": 5}', '{"proposal_id": null}', "{}"]
)
def test_an_execution_of_nothing_is_refused(full_house, payload):
    full_house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor)"
        " VALUES ('enforcement.execute', 'x', true, %s, 'mallory')",
        payload,
    )
    full_house.perform("enforcement.execute")

    assert full_house.sql("SELECT state, code FROM jobs WHERE key = 'x'") == [
        ("refused", "PROPOSAL_UNKNOWN")
    ]


# What was changed behind the triggers' back


def forge(house: House, change: str, *parameters: object) -> None:
    """As somebody who has the database to themselves."""
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(change, parameters)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (active, "VOTING_NOT_APPROVED"),
        (rejected, "VOTING_NOT_APPROVED"),
        (unreviewed, "INSUFFICIENT_REVIEWERS"),
        (rejected_by_review, "CODE_REVIEW_REJECTED"),
        (unsigned, "IMPLEMENTATION_NOT_APPROVED"),
    ],
)
def test_a_status_that_was_forged_executes_nothing(full_house, make, code):
    """INV-27: from the stored ballots, reviews and sign-offs, and not from how it is called."""
    proposal = make(full_house)
    forge(
        full_house,
        "UPDATE proposals SET status = 'queued', eta = forge_now() - INTERVAL '1 hour',"
        " expires_at = forge_now() + INTERVAL '14 days', queued_count = 1 WHERE id = %s",
        proposal,
    )
    image, rows = full_house.image(proposal), full_house.derived_rows()

    assert send(full_house, proposal) == ("refused", code)

    assert full_house.image(proposal) == image
    assert full_house.derived_rows() == rows
    (attempt,) = full_house.entries("execution.refused")
    assert attempt["data"]["code"] == code


def test_a_status_that_the_sweep_finds_forged_is_refused_as_well(full_house):
    proposal = unreviewed(full_house)
    forge(
        full_house,
        "UPDATE proposals SET status = 'queued', eta = forge_now(),"
        " expires_at = forge_now() + INTERVAL '14 days', queued_count = 1",
    )

    full_house.sweep()
    full_house.perform("enforcement.execute")

    assert full_house.one("SELECT count(*) FROM effects") == 0
    (attempt,) = full_house.entries("execution.refused")
    assert (attempt["subject"], attempt["data"]["by"]) == (proposal, "system")


HASHED = "UPDATE proposals SET payload = %s, payload_hash = sha256(%s)"


@pytest.mark.parametrize(
    ("type_", "change", "parameters", "code"),
    [
        ("policy", "UPDATE proposals SET payload = %s", (b'{"text":"Be cruel."}',), None),
        ("policy", "UPDATE proposals SET payload = %s", (b"not json",), None),
        ("policy", "UPDATE proposals SET payload = %s", (b"\xff\xfe",), None),
        ("policy", "UPDATE proposals SET payload = %s", (b"",), None),
        ("policy", "UPDATE proposals SET payload = payload || %s", (b" ",), None),
        ("policy", "UPDATE proposals SET payload_hash = sha256(%s)", (b"x",), None),
        ("policy", "UPDATE proposals SET type = %s", ("configuration",), "PAYLOAD_MISSING_KEY"),
        ("policy", "UPDATE proposals SET type = %s", ("decree",), "UNKNOWN_PROPOSAL_TYPE"),
        (
            "configuration",
            "UPDATE proposals SET type = %s",
            ("governance_rule",),
            "TYPE_MISMATCH",
        ),
        ("configuration", HASHED, (b'{"key":"rate_limit.CORE","new_value":8}',) * 2, None),
        ("configuration", HASHED, (b'{"key":"difficulty","new_value":1}',) * 2, None),
        ("rollback", "UPDATE proposals SET payload = %s WHERE type = 'rollback'", (b"[]",), None),
        ("rollback", "UPDATE proposals SET payload = %s WHERE type = 'rollback'", (b"no",), None),
    ],
)
def test_what_is_executed_is_what_was_voted_on(full_house, type_, change, parameters, code):
    """INV-33: byte for byte; a hash that was forged with it is not the ledger's."""
    given: dict[str, Any] = {"type": "policy", "payload": {"text": "Be kind."}}
    if type_ == "configuration":
        given = ORDINARY
    elif type_ == "rollback":
        given = {"type": "rollback", "payload": {"proposal": done(full_house, **ORDINARY)}}
    proposal = queued(full_house, **given)
    rows = now_rows(full_house)
    forge(full_house, change, *parameters)

    full_house.ripen(proposal)

    assert full_house.status(proposal) == "failed"
    assert full_house.column(proposal, "failure") == (code or "PAYLOAD_HASH_MISMATCH")
    assert full_house.one("SELECT count(*) FROM jobs WHERE state = 'dead'") == 0
    assert effects(full_house, proposal) == []
    assert now_rows(full_house) == rows


# A platform's hook that breaks


def raise_late(change: Change) -> None:
    write(change)
    raise ValueError("the platform said no")


def loop(change: Change) -> None:
    write(change)
    while True:
        pass


def loop_whatever_is_raised(change: Change) -> None:
    write(change)
    while True:
        try:
            time.sleep(0.001)
        except Exception:  # noqa: S112, BLE001  # what such a hook does
            continue


def sleep_in_sql(change: Change) -> None:
    write(change)
    change.session.execute(text("SET LOCAL statement_timeout = '50ms'"))
    change.session.execute(text("SELECT pg_sleep(60)"))


def break_a_check(change: Change) -> None:
    write(change)
    change.session.execute(text("UPDATE electorate SET core = -1"))


def end_the_transaction(change: Change) -> None:
    write(change)
    change.session.commit()


def take_it_back(change: Change) -> None:
    write(change)
    change.session.rollback()


def write(change: Change) -> None:
    """Something of the hook's own, to see that it goes with the rest."""
    change.session.execute(
        text("INSERT INTO accounts (id, balance) VALUES ('hook', 1) ON CONFLICT DO NOTHING")
    )


def refuse(change: Change) -> None:
    write(change)
    raise Refused("LAMP_BROKEN", "there is no light")


BREAKS: Mapping[str, tuple[Callable[[Change], None], str, str]] = {
    "raises": (raise_late, "HANDLER_FAILED", "ValueError: the platform said no"),
    "refuses": (refuse, "LAMP_BROKEN", "there is no light"),
    "loops": (loop, "HANDLER_FAILED", "HookTimeout: {id} ran longer than 0.1 s"),
    "loops whatever is raised": (
        loop_whatever_is_raised,
        "HANDLER_FAILED",
        "HookTimeout: {id} ran longer than 0.1 s",
    ),
    "sleeps in SQL": (sleep_in_sql, "HANDLER_FAILED", "QueryCanceled (57014)"),
    "breaks a check": (break_a_check, "HANDLER_FAILED", "CheckViolation (23514)"),
    "commits": (
        end_the_transaction,
        "HANDLER_FAILED",
        "RuntimeError: a hook runs in the transaction of its step and does not end it",
    ),
    "rolls back": (
        take_it_back,
        "HANDLER_FAILED",
        "RuntimeError: a hook runs in the transaction of its step and does not end it",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_hook_that_breaks_fails_its_proposal_without_any_effect(full_house, monkeypatch, name):
    """INV-30, INV-31: nothing of it is left, the reason is recorded, and others go on."""
    hook, code, says = BREAKS[name]
    monkeypatch.setattr("forge_core.enforcement.execution.HOOK_SECONDS", 0.1)
    full_house.use(catalogue_with(platform_key(apply=hook)))
    actions = [
        {"key": "rate_limit.TRUSTED", "new_value": 7},
        {"key": "platform.colour", "new_value": 9},
        {"key": "rate_limit.SANDBOX", "new_value": 7},
    ]
    broken = full_house.open("tara", type="configuration", payload={"actions": actions})
    good = full_house.open("tara", **ORDINARY)
    for proposal in (broken, good):
        full_house.approve(proposal)
    full_house.end_voting(broken)
    full_house.end_voting(good)

    full_house.settle()

    assert full_house.column(broken, "failure") == code
    assert reason(full_house, broken) == says.format(id=broken)
    assert effects(full_house, broken) == []
    assert full_house.status(good) == "executed"
    assert full_house.sql("SELECT key FROM setting_values WHERE proposal_id = %s", broken) == []
    assert full_house.sql("SELECT id FROM accounts") == []
    executions = "SELECT state FROM jobs WHERE kind = 'enforcement.execute' ORDER BY state"
    assert full_house.sql(executions) == [("done",), ("failed",)]
    rows = full_house.derived_rows()
    full_house.refold()
    assert full_house.derived_rows() == rows


def test_the_time_limit_of_a_hook_is_shorter_than_what_ends_its_transaction(full_house):
    """An idling transaction is ended by the database; a hook has to be stopped before."""
    from forge_core.enforcement.execution import HOOK_SECONDS

    with transaction(full_house.app) as session:
        limit = session.execute(
            text(
                "SELECT setting::numeric / 1000 FROM pg_settings"
                " WHERE name = 'idle_in_transaction_session_timeout'"
            )
        ).scalar_one()
    assert limit >= 2 * HOOK_SECONDS


EXECUTE = """
import sys
from forge_core.database import make_engine
from forge_core.jobs.perform import perform
from forge_core.wiring import JOB_KINDS
engine = make_engine(sys.argv[1])
for kind in JOB_KINDS:
    if kind.name == "enforcement.execute":
        perform(engine, kind)
"""


def killed(house: House, code: str, point: str, **environment: str) -> None:
    """Run code in a process that kills itself at a failpoint; wait until its session is gone."""
    ended = subprocess.run(
        [sys.executable, "-c", code, house.server.url("forge_app", house.name)],
        env={**os.environ, **environment, "FORGE_FAILPOINTS": f"{point}=kill"},
        check=False,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL
    gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state LIKE 'idle in%%'"
    until(lambda: house.one(gone, house.name) == 0)


def test_a_proposal_that_kills_its_worker_each_time_fails_with_its_reason(full_house):
    """INV-31: after so many leases, without any effect; a retry gives it its attempts again."""
    (losses,) = [kind.losses for kind in JOB_KINDS if kind.name == "enforcement.execute"]
    proposal = queued(full_house, "tara", **ORDINARY)
    before = now_rows(full_house)
    for lost in range(1, losses + 1):
        assert full_house.status(proposal) == "queued"
        killed(full_house, EXECUTE, "execution.applied")
        full_house.sql("UPDATE jobs SET lease_until = clock_timestamp() WHERE state = 'running'")
        full_house.sweep()
        assert full_house.one("SELECT max(lost) FROM jobs") == lost
        due_again(full_house)

    assert full_house.status(proposal) == "failed"
    assert full_house.column(proposal, "failure") == "ATTEMPTS_USED_UP"
    assert reason(full_house, proposal) == "the worker was lost: its lease expired"
    assert effects(full_house, proposal) == []
    assert now_rows(full_house) == before

    full_house.do("enforcement.retry", "otto", proposal_id=proposal, reason="worker mended")
    full_house.settle()
    assert full_house.status(proposal) == "executed"
    assert len(full_house.entries("proposal.executed")) == 1


# Retry


def test_a_retry_is_an_operators_with_a_reason_and_gains_no_time(full_house):
    """INV-01: failed to queued only so; eta and expiry stay what they were."""
    stale = {"key": "rate_limit.CORE", "new_value": 6, "old_value": 5}
    proposal = carried(full_house, "tara", type="configuration", payload=stale)
    times = full_house.sql("SELECT eta, expires_at FROM proposals WHERE id = %s", proposal)
    done(full_house, **setting("rate_limit.CORE", 5).given)
    given = {"proposal_id": proposal, "reason": "the value is there now"}

    assert full_house.status(proposal) == "failed"
    for actor, change, code in (
        ("carl", {}, "POWER_MISSING"),
        ("gus", {}, "POWER_MISSING"),
        ("tara", {}, "POWER_MISSING"),
        ("nobody", {}, "MEMBER_UNKNOWN"),
        ("otto", {"reason": ""}, "TEXT_BLANK"),
        ("otto", {"reason": 5}, "TEXT_INVALID_TYPE"),
        ("otto", {"proposal_id": "p-none"}, "PROPOSAL_UNKNOWN"),
    ):
        answer = full_house.command("enforcement.retry", actor, given | change)
        assert (answer.state, answer.code) == ("refused", code)
    assert full_house.status(proposal) == "failed"

    full_house.do("enforcement.retry", "otto", **given)
    again = full_house.command("enforcement.retry", "otto", given)
    assert again.code == "PROPOSAL_STATUS"
    assert full_house.column(proposal, "queued_count") == 2
    full_house.perform("enforcement.execute")

    assert full_house.status(proposal) == "executed"
    assert full_house.column(proposal, "failure") is None
    assert full_house.sql("SELECT eta, expires_at FROM proposals WHERE id = %s", proposal) == times
    (entry,) = full_house.entries("proposal.retried")
    assert (entry["actor"], entry["subject"]) == ("otto", proposal)
    words = full_house.one("SELECT body FROM texts WHERE commitment = %s", entry["data"]["reason"])
    assert words == "the value is there now"
    assert len(full_house.entries("proposal.failed")) == 1


@pytest.mark.parametrize(("ticks", "code"), [(-1, None), (0, "EXPIRED"), (1, "EXPIRED")])
def test_nothing_is_retried_after_its_grace(full_house, ticks, code):
    """INV-06: to the microsecond."""
    stale = {"key": "rate_limit.CORE", "new_value": 6, "old_value": 5}
    proposal = carried(full_house, "tara", type="configuration", payload=stale)
    ends = full_house.column(proposal, "expires_at")
    given = {"proposal_id": proposal, "reason": "once more"}

    with clock_stopped(full_house, ends + timedelta(microseconds=ticks)):
        assert full_house.command("enforcement.retry", "otto", given).code == code


def test_a_failed_proposal_can_be_cancelled_for_good(full_house):
    stale = {"key": "rate_limit.CORE", "new_value": 6, "old_value": 5}
    proposal = carried(full_house, "tara", type="configuration", payload=stale)
    full_house.do("proposals.cancel", "gus", proposal_id=proposal, reason="leave it")
    image = full_house.image(proposal)

    given = {"proposal_id": proposal, "reason": "once more"}
    assert full_house.command("enforcement.retry", "otto", given).code == "PROPOSAL_STATUS"
    assert send(full_house, proposal) == ("refused", "CANCELLED")
    assert full_house.image(proposal) == image


# In its time, after its predecessor


@pytest.mark.parametrize(
    ("ticks", "answer"),
    [(-1, ("refused", "TIMELOCK_ACTIVE")), (0, ("done", None)), (1, ("done", None))],
)
def test_a_timelock_ends_to_the_microsecond(full_house, ticks, answer):
    """INV-06, INV-27: fourteen days after the last gate."""
    proposal = queued(full_house, **PROTOCOL)
    eta = full_house.column(proposal, "eta")
    (entry,) = full_house.entries("proposal.queued")
    assert entry["data"]["eta"] == (eta.isoformat().replace("+00:00", "Z"))

    with clock_stopped(full_house, eta + timedelta(microseconds=ticks)):
        assert send(full_house, proposal) == answer


@pytest.mark.parametrize(
    ("ticks", "status", "answer"),
    [
        (-1, "executed", ("done", None)),
        (0, "expired", ("failed", "EXPIRED")),
        (1, "expired", ("failed", "EXPIRED")),
    ],
)
def test_grace_ends_to_the_microsecond_whether_or_not_anybody_swept(
    full_house, ticks, status, answer
):
    """INV-04, INV-06."""
    proposal = queued(full_house, **PROTOCOL)
    ends = full_house.column(proposal, "expires_at")
    assert ends - full_house.column(proposal, "eta") == timedelta(days=14)

    with clock_stopped(full_house, ends + timedelta(microseconds=ticks)):
        assert send(full_house, proposal) == answer
        assert full_house.status(proposal) == status
        again = ("refused", "EXPIRED" if status == "expired" else "ALREADY_EXECUTED")
        assert send(full_house, proposal) == again
    assert len(effects(full_house, proposal)) == (status == "executed")


def test_a_successor_is_executed_after_its_predecessor_by_the_sweep_alone(full_house):
    """INV-27."""
    first = queued(full_house, **PROTOCOL)
    second = queued(full_house, "tara", predecessor=first, **ORDINARY)
    full_house.settle()
    assert full_house.status(second) == "queued"

    full_house.advance_to(full_house.column(first, "eta"))
    full_house.settle()

    assert full_house.status(first) == full_house.status(second) == "executed"
    order = [entry["subject"] for entry in full_house.entries("proposal.executed")]
    assert order == [first, second]


def test_a_successor_whose_predecessor_never_comes_expires(full_house):
    """INV-05: none is stranded."""
    first = full_house.propose("carl", **PROTOCOL)
    second = queued(full_house, "tara", predecessor=first, **ORDINARY)

    full_house.advance(days=14)
    full_house.settle()

    assert full_house.status(second) == "expired"


def test_a_predecessor_has_to_exist(full_house):
    answer = full_house.command(
        "proposals.create",
        "carl",
        {"title": "t", "description": "d", "predecessor": "p-none", **PROTOCOL},
    )
    assert answer.code == "PROPOSAL_UNKNOWN"


def test_a_delay_that_changes_later_shortens_nothing(full_house):
    """INV-28: eta and grace are of the terms frozen at opening."""
    proposal = queued(full_house, **PROTOCOL)
    times = full_house.sql("SELECT eta, expires_at FROM proposals WHERE id = %s", proposal)
    payload = {
        "actions": [
            {"key": "track.protected.timelock_parameter_hours", "new_value": 24},
            {"key": "track.protected.grace_hours", "new_value": 24},
        ]
    }
    opened = full_house.open("carl", **PROTOCOL)
    done(full_house, type="governance_rule", payload=payload)

    assert full_house.sql("SELECT eta, expires_at FROM proposals WHERE id = %s", proposal) == times
    terms = full_house.column(opened, "terms")
    assert (terms["timelock_hours"], terms["grace_hours"]) == (336, 336)


# Effects outside the database


class Lamp:
    """The other side of the outbox: what was delivered to it, under which keys."""

    def __init__(self, *, breaks: int = 0) -> None:
        self.seen: list[tuple[str, object]] = []
        self.breaks = breaks

    def deliver(self, delivery: Delivery) -> None:
        if self.breaks:
            self.breaks -= 1
            raise ConnectionError("no route to the lamp")
        self.seen.append((delivery.effect, delivery.after))


def with_lamp(house: House, lamp: Lamp) -> None:
    house.use(catalogue_with(platform_key(deliver=lamp.deliver)))


def outbox(house: House) -> list[tuple[object, ...]]:
    return house.sql("SELECT direction, state, attempt FROM outbox ORDER BY created_at")


def said(house: House, entry: Mapping[str, Any]) -> str:
    message = entry["data"]["message"]
    return str(house.one("SELECT body FROM texts WHERE commitment = %s", message))


def lose_lease(house: House) -> None:
    house.sql("UPDATE outbox SET not_before = clock_timestamp()")


def test_an_effect_outside_is_delivered_once_under_its_key(full_house):
    """INV-29: by proposal, action and direction; never before the commit."""
    lamp = Lamp()
    with_lamp(full_house, lamp)
    proposal = done(full_house, "tara", **COLOUR)
    assert lamp.seen == []

    assert full_house.deliver() == 1
    assert full_house.deliver() == 0
    undo(full_house, proposal, "tara")
    assert full_house.deliver() == 1

    assert lamp.seen == [(f"{proposal}/0/apply", 9), (f"{proposal}/0/undo", 1)]
    assert [
        (e["subject"], e["data"]["effect"]) for e in full_house.entries("effect.delivered")
    ] == [(proposal, key) for key, _ in lamp.seen]
    assert outbox(full_house) == [("apply", "delivered", 1), ("undo", "delivered", 1)]


def test_a_delivery_that_was_not_confirmed_is_made_again_under_the_same_key(full_house):
    """INV-29: between the delivery and its record."""
    lamp = Lamp()
    with_lamp(full_house, lamp)
    proposal = done(full_house, "tara", **COLOUR)
    arm("outbox.delivered", "raise")
    with pytest.raises(Failpoint):
        full_house.deliver()
    assert full_house.deliver() == 0  # somebody may still be at it
    lose_lease(full_house)

    assert full_house.deliver() == 1

    assert lamp.seen == [(f"{proposal}/0/apply", 9)] * 2
    assert len(full_house.entries("effect.delivered")) == 1


PLATFORM = """
from pathlib import Path
from forge_core.capabilities.declaration import Capability, CapabilityClass

def note(delivery):
    with Path({path!r}).open("a") as seen:
        seen.write(delivery.effect + "\\n")

CAPABILITIES = (
    Capability(
        key="platform.colour", klass=CapabilityClass.ORDINARY, description="a platform's own",
        type="integer", default=1, least=0, most=100, deliver=note,
    ),
)
"""
DELIVER = """
import sys
from forge_core.database import make_engine
from forge_core.enforcement.outbox import deliver_next
from forge_core.wiring import CATALOGUE
deliver_next(make_engine(sys.argv[1]), CATALOGUE)
"""


def test_a_process_killed_after_a_delivery_has_it_made_again_under_the_same_key(full_house, folder):
    """INV-29: a platform's module of its own, in a process of its own."""
    seen: Path = folder / "seen"
    (folder / "lamps.py").write_text(textwrap.dedent(PLATFORM.format(path=str(seen))))
    with_lamp(full_house, Lamp())
    proposal = done(full_house, "tara", **COLOUR)
    platform = {"FORGE_CAPABILITIES": "lamps", "PYTHONPATH": str(folder)}

    for _ in range(2):
        killed(full_house, DELIVER, "outbox.delivered", **platform)
        lose_lease(full_house)
    full_house.deliver()

    assert seen.read_text().splitlines() == [f"{proposal}/0/apply"] * 2
    (entry,) = full_house.entries("effect.delivered")
    assert entry["data"] == {"effect": f"{proposal}/0/apply", "attempts": 3, "message": None}


def test_a_delivery_that_fails_changes_no_proposal_and_is_tried_again(full_house):
    """INV-47."""
    lamp = Lamp(breaks=2)
    with_lamp(full_house, lamp)
    proposal = done(full_house, "tara", **COLOUR)
    image = full_house.image(proposal)
    for _ in range(3):
        full_house.deliver()
        lose_lease(full_house)

    assert lamp.seen == [(f"{proposal}/0/apply", 9)]
    assert outbox(full_house) == [("apply", "delivered", 3)]
    assert full_house.image(proposal) == image


def test_a_delivery_is_given_up_after_its_attempts_and_a_person_revives_it(full_house, monkeypatch):
    monkeypatch.setattr("forge_core.enforcement.outbox.ATTEMPTS_MOST", 3)
    lamp = Lamp(breaks=3)
    with_lamp(full_house, lamp)
    proposal = done(full_house, "tara", **COLOUR)
    for _ in range(4):
        full_house.deliver()
        lose_lease(full_house)
    key = f"{proposal}/0/apply"

    assert outbox(full_house) == [("apply", "dead", 3)]
    (entry,) = full_house.entries("effect.undeliverable")
    assert (entry["data"]["effect"], entry["data"]["attempts"]) == (key, 3)
    assert said(full_house, entry) == "ConnectionError: no route to the lamp"

    with transaction(full_house.app) as session:
        revive(session, key)
    assert full_house.deliver() == 1
    assert lamp.seen == [(key, 9)]
    with transaction(full_house.app) as session, pytest.raises(Refused, match="EFFECT_NOT_DEAD"):
        revive(session, key)


def test_a_delivery_whose_worker_is_lost_each_time_is_given_up(full_house):
    lamp = Lamp()
    with_lamp(full_house, lamp)
    done(full_house, "tara", **COLOUR)
    full_house.sql("UPDATE outbox SET attempt = %s", ATTEMPTS_MOST)

    full_house.deliver()

    assert lamp.seen == []
    assert [state for _, state, _ in outbox(full_house)] == ["dead"]
    (entry,) = full_house.entries("effect.undeliverable")
    assert said(full_house, entry) == "its worker was lost each time"


def test_an_undo_outside_waits_for_what_it_undoes(full_house):
    """The other side sees the changes of a key in their order, whatever fails meanwhile."""
    lamp = Lamp(breaks=1)
    with_lamp(full_house, lamp)
    proposal = done(full_house, "tara", **COLOUR)
    full_house.deliver()
    undo(full_house, proposal, "tara")
    full_house.sql("UPDATE outbox SET not_before = 'infinity' WHERE direction = 'apply'")

    assert full_house.deliver() == 0
    lose_lease(full_house)
    assert full_house.deliver() == 2
    assert [key.rsplit("/", 1)[1] for key, _ in lamp.seen] == ["apply", "undo"]


def test_what_a_later_delivery_replaced_is_not_revived(full_house, monkeypatch):
    monkeypatch.setattr("forge_core.enforcement.outbox.ATTEMPTS_MOST", 1)
    lamp = Lamp(breaks=1)
    with_lamp(full_house, lamp)
    proposal = done(full_house, "tara", **COLOUR)
    full_house.deliver()
    undo(full_house, proposal, "tara")
    full_house.deliver()
    assert outbox(full_house) == [("apply", "dead", 1), ("undo", "delivered", 1)]

    with transaction(full_house.app) as session, pytest.raises(Refused, match="EFFECT_NOT_DEAD"):
        revive(session, f"{proposal}/0/apply")


def test_a_delivery_that_was_slower_than_its_lease_finishes_nothing(full_house):
    """INV-29: who has it now says what became of it."""
    slow = Lamp()
    with_lamp(full_house, slow)
    proposal = done(full_house, "tara", **COLOUR)
    fast = Lamp()
    others = catalogue_with(platform_key(deliver=fast.deliver))

    def outrun(delivery: Delivery) -> None:
        lose_lease(full_house)
        assert deliver_next(full_house.app, others)
        slow.seen.append((delivery.effect, delivery.after))

    assert deliver_next(full_house.app, catalogue_with(platform_key(deliver=outrun)))

    assert slow.seen == fast.seen == [(f"{proposal}/0/apply", 9)]
    assert outbox(full_house) == [("apply", "delivered", 2)]
    assert len(full_house.entries("effect.delivered")) == 1


def test_what_failed_delivers_nothing(full_house):
    """INV-30: the row of the outbox went with the rest."""
    lamp = Lamp()
    with_lamp(full_house, lamp)
    payload = {
        "actions": [
            COLOUR["payload"],
            {"key": "rate_limit.CORE", "new_value": 7, "old_value": 8},
        ]
    }
    assert warned(full_house, "tara", type="configuration", payload=payload) == "STALE_VALUE"
    proposal = carried(full_house, "tara", type="configuration", payload=payload)

    assert full_house.status(proposal) == "failed"
    assert full_house.deliver() == 0
    assert outbox(full_house) == []
