"""Durable jobs: claimed by one, finished by who holds the claim, taken back, dead in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Change
from forge_core.database import transaction
from forge_core.errors import Fenced, Refused
from forge_core.failpoints import Failpoint, arm
from forge_core.ids import uuid7
from forge_core.jobs.dead_letters import MOST_CHARACTERS, Letter, keep
from forge_core.jobs.kinds import Job, JobKind, Outcome
from forge_core.jobs.lifecycle import back_off, claim, finish, revive
from forge_core.jobs.perform import perform
from forge_core.jobs.prune import KEEP_DAYS, KEEP_DEAD_LETTERS
from forge_core.jobs.record import NewJob, enqueue, woken
from forge_core.jobs.sweep import MOST_WAKE_UPS, derive, take_back_expired, wake_ups
from forge_core.voting import closing
from forge_core.wiring import CHORES
from tests.core.factories import KINDS, House, catalogue_with, volume
from tests.support import until

Decide = Callable[[Session, Job], Outcome]


def kind_of(decide: Decide, **options: object) -> JobKind:
    """A kind of the test's own, deciding job by job."""

    def step(session: Session, jobs: Sequence[Job]) -> list[Outcome]:
        return [decide(session, job) for job in jobs]

    return JobKind("tests.work", queue="tests", step=step, **options)


def succeed(_session: Session, job: Job) -> Outcome:
    return Outcome.done(key=job.key)


def add(house: House, *keys: str, once: bool = True) -> set[str]:
    """Record jobs; returns the kinds that were noted for waking."""
    with transaction(house.app) as session:
        enqueue(session, [NewJob("tests.work", key, once=once) for key in keys])
        return woken(session)


def jobs(house: House) -> list[tuple[object, ...]]:
    return house.sql("SELECT key, state, attempt, code FROM jobs ORDER BY id")


def expire_leases(house: House) -> None:
    house.sql("UPDATE jobs SET lease_until = now() - interval '1 ms' WHERE state = 'running'")


def due_now(house: House) -> None:
    house.sql("UPDATE jobs SET not_before = now() WHERE state = 'pending'")


# Recording


def test_a_once_key_is_recorded_once_whatever_became_of_it(house):
    add(house, "a")
    perform(house.app, kind_of(succeed))

    assert add(house, "a") == set()
    assert jobs(house) == [("a", "done", 1, None)]


def test_a_coalescing_key_is_recorded_once_among_pending_rows(house):
    add(house, "a", once=False)
    assert add(house, "a", once=False) == set()
    with transaction(house.app) as session:
        claim(session, kind_of(succeed))

    assert add(house, "a", once=False) == {"tests.work"}
    assert [state for _, state, _, _ in jobs(house)] == ["running", "pending"]


def test_what_is_rolled_back_was_never_recorded(house):
    with Session(house.app) as session:
        enqueue(session, [NewJob("tests.work", "a")])
        session.rollback()

    assert jobs(house) == []


# Claiming and finishing


def test_the_oldest_rows_are_claimed_up_to_the_kinds_limit(house):
    add(house, "a", "b", "c")
    kind = kind_of(succeed, claim=2)
    done = perform(house.app, kind)

    assert (done.claimed, done.full) == (2, True)
    assert [state for _, state, _, _ in jobs(house)] == ["done", "done", "pending"]
    assert not perform(house.app, kind).full


def test_two_workers_never_claim_the_same_row(house):
    """INV-29."""
    add(house, "a", "b", "c")
    kind = kind_of(succeed, claim=2)
    with transaction(house.app) as one, transaction(house.app) as other:
        first = [job.key for job in claim(one, kind)]
        second = [job.key for job in claim(other, kind)]

    assert (first, second) == (["a", "b"], ["c"])


def test_a_row_is_not_claimed_before_its_time_nor_by_another_kind(house):
    add(house, "a")
    house.sql("UPDATE jobs SET not_before = now() + interval '1 hour'")
    assert perform(house.app, kind_of(succeed)).claimed == 0
    due_now(house)
    house.sql("UPDATE jobs SET kind = 'tests.other'")
    assert perform(house.app, kind_of(succeed)).claimed == 0


