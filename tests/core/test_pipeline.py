"""From proposal to executed change: visible effects, failures, exactly once, and time."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from forge_core.actions import policy
from forge_core.actions.kind import Frame, Planned
from forge_core.actions.present import Present
from forge_core.capabilities.declaration import Change
from forge_core.capabilities.values import POLICY_ADOPTED
from forge_core.clock import forge_now
from forge_core.ledger.entries import Entry, append
from forge_core.proposals import lifecycle
from tests.core.factories import House, catalogue_with, volume

CONFIGURATION = {"key": "rate_limit.STANDARD", "new_value": 500}
OURS = "key <> 'feature.fiat_unlock'"  # whose date has come, whatever anybody proposes
RAISE = {"member": "sam", "current_trust": "SANDBOX", "new_trust": "STANDARD"}
OVERLAY = {"overlay": "scout", "name": "Scout", "version": "1.0.0", "max_execution_ms": 250}
UPDATE = {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.1.0"}


# What each type does


def test_an_approved_configuration_changes_the_setting_that_services_read(house):
    before = house.sql("SELECT forge_setting('rate_limit.STANDARD')")

    proposal = house.executed(type="configuration", payload=CONFIGURATION | {"old_value": 1_000})

    assert before == [(None,)]
    assert house.status(proposal) == "executed"
    assert house.one("SELECT forge_setting('rate_limit.STANDARD')") == 500
    assert house.sql("SELECT version, proposal_id FROM setting_values") == [(1, proposal)]


def test_an_approved_policy_enters_the_register_with_its_text(house):
    proposal = house.executed(payload={"text": "Be kind."}, title="Kindness")

    (found,) = house.sql(
        "SELECT policies.proposal_id, title.body, text.body FROM policies"
        " JOIN texts AS title ON title.commitment = policies.title"
        " JOIN texts AS text ON text.commitment = policies.text"
    )
    assert found == (proposal, "Kindness", "Be kind.")


def test_a_policy_without_text_of_its_own_enters_with_its_description(house):
    house.executed(payload={}, description="Be kind to all.")

    body = house.one("SELECT body FROM policies JOIN texts ON commitment = policies.text")
    assert body == "Be kind to all."


def test_an_approved_trust_adjustment_changes_level_history_and_electorate(house):
    before = house.sql("SELECT version, standard, sandbox FROM electorate")

    proposal = house.executed(type="trust_adjustment", payload=RAISE)

    assert before == [(1, 1, 1)]
    assert house.sql("SELECT version, standard, sandbox FROM electorate") == [(2, 2, 0)]
    assert house.sql("SELECT level, version FROM members WHERE id = 'sam'") == [("STANDARD", 2)]
    assert house.sql(
        "SELECT version, level, cause FROM member_levels WHERE member_id = 'sam' ORDER BY 1"
    ) == [
        (1, "SANDBOX", "admitted from genesis"),
        (2, "STANDARD", f"proposal {proposal}"),
    ]


def test_an_approved_registration_makes_an_overlay_active_and_an_update_moves_it(house):
    registered = house.executed(proposer="stan", type="overlay_registration", payload=OVERLAY)
    overlay = "SELECT status, version, proposal_id, registered_by, max_execution_ms FROM overlays"

    assert house.sql(overlay) == [("ACTIVE", "1.0.0", registered, "stan", 250)]

    updated = house.executed(type="overlay_update", payload=UPDATE)

    assert house.sql(overlay) == [("ACTIVE", "1.1.0", updated, "stan", 250)]


def test_a_rejected_proposal_changes_nothing(house):
    proposal = house.open(type="configuration", payload=CONFIGURATION)
    house.vote(proposal, "tara", "for")  # 3 of 15.5: no quorum
    house.close_now()
    house.settle()

    assert house.status(proposal) == "rejected"
    assert house.sql(f"SELECT FROM setting_values WHERE {OURS}") == []
    assert house.one("SELECT count(*) FROM effects") == 0


def test_the_decision_explains_itself(house):
    """INV-13: every check with its value, its requirement, and whether it held."""
    proposal = house.open()
    for member, choice in (("cora", "for"), ("gus", "against"), ("sam", "abstain")):
        house.vote(proposal, member, choice)
    house.close_now()

    decision = house.column(proposal, "decision")
    assert decision["outcome"] == "approved"
    assert {check["name"]: check["held"] for check in decision["checks"]} == {
        "quorum": True,
        "approval": True,
        "yes_voters": True,
    }
    assert decision["totals"] == {
        "for": "5",
        "against": "3",
        "abstain": "0.5",
        "eligible": "15.5",
        "largest_yes": "5",
        "yes_voters": "1",
    }


# Failures end in failed, with the reason and without effect


@pytest.mark.parametrize(
    ("type_", "payload", "code"),
    [
        ("configuration", CONFIGURATION | {"old_value": 999}, "STALE_VALUE"),
        ("trust_adjustment", RAISE | {"current_trust": "TRUSTED"}, "STALE_VALUE"),
        ("trust_adjustment", RAISE | {"member": "nobody"}, "MEMBER_UNKNOWN"),
        ("overlay_update", UPDATE, "OVERLAY_UNKNOWN"),
    ],
)
def test_a_handler_that_refuses_ends_in_failed_with_its_reason(house, type_, payload, code):
    """INV-31, INV-32."""
    proposal = house.decided(type=type_, payload=payload)
    before = effects(house)

    house.perform("enforcement.execute")

    assert house.status(proposal) == "failed"
    assert house.column(proposal, "failure") == code
    assert house.sql("SELECT state, code FROM jobs WHERE kind = 'enforcement.execute'") == [
        ("failed", code)
    ]
    assert effects(house) == before


def test_the_second_of_two_proposals_on_one_key_fails_as_stale(house):
    """INV-34: never last-write-wins."""
    first = house.open(type="configuration", payload=CONFIGURATION | {"old_value": 1_000})
    second = house.open(
        type="configuration", payload=CONFIGURATION | {"old_value": 1_000, "new_value": 600}
    )
    for proposal in (first, second):
        house.approve(proposal)
    house.close_now()
    house.settle()

    # Decided in one step, so that either may be the first to be executed.
    value, late = (500, second) if house.status(first) == "executed" else (600, first)
    assert sorted(house.status(p) for p in (first, second)) == ["executed", "failed"]
    assert house.column(late, "failure") == "STALE_VALUE"
    assert house.one("SELECT forge_setting('rate_limit.STANDARD')") == value


def test_an_overlay_is_registered_once_and_updated_from_the_version_it_has(house):
    house.executed(type="overlay_registration", payload=OVERLAY)
    again = house.executed(type="overlay_registration", payload=OVERLAY)
    stale = house.executed(type="overlay_update", payload=UPDATE | {"current_version": "0.9.0"})

    assert house.column(again, "failure") == "OVERLAY_EXISTS"
    assert house.column(stale, "failure") == "STALE_VALUE"
    assert house.one("SELECT version FROM overlays") == "1.0.0"


def effects(house: House) -> list[object]:
    """Everything that executing could have changed."""
    tables = ("setting_values", "policies", "overlays", "members", "electorate", "effects")
    return [house.sql(f"SELECT t::text FROM {table} AS t ORDER BY 1") for table in tables]


VOLUME = {"key": "platform.volume", "new_value": 7}


def adopt(change: Change) -> None:
    """More than the value, in the same transaction."""
    data = {"title": "t", "text": "half done", "action": 0}
    at = forge_now(change.session)
    append(change.session, [Entry(POLICY_ADOPTED, at, "hook", change.proposal, data)])


def adopt_then_raise(change: Change) -> None:
    adopt(change)
    raise ValueError("the platform said no")


def adopt_then_hang_in_the_database(change: Change) -> None:
    adopt(change)
    change.session.execute(text("SET LOCAL statement_timeout = '50ms'"))
    change.session.execute(text("SELECT pg_sleep(60)"))


def adopt_then_hang(change: Change) -> None:
    adopt(change)
    threading.Event().wait(60)


def adopt_twice(change: Change) -> None:
    adopt(change)
    adopt(change)


def adopt_then_break_a_rule_of_the_database(change: Change) -> None:
    adopt(change)
    change.session.execute(text("UPDATE electorate SET core = -1"))


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (adopt_then_raise, "ValueError: the platform said no"),
        (adopt_then_hang_in_the_database, "QueryCanceled (57014)"),
        (adopt_then_hang, "HookTimeout: {proposal} ran longer than 0.2 s"),
        (adopt_twice, "UniqueViolation (23505)"),
        (adopt_then_break_a_rule_of_the_database, "CheckViolation (23514)"),
    ],
    ids=["raises", "hangs in the database", "hangs", "does it twice", "breaks a check"],
)
def test_a_hook_that_breaks_ends_in_failed_and_leaves_nothing(house, monkeypatch, hook, says):
    """INV-31: and the work of others goes on."""
    monkeypatch.setattr("forge_core.enforcement.execution.HOOK_SECONDS", 0.2)
    house.use(catalogue_with(volume(apply=hook)))
    broken = house.open(type="configuration", payload=VOLUME)
    good = house.open(type="configuration", payload=CONFIGURATION)
    for proposal in (broken, good):
        house.approve(proposal)
    house.close_now()

    house.settle()

    assert house.status(broken) == "failed"
    assert house.column(broken, "failure") == "HANDLER_FAILED"
    assert said(house) == says.format(proposal=broken)
    assert house.one("SELECT count(*) FROM policies") == 0
    assert house.entries("policy.adopted") == []
    assert house.sql("SELECT value FROM setting_values WHERE key = 'platform.volume'") == []
    assert house.status(good) == "executed"


def said(house: House) -> str:
    """The reason of the one failure there is."""
    (entry,) = house.entries("proposal.failed")
    reason = entry["data"]["reason"]
    return str(house.one("SELECT body FROM texts WHERE commitment = %s", reason))


def test_an_action_whose_plan_breaks_ends_in_failed_and_leaves_nothing(house):
    """INV-31: a kind's own code is trusted no more than a platform's."""

    def plan(present: Present, action: policy.Policy, frame: Frame) -> Planned:
        if frame.proposal == broken:
            raise ZeroDivisionError("no such luck")
        return policy.KIND.plan(present, action, frame)

    broken = ""
    house.use(catalogue_with(kinds=[replace(policy.KIND, plan=plan)]))
    broken, good = house.open(), house.open()
    for proposal in (broken, good):
        house.approve(proposal)
    house.close_now()

    house.settle()

    assert (house.status(broken), house.status(good)) == ("failed", "executed")
    assert said(house) == "ZeroDivisionError: no such luck"
    assert house.sql("SELECT proposal_id FROM policies") == [(good,)]


def test_what_is_executed_is_byte_for_byte_what_was_voted_on(house):
    """INV-33: a payload changed behind the triggers' back is not executed."""
    proposal = house.decided()
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute('UPDATE proposals SET payload = \'{"text":"Be cruel."}\'')

    house.perform("enforcement.execute")

    assert house.column(proposal, "failure") == "PAYLOAD_HASH_MISMATCH"
    assert house.one("SELECT count(*) FROM policies") == 0


