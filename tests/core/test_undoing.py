"""Rolling back: exactly the state before, once, and only while nobody has changed it since."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from forge_core.errors import Refused
from tests.core.factories import House, catalogue_with
from tests.core.full_house import (
    CASES,
    GRANT,
    MODULE,
    PARAMETER,
    PAUSE,
    PAUSES,
    REGISTRATION,
    SOURCE,
    SWITCH,
    Case,
    carried,
    clock_stopped,
    done,
    effects,
    level,
    now_rows,
    platform_key,
    play,
    prepare,
    preview,
    queued,
    reason,
    ripe,
    setting,
    standing,
    tried,
    undo,
    warned,
)


def rollback_of(proposal: str) -> dict[str, object]:
    return {"type": "rollback", "payload": {"proposal": proposal}}


# The true undo of every kind of change


@pytest.mark.parametrize("name", CASES)
def test_a_rollback_puts_back_exactly_what_was(full_house, name):
    """INV-36, INV-44: every derived row; and the ledger tells it all again."""
    case = CASES[name]
    prepare(full_house, case)
    before = standing(full_house)
    proposal = done(full_house, case.proposer, **case.given)
    assert (standing(full_house) != before) == (case.type != "grant_award")  # it only records

    rollback = undo(full_house, proposal)

    assert full_house.status(rollback) == "executed"
    assert full_house.status(proposal) == "rolled_back"
    assert full_house.sql(case.shows) == list(case.was)
    after = standing(full_house)
    assert without_empty_accounts(after) == without_empty_accounts(before)
    rows = full_house.derived_rows()
    full_house.refold()
    assert full_house.derived_rows() == rows


@pytest.mark.parametrize("name", CASES)
def test_the_preview_of_a_rollback_is_exactly_what_happens(full_house, name):
    """It mirrors what it undoes, and both ids are in the history."""
    case = CASES[name]
    proposal = play(full_house, case)
    rollback = queued(full_house, **rollback_of(proposal))
    ripe(full_house, rollback)

    with clock_stopped(full_house):
        shown = preview(full_house, rollback)
        full_house.perform("enforcement.execute")

    undone = effects(full_house, proposal, "undo")
    assert undone == sorted(shown.effects, key=lambda effect: effect["action"])
    assert effects(full_house, rollback) == []
    assert now_rows(full_house) == shown.rows
    applied = effects(full_house, proposal)
    assert [(e["action"], e["type"], e["target"]) for e in undone] == [
        (e["action"], e["type"], e["target"]) for e in applied
    ]
    if case.type not in {"treasury_allocation", "emergency"}:  # others pay, and time passes
        assert [(e["after"], e["before"]) for e in undone] == [
            (e["before"], e["after"]) for e in applied
        ]
    causes = full_house.sql(
        "SELECT DISTINCT direction, cause FROM effects WHERE proposal_id = %s ORDER BY 1", proposal
    )
    assert causes == [("apply", proposal), ("undo", rollback)]
    (entry,) = full_house.entries("proposal.rolled_back")
    assert (entry["subject"], entry["data"]["by"]) == (proposal, rollback)


def without_empty_accounts(rows: Mapping[str, object]) -> Mapping[str, object]:
    """An account that never had anything holds what an emptied one does."""
    accounts = [account for account in rows["accounts"] if account["balance"] != 0]  # type: ignore[attr-defined]
    return {**rows, "accounts": accounts}


# Only once


@pytest.mark.parametrize("name", ["a protocol parameter", "an allocation", "a policy", "a pause"])
def test_a_rollback_happens_once(full_house, name):
    """INV-36: two that were approved, and a third that comes too late."""
    proposal = play(full_house, CASES[name])
    first = queued(full_house, **rollback_of(proposal))
    second = queued(full_house, **rollback_of(proposal))
    full_house.ripen(first)
    after = now_rows(full_house)

    full_house.ripen(second)

    assert full_house.status(proposal) == "rolled_back"
    assert full_house.column(second, "failure") == "ALREADY_ROLLED_BACK"
    assert now_rows(full_house) == after
    assert tried(full_house, **rollback_of(proposal)).code == "ALREADY_ROLLED_BACK"


def test_a_rollback_is_not_rolled_back(full_house):
    proposal = play(full_house, CASES["an ordinary setting"])
    rollback = undo(full_house, proposal)

    assert tried(full_house, **rollback_of(rollback)).code == "ROLLBACK_OF_ROLLBACK"


@pytest.mark.parametrize("status", ["draft", "active", "queued", "failed", "cancelled"])
def test_only_what_was_executed_is_rolled_back(full_house, status):
    given = {"type": "configuration", "payload": {"key": "rate_limit.CORE", "new_value": 7}}
    proposal = full_house.propose("carl", **given)
    if status == "active":
        full_house.do("proposals.activate", "carl", proposal_id=proposal)
    elif status == "queued":
        proposal = queued(full_house, **given)
    elif status == "failed":
        stale = {**given["payload"], "old_value": 8}
        proposal = carried(full_house, type="configuration", payload=stale)
    elif status == "cancelled":
        full_house.do("proposals.cancel", "gus", proposal_id=proposal, reason="enough")
    assert full_house.status(proposal) == status

    assert tried(full_house, **rollback_of(proposal)).code == "NOT_EXECUTED"


# Only while nobody has changed it since

AGAIN: Mapping[str, tuple[Case, Case]] = {
    "a setting": (setting("difficulty", 5), setting("difficulty", 6)),
    "a rule": (
        setting("track.routine.quorum", "0.4", "governance_rule"),
        setting("track.routine.quorum", "0.5", "governance_rule"),
    ),
    "a setting adjusted in an emergency": (
        setting("block_reward", "20"),
        Case("emergency", {"action": "adjust", "key": "block_reward", "new_value": 15}, ""),
    ),
    "a feature": (
        Case("feature_activation", {"feature": "airdrops", "enabled": False}, ""),
        Case("feature_activation", {"feature": "airdrops", "enabled": True}, ""),
    ),
    "a level": (level("stan", "STANDARD", "TRUSTED"), level("stan", "TRUSTED", "SANDBOX")),
    "a role": (
        Case("role_change", {"member": "stan", "role": "admin", "holds": True}, ""),
        Case("role_change", {"member": "stan", "role": "admin", "holds": False}, ""),
    ),
    "an overlay's version": (
        REGISTRATION,
        Case(
            "overlay_update",
            {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.0.1"},
            "",
        ),
    ),
    "an overlay's trust": (
        REGISTRATION,
        Case(
            "trust_adjustment",
            {"overlay": "scout", "current_trust": "SANDBOX", "new_trust": "TRUSTED"},
            "",
        ),
    ),
    "a module": (
        MODULE,
        Case(
            "overlay_update",
            {"module": "ledger", "current_version": "1.0.0", "new_version": "1.0.1"},
            "",
        ),
    ),
    "a pause": (PAUSE, Case("emergency", {"action": "resume"}, "")),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_was_changed_since_is_not_rolled_back(full_house, name):
    """INV-36: warned of at creation, failed at execution; the later change stands."""
    first, later = AGAIN[name]
    proposal = play(full_house, first)
    play(full_house, later)
    assert warned(full_house, **rollback_of(proposal)) == "STALE_VALUE"
    after = now_rows(full_house)

    rollback = queued(full_house, **rollback_of(proposal))
    ripe(full_house, rollback)
    with pytest.raises(Refused, match="STALE_VALUE"):
        preview(full_house, rollback)
    full_house.perform("enforcement.execute")

    assert full_house.column(rollback, "failure") == "STALE_VALUE"
    assert full_house.status(proposal) == "executed"
    assert now_rows(full_house) == after


@pytest.mark.parametrize("name", AGAIN)
def test_when_the_later_change_is_undone_the_earlier_can_be(full_house, name):
    """INV-36: one after the other back to where it began."""
    first, later = AGAIN[name]
    before = standing(full_house)
    proposal = play(full_house, first)
    middle = standing(full_house)
    again = play(full_house, later)

    undo(full_house, again)
    assert standing(full_house) == middle
    undo(full_house, proposal)

    assert full_house.status(again) == full_house.status(proposal) == "rolled_back"
    assert standing(full_house) == before


def test_a_value_that_came_back_by_itself_is_not_the_one_that_the_proposal_wrote(full_house):
    """INV-36: 4 to 5, 5 to 6, 6 to 5: the present 5 is another proposal's."""
    first = done(full_house, **setting("difficulty", 5).given)
    done(full_house, **setting("difficulty", 6).given)
    done(full_house, **setting("difficulty", 5).given)

    rollback = undo(full_house, first)

    assert full_house.column(rollback, "failure") == "STALE_VALUE"
    assert full_house.one("SELECT value FROM setting_values") == 5


