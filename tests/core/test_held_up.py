"""What one party can hold up: nobody else's deadlines, and never an approval for good."""

from __future__ import annotations

import pytest

from forge_core.database import transaction
from forge_core.jobs.kinds import Job, JobKind, Outcome
from forge_core.jobs.sweep import take_back_expired, wake_ups
from forge_core.wiring import JOB_KINDS
from tests.core.factories import KINDS


def expire_leases(house) -> None:
    house.sql(
        "UPDATE jobs SET state = 'running', attempt = 999, forgiven = 0,"
        " lease_until = now() - INTERVAL '1 second' WHERE state = 'pending'"
    )


def test_a_row_that_cannot_be_given_up_now_keeps_no_other_from_being_taken_back(house) -> None:
    """Its consequence needs a lock that somebody holds; the rest of the sweep goes on."""

    def locked_out(session, _job: Job, _reason: str) -> None:
        session.connection().exec_driver_sql("SELECT 1/0")

    kinds = {
        "t.stuck": JobKind(
            "t.stuck",
            "q",
            lambda _s, jobs: [Outcome.done()] * len(jobs),
            attempts=1,
            on_dead=locked_out,
        ),
        "t.free": JobKind(
            "t.free", "q", lambda _s, jobs: [Outcome.done()] * len(jobs), attempts=10_000
        ),
    }
    for name in kinds:
        house.sql(
            "INSERT INTO jobs (kind, key, once, payload, actor) VALUES (%s, %s, true, '{}', 'x')",
            name,
            name,
        )
    expire_leases(house)
    with transaction(house.app) as session:
        take_back_expired(session, kinds)
    states = dict(house.sql("SELECT kind, state FROM jobs WHERE kind LIKE 't.%%'"))
    assert states == {"t.stuck": "running", "t.free": "pending"}


def test_a_backlog_of_one_kind_hides_no_other(house) -> None:
    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor, created_at, not_before)"
        " SELECT 'members.admit', 'x' || n, true, '{}', 'x', now() - INTERVAL '1 minute',"
        " now() - INTERVAL '1 minute' FROM generate_series(1, 10500) AS n"
    )
    for kind in ("proposals.close", "proposals.cancel"):
        house.sql(
            "INSERT INTO jobs (kind, key, once, payload, actor, created_at, not_before)"
            " VALUES (%s, %s, true, '{}', 'x', now() - INTERVAL '1 minute',"
            " now() - INTERVAL '1 minute')",
            kind,
            kind,
        )
    with transaction(house.app) as session:
        wanted = wake_ups(session, {kind.name: kind for kind in JOB_KINDS}, ())
    assert wanted["proposals.close"] == 1
    assert wanted["proposals.cancel"] == 1
    assert wanted["members.admit"] == 8


def test_a_job_that_goes_again_never_reuses_its_fence(house) -> None:
    proposal = house.open()
    house.freeze_clock(house.column(proposal, "closes_at"))
    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor)"
        " VALUES ('proposals.close', 'early', true,"
        " jsonb_build_object('proposal_id', %s::text), 'x')",
        proposal,
    )
    fences = []
    for _ in range(3):
        house.perform("proposals.close")
        fences.append(house.sql("SELECT attempt, attempt - forgiven FROM jobs WHERE key = 'early'"))
    assert fences == [[(1, 0)], [(2, 0)], [(3, 0)]]


def test_of_two_proposals_against_one_value_the_later_is_stale_without_being_asked(house) -> None:
    """INV-34: who names no old value proposes against the present one."""
    change = {"key": "rate_limit.CORE", "new_value": 9_000}
    first = house.open(type="configuration", payload=change)
    second = house.open(type="configuration", payload=change | {"new_value": 8_000})
    for proposal in (first, second):
        for voter in ("cora", "gus", "otto"):
            house.vote(proposal, voter, "for")
    house.advance(days=4)
    house.sweep()
    house.perform("proposals.close")
    house.sweep()
    house.perform("enforcement.execute")
    assert sorted(map(house.status, (first, second))) == ["executed", "failed"]


def test_a_value_that_stands_already_is_no_change(house) -> None:
    with pytest.raises(AssertionError, match="NO_CHANGE"):
        house.propose(
            "tara", type="configuration", payload={"key": "rate_limit.CORE", "new_value": 10_000}
        )


def test_the_last_who_may_propose_keeps_that_trust(house) -> None:
    """INV-40, as far as levels go: whoever decides it, and two guardians as well."""
    seats = {"cora": "CORE", "gus": "TRUSTED", "otto": "TRUSTED", "tara": "TRUSTED"}
    house.sql("UPDATE members SET level = 'STANDARD' WHERE id IN ('gus', 'otto')")
    house.sql("UPDATE electorate SET trusted = 1, standard = 3")
    house.sql("INSERT INTO member_roles VALUES ('stan', 'guardian')")

    def demoted(member: str, proposer: str) -> str:
        lower = {"member": member, "current_trust": seats[member], "new_trust": "SANDBOX"}
        proposal = house.executed(proposer, type="trust_adjustment", payload=lower)
        return str(house.column(proposal, "failure") or house.status(proposal))

    def quarantined(member: str) -> str | None:
        given = {"kind": "quarantine", "subject": member, "reason": "odd"}
        action = house.do("joint.propose", "gus", **given)["joint_id"]
        return house.command("joint.confirm", "stan", {"joint_id": action}).code

    first = demoted("cora", "tara")
    house.approvers = ["gus", "tara", "otto", "stan"]

    assert first == "executed"
    assert quarantined("tara") == "SELF_BRICK"
    assert demoted("tara", "tara") == "SELF_BRICK"


def test_deadlines_and_executions_are_not_given_up_for_outages() -> None:
    for name in ("proposals.close", "proposals.expire", "enforcement.execute"):
        assert KINDS[name].attempts >= 1_000