# Exactly once


def deliver(house: House, proposal: str, *, times: int = 1) -> None:
    """More rows that ask for the same execution than any code of ours would write."""
    for _ in range(times):
        house.sql(
            "INSERT INTO jobs (kind, key, once, payload, actor) VALUES ('enforcement.execute',"
            " %s, true, jsonb_build_object('proposal_id', %s::text), 'system')",
            f"again:{uuid4()}",
            proposal,
        )


def test_an_execution_delivered_many_times_happens_once(house):
    """INV-29."""
    proposal = house.decided(type="configuration", payload=CONFIGURATION)
    deliver(house, proposal, times=3)
    house.settle()
    deliver(house, proposal)
    house.settle()

    answers = house.sql("SELECT code FROM jobs WHERE kind = 'enforcement.execute' ORDER BY id")
    assert answers == [(None,)] + [("ALREADY_EXECUTED",)] * 4
    assert house.sql(f"SELECT version FROM setting_values WHERE {OURS}") == [(1,)]
    assert len(house.entries("proposal.executed")) == 1
    assert refused(house) == [("ALREADY_EXECUTED", "executed")], "the same attempt is one entry"


def refused(house: House) -> list[tuple[str, str]]:
    """The code of every kind of attempt that was refused, and the status it met."""
    entries = house.entries("execution.refused")
    return [(entry["data"]["code"], entry["data"]["status"]) for entry in entries]