def test_of_several_changes_all_are_undone_or_none(full_house):
    """INV-30, INV-36: one of them was changed since."""
    payload = {
        "actions": [
            {"key": "rate_limit.CORE", "new_value": 7},
            {"key": "rate_limit.TRUSTED", "new_value": 8},
            {"key": "rate_limit.SANDBOX", "new_value": 9},
        ]
    }
    proposal = done(full_house, type="configuration", payload=payload)
    done(full_house, **setting("rate_limit.TRUSTED", 80).given)
    before = now_rows(full_house)

    rollback = undo(full_house, proposal)

    assert full_house.column(rollback, "failure") == "STALE_VALUE"
    assert now_rows(full_house) == before
    assert effects(full_house, proposal, "undo") == []


def test_the_last_of_several_changes_is_undone_first(full_house):
    actions = [{"text": "one"}, {"text": "two"}, {"text": "three"}]
    proposal = done(full_house, "tara", type="policy", payload={"actions": actions})
    undo(full_house, proposal, "tara")

    repealed = full_house.entries("policy.repealed")
    assert [entry["data"]["action"] for entry in repealed] == [2, 1, 0]


def test_a_setting_gets_back_its_writer_and_its_version(full_house):
    """INV-36: the value before and whoever had set it."""
    first = done(full_house, **setting("difficulty", 5).given)
    second = done(full_house, **setting("difficulty", 6).given)
    undo(full_house, second)

    row = full_house.sql("SELECT value, version, proposal_id FROM setting_values")
    assert row == [(5, 1, first)]