def test_finishing_takes_the_claim(house):
    """INV-29: the fence is the attempt."""
    add(house, "a")
    kind = kind_of(succeed)
    with transaction(house.app) as session:
        (stale,) = claim(session, kind)
    expire_leases(house)
    with transaction(house.app) as session:
        take_back_expired(session, {kind.name: kind})
    due_now(house)
    with transaction(house.app) as session:
        (fresh,) = claim(session, kind)

    with pytest.raises(Fenced), transaction(house.app) as session:
        finish(session, [stale], [Outcome.done()])
    with transaction(house.app) as session:
        finish(session, [fresh], [Outcome.done()])
    with pytest.raises(Fenced), transaction(house.app) as session:
        finish(session, [fresh], [Outcome.done()])

    assert jobs(house) == [("a", "done", 2, None)]


@pytest.mark.parametrize("together", [True, False])
def test_the_work_of_a_worker_that_lost_its_claim_is_rolled_back(house, together):
    """INV-29: a worker that slept through its lease changes nothing."""
    add(house, "a")
    effects = "SELECT count(*) FROM dead_letters"

    def slow(session: Session, _job: Job) -> Outcome:
        session.execute(text("INSERT INTO dead_letters (queue, reason, headers, body)"
                             " VALUES ('q', 'r', 'h', 'b')"))  # fmt: skip
        expire_leases(house)
        with transaction(house.app) as sweeping:
            take_back_expired(sweeping, {"tests.work": kind_of(succeed)})
        return Outcome.done()

    perform(house.app, kind_of(slow, together=together))

    assert house.one(effects) == 0
    assert [row[:2] for row in jobs(house)] == [("a", "pending")]


# Attempts