def test_two_executors_at_once_apply_one_effect(house):
    """INV-29: the second waits for the first one's lock and then sees that it is done."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(_change: Change) -> None:
        entered.set()
        assert go_on.wait(10)

    house.use(catalogue_with(volume(apply=slow)))
    proposal = house.decided(type="configuration", payload=VOLUME)
    deliver(house, proposal)
    house.sql("UPDATE jobs SET not_before = 'infinity' WHERE key LIKE 'again:%'")
    first = threading.Thread(target=house.perform, args=("enforcement.execute",))
    first.start()
    assert entered.wait(10)
    house.sql("UPDATE jobs SET not_before = now() WHERE key LIKE 'again:%'")
    second = threading.Thread(target=house.perform, args=("enforcement.execute",))
    second.start()
    go_on.set()
    first.join()
    second.join()

    assert house.sql("SELECT key, version FROM setting_values") == [("platform.volume", 1)]
    assert house.one("SELECT count(*) FROM effects") == 1
    assert len(house.entries("proposal.executed")) == 1
    assert house.sql("SELECT code FROM jobs WHERE key LIKE 'again:%'") == [("ALREADY_EXECUTED",)]


def test_the_database_itself_refuses_a_second_effect(house):
    """INV-29: the primary key is the last word, even when a status was lost."""
    proposal = house.executed()
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE proposals SET status = 'queued'")
    deliver(house, proposal)

    house.perform("enforcement.execute")

    assert house.status(proposal) == "failed"
    assert house.one("SELECT count(*) FROM policies") == 1
    assert len(house.entries("policy.adopted")) == 1


def test_cancelling_and_executing_exclude_each_other(house):
    """INV-35: exactly one wins, the other gets a definite answer."""
    cancelled, executed = house.decided(), house.decided()
    house.do("proposals.cancel", "gus", proposal_id=cancelled, reason="stop")
    house.settle()
    late = house.command("proposals.cancel", "gus", {"proposal_id": executed, "reason": "stop"})

    assert (house.status(cancelled), house.status(executed)) == ("cancelled", "executed")
    assert late.code == "PROPOSAL_STATUS"
    assert ("refused", "CANCELLED") in house.sql(
        "SELECT state, code FROM jobs WHERE kind = 'enforcement.execute'"
    )
    assert house.sql("SELECT proposal_id FROM policies") == [(executed,)]


def test_ballots_of_a_cancelled_proposal_are_kept_as_not_counted(house):
    """INV-23."""
    proposal = house.open()
    house.vote(proposal, "tara", "for")
    house.perform("votes.count")
    house.vote(proposal, "gus", "for")
    house.do("proposals.cancel", "tara", proposal_id=proposal, reason="a mistake")

    assert house.sql("SELECT member_id, counted FROM ballots ORDER BY ballot_id") == [
        ("tara", True),
        ("gus", False),
    ]
    assert house.one("SELECT count(*) FROM ballot_inbox") == 0


# Time


def test_drafts_and_queued_proposals_expire_by_time_alone(house):
    """INV-03."""
    draft = house.propose()
    queued = house.decided()
    house.sql("UPDATE jobs SET state = 'dead' WHERE kind = 'enforcement.execute'")
    house.advance(days=30)
    house.settle()

    assert house.status(draft) == "expired"
    assert house.status(queued) == "expired"
    assert {entry["data"]["was"] for entry in house.entries("proposal.expired")} == {
        "draft",
        "queued",
    }


MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize("tick", [-1, 0, 1])
def test_ballots_are_in_time_up_to_and_including_closes_at(house, tick):
    """INV-06."""
    proposal = house.open()
    closes_at = house.column(proposal, "closes_at")
    now = closes_at + tick * MICROSECOND
    house.freeze_clock(now)

    answer = house.vote(proposal, "tara", "for")

    in_time = tick <= 0
    assert lifecycle.ballot_in_time(now, closes_at) is in_time
    assert answer.code == (None if in_time else "VOTING_CLOSED")
    assert answer.accepted_at == (now if in_time else None)


@pytest.mark.parametrize("tick", [-1, 0, 1])
def test_closing_is_due_after_closes_at(house, tick):
    """INV-06: the sweep derives it then, and the step checks again."""
    proposal = house.open()
    house.approve(proposal)
    closes_at = house.column(proposal, "closes_at")
    now = closes_at + tick * MICROSECOND
    house.freeze_clock(now)

    house.sweep()
    derived = house.one("SELECT count(*) FROM jobs WHERE kind = 'proposals.close'")
    house.sql(
        "INSERT INTO jobs (kind, key, once, payload, actor) VALUES ('proposals.close', 'x', true,"
        " jsonb_build_object('proposal_id', %s::text), 'system')",
        proposal,
    )
    house.perform("proposals.close")

    due = tick > 0
    assert lifecycle.close_due(now, closes_at) is due
    assert derived == (1 if due else 0)
    assert house.status(proposal) == ("queued" if due else "active")


def slow_track(house: House) -> None:
    """Two days of timelock, as a governance_rule would set them."""
    house.sql(
        "INSERT INTO setting_values VALUES ('track.routine.timelock_hours', '48', 1, 'p', now())"
    )


@pytest.mark.parametrize("tick", [-1, 0, 1])
def test_execution_is_due_from_eta_on(house, tick):
    """INV-06, INV-27, INV-28: eta is queued_at plus the timelock frozen at opening."""
    slow_track(house)
    proposal = house.decided()
    house.sql("DELETE FROM setting_values")
    eta = house.column(proposal, "eta")
    assert eta - house.column(proposal, "decided_at") == timedelta(hours=48)
    assert house.one("SELECT count(*) FROM jobs WHERE kind = 'enforcement.execute'") == 0
    now = eta + tick * MICROSECOND
    house.freeze_clock(now)

    derived = house.sweep()
    deliver(house, proposal)
    house.perform("enforcement.execute")

    due = tick >= 0
    assert lifecycle.execution_due(now, eta) is due
    assert derived == (1 if due else 0)
    assert house.status(proposal) == ("executed" if due else "queued")
    attempt = ("ALREADY_EXECUTED", "executed") if due else ("TIMELOCK_ACTIVE", "queued")
    assert refused(house) == [attempt]


@pytest.mark.parametrize("by", ["execution", "sweep"])
@pytest.mark.parametrize("tick", [-1, 0, 1])
def test_the_grace_after_eta_ends_with_its_first_instant(house, tick, by):
    """INV-06, INV-27: whoever comes first, the executor or the sweep, says the same."""
    proposal = house.decided()
    eta = house.column(proposal, "eta")
    grace = timedelta(days=14)
    assert house.column(proposal, "expires_at") == eta + grace
    now = eta + grace + tick * MICROSECOND
    house.freeze_clock(now)

    if by == "sweep":
        house.sweep()
        house.perform("proposals.expire")
    house.perform("enforcement.execute")

    over = tick >= 0
    assert lifecycle.execution_expired(now, eta, grace) is over
    assert house.status(proposal) == ("expired" if over else "executed")


@pytest.mark.parametrize("tick", [-1, 0, 1])
def test_a_draft_lapses_with_the_end_of_its_lifetime(house, tick):
    """INV-03, INV-06."""
    swept, opened = house.propose(), house.propose()
    lapses_at = house.column(swept, "lapses_at")
    created_at = house.column(swept, "created_at")
    house.sql("UPDATE proposals SET lapses_at = %s", lapses_at)
    assert lapses_at - created_at == timedelta(days=30)
    now = lapses_at + tick * MICROSECOND
    house.freeze_clock(now)

    answer = house.command("proposals.activate", "tara", {"proposal_id": opened})
    house.sweep()
    house.perform("proposals.expire")

    over = tick >= 0
    assert lifecycle.lifetime_over(now, created_at, timedelta(days=30)) is over
    assert answer.code == ("DRAFT_LAPSED" if over else None)
    assert house.status(swept) == ("expired" if over else "draft")


@pytest.mark.parametrize("tick", [-1, 0, 1])
def test_an_approval_whose_gates_stay_open_lapses_with_the_end_of_its_lifetime(full_house, tick):
    """INV-03, INV-06: whoever comes first, a reviewer or the sweep, says the same."""
    house = full_house
    rule = {"key": "track.routine.quorum", "new_value": "0.25"}
    proposal = house.approved(type="governance_rule", payload=rule)
    lapses_at = house.column(proposal, "lapses_at")
    assert lapses_at - house.column(proposal, "decided_at") == timedelta(days=30)
    house.freeze_clock(lapses_at + tick * MICROSECOND)

    review = {"proposal_id": proposal, "approves": True, "comment": "Late, but read."}
    answer = house.command("enforcement.review", "rae", review)
    house.sweep()
    house.perform("proposals.expire")

    over = tick >= 0
    assert answer.code == ("EXPIRED" if over else None)
    assert house.status(proposal) == ("expired" if over else "approved")
    assert [entry["data"] for entry in house.entries("proposal.expired")] == (
        [{"was": "approved"}] if over else []
    )


def test_a_clock_that_steps_back_strands_no_closing(house):
    """INV-05: the job that came too early is still there when the time has come."""
    proposal = house.open()
    house.approve(proposal)
    closes_at = house.column(proposal, "closes_at")
    house.freeze_clock(closes_at + MICROSECOND)
    house.sweep()
    house.freeze_clock(closes_at - timedelta(milliseconds=5))
    house.perform("proposals.close")
    early = house.status(proposal)
    house.freeze_clock(closes_at + MICROSECOND)
    house.settle()

    assert early == "active"
    assert house.status(proposal) == "executed"


def test_a_clock_that_steps_back_strands_no_execution(house):
    """INV-05: eta is the close's own reading where there is no timelock."""
    proposal = house.decided()
    eta = house.column(proposal, "eta")
    house.freeze_clock(eta - timedelta(milliseconds=5))
    house.perform("enforcement.execute")
    early = house.status(proposal)
    house.freeze_clock(eta)
    house.settle()

    assert early == "queued"
    assert refused(house) == [("TIMELOCK_ACTIVE", "queued")]
    assert house.status(proposal) == "executed"