# What the treasury has paid


def allocation(house: House, amount: str = "60") -> str:
    house.do("treasury.deposit", "cora", source="tests", amount="100")
    payload = {"recipient": "guild", "amount": amount}
    return done(house, "tara", type="treasury_allocation", payload=payload)


def test_a_payment_is_undone_by_a_compensating_one_whatever_came_later(full_house):
    first = allocation(full_house)
    later = {"recipient": "guild", "amount": "40"}
    done(full_house, "tara", type="treasury_allocation", payload=later)

    undo(full_house, first, "tara")

    assert full_house.sql("SELECT id, balance FROM accounts ORDER BY 1") == [
        ("guild", 40),
        ("treasury", 60),
    ]
    (*_, back) = full_house.entries("treasury.transferred")
    assert (back["data"]["from"], back["data"]["to"]) == ("guild", "treasury")


def test_a_payment_is_undone_only_if_the_recipient_still_has_it(full_house):
    """Nothing but a proposal takes from an account, so the books are changed behind its back."""
    proposal = allocation(full_house)
    full_house.sql("UPDATE accounts SET balance = 59.999 WHERE id = 'guild'")
    assert warned(full_house, "tara", **rollback_of(proposal)) == "INSUFFICIENT_BALANCE"

    rollback = undo(full_house, proposal, "tara")

    assert full_house.column(rollback, "failure") == "INSUFFICIENT_BALANCE"
    assert full_house.status(proposal) == "executed"


# What is in use stays