def break_with(sqlstate: str) -> Decide:
    """A step that ends in an error of the database's."""

    def decide(session: Session, _job: Job) -> Outcome:
        session.execute(text(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{sqlstate}'; END $$"))
        return Outcome.done()

    return decide


@pytest.mark.parametrize(
    "sqlstate", ["40001", "40P01", "55P03", "57014", "25P03", "53300", "57P01", "57P03"]
)
def test_an_outage_is_tried_again_with_back_off(house, sqlstate):
    add(house, "a", "b")
    perform(house.app, kind_of(break_with(sqlstate)))

    assert [row[:3] for row in jobs(house)] == [("a", "pending", 1), ("b", "pending", 1)]
    assert house.one("SELECT bool_and(not_before > created_at) FROM jobs")
    assert house.one("SELECT count(*) FROM jobs WHERE lease_until IS NOT NULL") == 0
    due_now(house)
    perform(house.app, kind_of(succeed))
    assert [state for _, state, _, _ in jobs(house)] == ["done", "done"]


def fail_at(*keys: str) -> Decide:
    def decide(_session: Session, job: Job) -> Outcome:
        if job.key in keys:
            raise ValueError(f"{job.key} is broken")
        return Outcome.done()

    return decide


def break_at(*keys: str) -> Decide:
    def decide(session: Session, job: Job) -> Outcome:
        return break_with("23514")(session, job) if job.key in keys else Outcome.done()

    return decide


@pytest.mark.parametrize("breaking", [fail_at, break_at], ids=["python", "database"])
def test_one_job_that_raises_in_a_batch_keeps_no_other_from_its_end(house, breaking):
    """INV-31."""
    add(house, "a", "b", "c")

    perform(house.app, kind_of(breaking("b")))

    assert [row[:2] for row in jobs(house)] == [("a", "done"), ("b", "pending"), ("c", "done")]


def test_one_job_that_looks_like_an_outage_takes_no_other_with_it(house):
    """Who failed together is tried alone before it is given up."""

    def decide(session: Session, job: Job) -> Outcome:
        return break_with("25P03")(session, job) if job.key == "b" else Outcome.done()

    add(house, "a", "b", "c")
    for _ in range(10):
        perform(house.app, kind_of(decide))
        due_now(house)

    assert [row[:2] for row in jobs(house)] == [("a", "done"), ("b", "dead"), ("c", "done")]


def test_an_error_that_is_no_outage_is_dead_after_three_attempts(house):
    add(house, "a")
    for _ in range(5):
        perform(house.app, kind_of(fail_at("a")))
        due_now(house)

    assert jobs(house) == [("a", "dead", 3, "ATTEMPTS_USED_UP")]


def test_an_outage_is_dead_after_the_kinds_attempts_with_its_consequence(house):
    add(house, "a")
    buried: list[str] = []
    kind = kind_of(
        break_with("40P01"), attempts=4, on_dead=lambda _session, job, _: buried.append(job.key)
    )
    for _ in range(6):
        perform(house.app, kind)
        due_now(house)

    assert jobs(house) == [("a", "dead", 4, "ATTEMPTS_USED_UP")]
    assert buried == ["a"]


def test_back_off_grows_to_half_a_minute_and_never_beyond():
    for attempt in range(1, 40):
        full = min(timedelta(milliseconds=200) * 2 ** (attempt - 1), timedelta(seconds=30))
        for _ in range(20):
            assert full / 2 <= back_off(attempt) <= full


def test_an_execution_whose_attempts_are_used_up_fails_its_proposal(house):
    """INV-31: in the transaction that gives up."""

    def deadlock(change: Change) -> None:
        change.session.execute(text("DO $$ BEGIN RAISE 'no' USING ERRCODE = '40P01'; END $$"))

    house.use(catalogue_with(volume(apply=deadlock)))
    setting = {"key": "platform.volume", "new_value": 7}
    proposal = house.decided(type="configuration", payload=setting)
    attempts = KINDS["enforcement.execute"].attempts
    house.sql("UPDATE jobs SET attempt = %s WHERE kind = 'enforcement.execute'", attempts - 3)
    statuses = []
    for _ in range(3):
        statuses.append(house.status(proposal))
        house.perform("enforcement.execute")
        due_now(house)

    assert statuses == ["queued"] * 3
    assert house.status(proposal) == "failed"
    assert house.column(proposal, "failure") == "ATTEMPTS_USED_UP"


def test_an_execution_whose_workers_are_lost_again_and_again_fails_its_proposal(house):
    """INV-31: the sweep gives up as a worker does."""
    proposal = house.decided()
    kind = KINDS["enforcement.execute"]
    statuses = []
    for _ in range(kind.losses):
        statuses.append(house.status(proposal))
        with transaction(house.app) as session:
            assert len(claim(session, kind)) == 1
        expire_leases(house)
        house.sweep()
        due_now(house)

    assert statuses == ["queued"] * 5
    assert house.status(proposal) == "failed"
    assert house.column(proposal, "failure") == "ATTEMPTS_USED_UP"
    assert house.sweep() == 0


def test_a_retried_execution_has_its_attempts_again(house):
    """Whoever says so once more means more than one lost worker."""
    proposal = house.decided()
    house.sql(
        "UPDATE jobs SET state = 'running', attempt = 1, lost = 4, lease_until = now()"
        " WHERE kind = 'enforcement.execute'"
    )
    house.sweep()
    assert house.status(proposal) == "failed"

    house.do("enforcement.retry", "otto", proposal_id=proposal, reason="the worker is mended")
    again = house.sql(
        "SELECT attempt, lost FROM jobs WHERE kind = 'enforcement.execute' AND state = 'pending'"
    )
    house.settle()

    assert again == [(0, 0)]
    assert house.status(proposal) == "executed"
    assert [entry["actor"] for entry in house.entries("proposal.retried")] == ["otto"]


def test_a_dead_command_is_answered_and_a_person_revives_it(house, monkeypatch):
    command = uuid7()
    house.submit("clock.advance", "cora", {"seconds": 60}, command_id=command)

    def broken(*_: object, **__: object) -> None:
        raise ValueError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("forge_core.members.commands.advance_clock", broken)
        for _ in range(3):
            house.perform("clock.advance")
            due_now(house)
    dead = house.answer(command)
    with transaction(house.app) as session:
        revive(session, house.one("SELECT id FROM jobs"))
    pending = house.answer(command)
    house.perform("clock.advance")

    assert (dead.state, dead.code) == ("dead", "ATTEMPTS_USED_UP")
    assert pending.state == "pending"
    assert house.answer(command).state == "done"


def test_only_dead_jobs_are_revived(house):
    add(house, "a")
    with pytest.raises(Refused, match="JOB_NOT_DEAD"), transaction(house.app) as session:
        revive(session, house.one("SELECT id FROM jobs"))


def test_a_dead_row_whose_twin_is_pending_is_not_revived_beside_it(house):
    """Two pending rows of one coalescing key cannot be; the twin does the work."""
    add(house, "a", once=False)
    for _ in range(3):
        perform(house.app, kind_of(fail_at("a")))
        due_now(house)
    add(house, "a", once=False)
    dead = house.one("SELECT id FROM jobs WHERE state = 'dead'")

    with pytest.raises(Refused, match="JOB_HAS_TWIN"), transaction(house.app) as session:
        revive(session, dead)

    assert [state for _, state, _, _ in jobs(house)] == ["dead", "pending"]


# Leases and the sweep


def test_an_expired_lease_makes_the_row_claimable_again(house):
    add(house, "a", "b")
    kind = kind_of(succeed, claim=1)
    with transaction(house.app) as session:
        claim(session, kind)
    with transaction(house.app) as session:
        early = take_back_expired(session, {kind.name: kind})
    expire_leases(house)
    with transaction(house.app) as session:
        taken = take_back_expired(session, {kind.name: kind})
    with transaction(house.app) as session:
        again = take_back_expired(session, {kind.name: kind})

    assert (early, taken, again) == (0, 1, 0)
    assert [row[:3] for row in jobs(house)] == [("a", "pending", 1), ("b", "pending", 0)]


def test_an_expired_coalescing_row_is_superseded_by_its_pending_twin(house):
    add(house, "a", once=False)
    kind = kind_of(succeed)
    with transaction(house.app) as session:
        claim(session, kind)
    add(house, "a", once=False)
    expire_leases(house)
    with transaction(house.app) as session:
        take_back_expired(session, {kind.name: kind})

    assert [state for _, state, _, _ in jobs(house)] == ["superseded", "pending"]


def test_of_two_expired_coalescing_rows_one_goes_on(house):
    kind = kind_of(succeed)
    for _ in range(2):
        add(house, "a", once=False)
        with transaction(house.app) as session:
            claim(session, kind)
    expire_leases(house)
    with transaction(house.app) as session:
        take_back_expired(session, {kind.name: kind})

    assert sorted(state for _, state, _, _ in jobs(house)) == ["pending", "superseded"]


def test_rows_of_a_kind_this_version_does_not_know_hold_nobody_up(house):
    add(house, "a", "b")
    kind = kind_of(succeed)
    with transaction(house.app) as session:
        claim(session, kind)
    house.sql("UPDATE jobs SET kind = 'tests.of_tomorrow' WHERE key = 'a'")
    expire_leases(house)
    with transaction(house.app) as session:
        take_back_expired(session, {kind.name: kind})
    with transaction(house.app) as session:
        wake_ups(session, {kind.name: kind}, CHORES)

    assert [row[:2] for row in jobs(house)] == [("a", "running"), ("b", "pending")]


def test_sweeping_any_number_of_times_at_once_derives_each_job_once(house):
    """INV-29: two beats are harmless."""
    proposals = [house.open() for _ in range(4)]
    house.propose()
    for proposal in proposals:
        house.vote(proposal, "tara", "for")
        house.vote(proposal, "tara", "against")
    house.perform("votes.count")
    house.advance(days=31)
    barrier = threading.Barrier(4)

    def sweep() -> None:
        barrier.wait()
        house.sweep()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.sweep()

    pending = house.sql("SELECT kind FROM jobs WHERE state = 'pending'")
    assert Counter(kind for (kind,) in pending) == {
        "proposals.close": 4,
        "proposals.expire": 1,
        "votes.recount": 4,
        "features.unlock": 1,
    }


def test_a_derivation_stops_at_its_limit_and_goes_on_from_there(house, monkeypatch):
    for _ in range(5):
        house.open()
    house.advance(days=4)
    monkeypatch.setattr("forge_core.jobs.sweep.LIMIT", 2)
    found = []
    for _ in range(4):
        with transaction(house.app) as session:
            found.append(derive(session, closing.DUE))

    assert found == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("kind", "prepare"),
    [
        ("proposals.close", lambda house: house.advance(days=4)),
        ("votes.recount", lambda house: house.perform("votes.count")),
    ],
)
def test_a_dead_row_counts_as_present(house, kind, prepare):
    """Only a person revives it; the sweep makes no other in its place."""
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.vote(proposal, "tara", "against")
    prepare(house)
    house.sweep()
    house.sql("UPDATE jobs SET state = 'dead', finished_at = now() WHERE kind = %s", kind)

    assert house.sweep() == 0
    assert house.one("SELECT count(*) FROM jobs WHERE kind = %s AND state <> 'dead'", kind) == 0


def test_a_queue_gets_one_wake_up_for_each_full_claim_and_never_more_than_eight(house):
    kinds = {name: JobKind(name, "q", kind_of(succeed).step, claim=5) for name in ("t.a", "t.b")}
    with transaction(house.app) as session:
        enqueue(session, [NewJob("t.a", f"a{n}") for n in range(11)])
        enqueue(session, [NewJob("t.b", f"b{n}") for n in range(500)])
        fresh = wake_ups(session, kinds, ())
    house.sql("UPDATE jobs SET created_at = now() - interval '1 hour', not_before = created_at")
    house.sql("UPDATE jobs SET not_before = now() - interval '1 hour'")
    with transaction(house.app) as session:
        old = wake_ups(session, kinds, ())

    assert sum(fresh.values()) == 0
    assert old == {"t.a": 3, "t.b": MOST_WAKE_UPS - 3}


def test_ballots_that_wait_wake_the_counting(house):
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    with transaction(house.app) as session:
        before = wake_ups(session, KINDS, CHORES).get("votes.count")
    house.sql("UPDATE ballot_inbox SET accepted_at = accepted_at - interval '1 minute'")
    with transaction(house.app) as session:
        after = wake_ups(session, KINDS, CHORES).get("votes.count")

    assert (before, after) == (None, MOST_WAKE_UPS)


# Crashes

CRASH = """
import sys
from forge_core.database import make_engine
from forge_core.jobs.perform import perform, perform_chore
from forge_core.wiring import CHORES, JOB_KINDS
engine = make_engine(sys.argv[1])
for kind in JOB_KINDS:
    if kind.name == sys.argv[2]:
        perform(engine, kind)
for chore in CHORES:
    if chore.name == sys.argv[2]:
        perform_chore(engine, chore)
"""


def crash(house: House, kind: str, point: str) -> None:
    """Perform a kind in a process that kills itself at a failpoint."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH, house.server.url("forge_app", house.name), kind],
        env={**os.environ, "FORGE_FAILPOINTS": f"{point}=kill"},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state LIKE 'idle in%%'"
    until(lambda: house.one(gone, house.name) == 0)


@pytest.mark.parametrize(
    ("point", "state", "effects"),
    [
        ("jobs.claimed", "running", 0),
        ("jobs.finished", "running", 0),
        ("jobs.committed", "done", 1),
    ],
)
def test_a_worker_killed_at_any_point_leaves_one_effect_in_the_end(house, point, state, effects):
    """INV-29: after claiming, before committing, after committing."""
    setting = {"key": "rate_limit.CORE", "new_value": 20_000}
    proposal = house.decided(type="configuration", payload=setting)

    crash(house, "enforcement.execute", point)

    execution = "SELECT state FROM jobs WHERE kind = 'enforcement.execute'"
    assert house.one(execution) == state
    assert house.one("SELECT count(*) FROM effects") == effects
    expire_leases(house)
    house.sweep()
    due_now(house)
    house.settle()
    assert house.status(proposal) == "executed"
    assert house.one(execution) == "done"
    versions = house.sql("SELECT version FROM setting_values WHERE key = 'rate_limit.CORE'")
    assert versions == [(1,)]
    assert len(house.entries("proposal.executed")) == 1


@pytest.mark.parametrize("point", ["jobs.claimed", "jobs.finished", "jobs.committed"])
def test_a_command_whose_worker_was_killed_is_done_once(house, point):
    """INV-29."""
    command = uuid7()
    house.submit("clock.advance", "cora", {"seconds": 3_600}, command_id=command)

    crash(house, "clock.advance", point)
    expire_leases(house)
    house.sweep()
    due_now(house)
    house.settle()

    assert house.answer(command).state == "done"
    assert house.one("SELECT clock_offset FROM instance") == timedelta(hours=1)


@pytest.mark.parametrize("point", ["jobs.finished", "jobs.committed"])
def test_a_close_whose_worker_was_killed_decides_once(house, point):
    """INV-29, INV-21."""
    proposal = house.open()
    house.approve(proposal)
    house.advance(days=4)
    house.sweep()

    crash(house, "proposals.close", point)
    expire_leases(house)
    house.settle()
    due_now(house)
    house.settle()

    assert house.status(proposal) == "executed"
    assert len(house.entries("proposal.decided")) == 1
    assert house.one("SELECT count(*) FROM ballots") == 3


def test_counting_that_was_killed_before_its_commit_counts_every_ballot_once(house):
    """INV-10, INV-21: the inbox is its own memory."""
    proposal = house.open()
    house.approve(proposal)

    crash(house, "votes.count", "jobs.finished")
    assert house.one("SELECT count(*) FROM ballot_inbox") == 3
    house.perform("votes.count")

    assert house.one("SELECT count(*) FROM ballot_inbox") == 0
    assert house.one("SELECT for_weight FROM tallies") == 11
    assert len(house.entries("ballot.cast")) == 3


def test_a_failpoint_fires_once(house):
    add(house, "a")
    arm("jobs.claimed", "raise")
    with pytest.raises(Failpoint):
        perform(house.app, kind_of(succeed))
    expire_leases(house)
    with transaction(house.app) as session:
        take_back_expired(session, {"tests.work": kind_of(succeed)})
    due_now(house)
    perform(house.app, kind_of(succeed))

    assert jobs(house) == [("a", "done", 2, None)]


# Pruning and dead letters


def test_pruning_takes_what_ended_long_ago_and_no_answer(house):
    command = uuid7()
    house.submit("clock.advance", "cora", {"seconds": 1}, command_id=command)
    house.perform("clock.advance")
    add(house, "old done", "old dead", "young", "pending")
    for key, state, days in (
        ("old done", "done", KEEP_DAYS + 1),
        ("old dead", "dead", KEEP_DAYS + 1),
        ("young", "done", KEEP_DAYS - 1),
        ("command:%", "done", KEEP_DAYS + 1),
    ):
        house.sql(
            "UPDATE jobs SET state = %s, finished_at = now() - make_interval(days => %s)"
            " WHERE key LIKE %s",
            state,
            days,
            key,
        )
    house.perform("jobs.prune")

    assert [row[0] for row in jobs(house)] == ["old dead", "pending", "young"]
    assert house.answer(command).state == "done"


def test_pruning_goes_in_bounded_pieces(house, monkeypatch):
    monkeypatch.setattr("forge_core.jobs.prune.LIMIT", 2)
    add(house, "a", "b", "c")
    house.sql("UPDATE jobs SET state = 'done', finished_at = now() - interval '99 days'")

    assert [house.perform("jobs.prune").full for _ in range(2)] == [True, False]
    assert jobs(house) == []


def test_a_flood_of_dead_letters_keeps_the_newest_thousand(house):
    for start in range(0, KEEP_DEAD_LETTERS + 500, 500):
        letters = [
            Letter.of(queue="votes", reason="unknown", headers={}, body=str(start + n))
            for n in range(500)
        ]
        with transaction(house.app) as session:
            keep(session, letters)

    assert house.one("SELECT count(*) FROM dead_letters") == KEEP_DEAD_LETTERS
    assert house.one("SELECT min(body::int) FROM dead_letters") == 500


def test_a_dead_letter_holds_whatever_came_as_bounded_text(house):
    letters = [
        Letter.of(queue="q", reason="r", headers={"a": "\x00"}, body=b"\xff\x00 bytes"),
        Letter.of(queue="q\x00", reason="lone \ud800", headers=None, body="x" * 1_000_000),
        Letter.of(queue=5, reason=None, headers=[1], body=b"y" * 1_000_000),
    ]
    with transaction(house.app) as session:
        keep(session, letters)

    assert house.one("SELECT max(length(body)) FROM dead_letters") <= MOST_CHARACTERS + 3
    assert house.one("SELECT count(*) FROM dead_letters") == 3