def test_a_sweep_that_was_dead_for_weeks_changes_no_outcome(house):
    """INV-04: late ballots stay late, what was due is decided as it would have been."""
    proposal = house.open()
    house.approve(proposal)
    house.advance(days=25)
    late = house.vote(proposal, "otto", "against")
    house.settle()

    assert late.code == "VOTING_CLOSED"
    assert house.status(proposal) == "executed"
    assert house.column(proposal, "decision")["totals"]["against"] == "0"


def test_ballots_in_the_inbox_are_counted_before_closing_decides(house):
    """INV-21."""
    proposal = house.open()
    house.approve(proposal)
    assert house.one("SELECT for_weight FROM tallies") == 0
    house.close_now()

    assert house.column(proposal, "decision")["totals"]["for"] == "11"
    assert house.one("SELECT for_weight FROM tallies") == 11


def test_closing_goes_again_when_more_ballots_wait_than_one_transaction_takes(house, monkeypatch):
    """INV-21: what is counted so far is committed, the decision waits for the rest."""
    monkeypatch.setattr("forge_core.voting.closing.MOST_BALLOTS", 4)
    small, large = house.open(voting_hours=1), house.open(voting_hours=1)
    for _ in range(3):
        for member in ("cora", "gus", "tara"):
            house.vote(large, member, "for")
    house.vote(small, "cora", "for")
    house.advance(hours=2)
    house.sweep()
    house.perform("proposals.close")
    after_one = house.one("SELECT count(*) FROM ballot_inbox"), house.status(large)
    for _ in range(3):
        house.perform("proposals.close")

    assert after_one == (6, "active")
    assert [house.status(p) for p in (small, large)] == ["queued", "queued"]
    assert house.column(large, "decision")["totals"]["for"] == "11"
    assert house.one("SELECT count(*) FROM ballots") == 10