USES: Mapping[str, tuple[Case, Case | None]] = {
    "a parameter that was set": (
        PARAMETER,
        Case("configuration", {"key": "colour", "new_value": 2}, ""),
    ),
    "a feature that was switched": (
        SWITCH,
        Case("feature_activation", {"feature": "lanterns", "enabled": True}, ""),
    ),
    "a module that has a parameter": (
        MODULE,
        Case(
            "registry_extension",
            {
                **PARAMETER.payload,
                "declaration": {**PARAMETER.payload["declaration"], "module": "ledger"},
            },
            "",
        ),
    ),
    "a type that was proposed": (GRANT, None),
    "a source that reported": (SOURCE, None),
}


@pytest.mark.parametrize("name", USES)
def test_an_extension_in_use_is_not_taken_out(full_house, name):
    added, using = USES[name]
    proposal = play(full_house, added)
    if using is not None:
        play(full_house, using)
    elif added is GRANT:
        full_house.propose("stan", **CASES["a decision of a new type"].given)
    else:
        holdings = [["sam", 1, 0, 0, 0]]
        full_house.do("members.report_holdings", "cora", source="bank", holdings=holdings)
    # What was set is a later change of the key itself.
    code = "STALE_VALUE" if added in (PARAMETER, SWITCH) else "EXTENSION_IN_USE"
    assert warned(full_house, **rollback_of(proposal)) == code
    before = now_rows(full_house)

    rollback = undo(full_house, proposal)

    assert full_house.column(rollback, "failure") == code
    assert now_rows(full_house) == before


@pytest.mark.parametrize("name", ["a parameter that was set", "a feature that was switched"])
def test_an_extension_is_taken_out_when_what_used_it_is_undone(full_house, name):
    added, using = USES[name]
    before = standing(full_house)
    proposal = play(full_house, added)
    undo(full_house, play(full_house, using))

    undo(full_house, proposal)

    assert standing(full_house) == before


# Pauses


def test_undoing_a_pause_that_renewed_another_leaves_that_one(full_house):
    """INV-36: before it there was a pause, and so there is after."""
    first = play(full_house, PAUSE)
    second = play(full_house, PAUSE)
    rollback = queued(full_house, **rollback_of(second))
    ripe(full_house, rollback)
    with clock_stopped(full_house):
        shown = preview(full_house, rollback)
        full_house.perform("enforcement.execute")

    assert [row[0] for row in full_house.sql(PAUSES)] == [first]
    (undone,) = effects(full_house, second, "undo")
    assert [undone] == shown.effects
    assert undone["after"]["paused"] == f"w-{first}-0"
    assert undone["before"]["paused"] == f"w-{second}-0"


def test_undoing_a_pause_that_has_run_out_changes_nothing(full_house):
    pause = play(full_house, PAUSE)
    full_house.advance(days=7)

    rollback = undo(full_house, pause)

    assert full_house.status(rollback) == "executed"
    assert full_house.entries("execution.window_ended") == []
    (undone,) = effects(full_house, pause, "undo")
    assert (undone["before"], undone["after"]) == (None, None)


def test_undoing_a_resumption_pauses_for_what_would_be_left(full_house):
    play(full_house, PAUSE)
    until = full_house.one("SELECT until_at FROM execution_windows")
    resumed = done(full_house, type="emergency", payload={"action": "resume"})

    rollback = undo(full_house, resumed)

    found = full_house.sql(
        "SELECT proposal_id, until_at FROM execution_windows WHERE until_at > forge_now()"
    )
    assert found == [(rollback, until)]


# Trust, track and gates are those of what is undone

TRACKS: Mapping[str, tuple[Case, str, int, str, str]] = {
    "ordinary": (setting("rate_limit.CORE", 7), "routine", 0, "tara", "stan"),
    "an overlay": (REGISTRATION, "routine", 0, "stan", "sam"),
    "a parameter": (setting("difficulty", 5), "protected", 72, "tara", "stan"),
    "a feature": (CASES["a feature switched off"], "protected", 72, "tara", "stan"),
    "a rule": (CASES["a rule"], "protected", 72, "carl", "tara"),
    "an emergency": (PAUSE, "emergency", 24, "carl", "tara"),
}


@pytest.mark.parametrize("name", TRACKS)
def test_a_rollback_has_trust_track_and_gates_of_what_it_undoes(full_house, name):
    """Its timelock is the smaller of three days and that track's."""
    case, track, hours, able, unable = TRACKS[name]
    proposal = play(full_house, case)
    original = full_house.column(proposal, "terms")

    assert tried(full_house, unable, **rollback_of(proposal)).code == "TRUST_TOO_LOW"
    rollback = full_house.open(able, **rollback_of(proposal))

    terms = full_house.column(rollback, "terms")
    assert (terms["track"], terms["timelock_hours"]) == (track, hours)
    assert {**terms, "timelock_hours": 0} == {**original, "timelock_hours": 0}


def test_no_several_rollbacks_hide_behind_the_weakest_of_them(full_house):
    """The track is the strictest class: one proposal undoes one proposal."""
    strong = play(full_house, setting("difficulty", 5))
    weak = play(full_house, setting("rate_limit.CORE", 7))

    for actions in ([strong, weak], [weak, strong]):
        payload = {"actions": [{"proposal": one} for one in actions]}
        assert tried(full_house, "tara", type="rollback", payload=payload).code == "ACTIONS_COUNT"


def test_nobody_proposes_the_rollback_that_would_raise_their_own_level(full_house):
    lowered = done(full_house, "tara", **CASES["a seat taken away"].given)

    assert tried(full_house, "cleo", **rollback_of(lowered)).code == "OWN_RAISE"
    assert tried(full_house, "tara", **rollback_of(lowered)).state == "done"


def test_nobody_proposes_the_rollback_that_would_give_them_a_role(full_house):
    payload = {"member": "cora", "role": "admin", "holds": False}
    taken = done(full_house, type="role_change", payload=payload)

    assert tried(full_house, "cora", **rollback_of(taken)).code == "OWN_RAISE"
    assert tried(full_house, "carl", **rollback_of(taken)).state == "done"


# A platform's own hooks and deliveries


def test_an_undo_that_its_hook_refuses_leaves_everything(full_house):
    """INV-30, INV-31."""

    def keep(_change: object) -> None:
        raise ValueError("the lamp is glued on")

    full_house.use(catalogue_with(platform_key(undo=keep)))
    payload = {"key": "platform.colour", "new_value": 9}
    proposal = done(full_house, "tara", type="configuration", payload=payload)
    before = now_rows(full_house)

    rollback = undo(full_house, proposal, "tara")

    assert full_house.column(rollback, "failure") == "HANDLER_FAILED"
    assert reason(full_house, rollback) == "ValueError: the lamp is glued on"
    assert now_rows(full_house) == before
    assert full_house.status(proposal) == "executed"


def test_a_default_that_changed_meanwhile_is_not_the_value_before(full_house):
    """INV-36: exactly the value before, or none."""
    full_house.use(catalogue_with(platform_key()))
    payload = {"key": "platform.colour", "new_value": 9}
    proposal = done(full_house, "tara", type="configuration", payload=payload)
    full_house.use(catalogue_with(platform_key(default=2)))

    rollback = undo(full_house, proposal, "tara")

    assert full_house.column(rollback, "failure") == "STALE_VALUE"
    assert full_house.one("SELECT value FROM setting_values") == 9


def test_a_value_before_that_is_out_of_bounds_now_is_not_put_back(full_house):
    """INV-39: at rollback as well."""
    full_house.use(catalogue_with(platform_key()))
    for value in (50, 9):
        payload = {"key": "platform.colour", "new_value": value}
        proposal = done(full_house, "tara", type="configuration", payload=payload)
    rollback = queued(full_house, "tara", **rollback_of(proposal))
    full_house.use(catalogue_with(platform_key(most=20)))

    full_house.ripen(rollback)

    assert warned(full_house, "tara", **rollback_of(proposal)) == "VALUE_OUT_OF_RANGE"
    assert full_house.column(rollback, "failure") == "VALUE_OUT_OF_RANGE"
