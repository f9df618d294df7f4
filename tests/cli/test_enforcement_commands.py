"""From an approved vote to its change and back, by commands: what they do, print and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forge_workers.cli import output
from tests.cli.conftest import Forge
from tests.core.factories import House
from tests.support import until

DIFFICULTY = ("--type", "configuration", "--title", "Harder", "--description", "Blocks are cheap.")
HARDER = ("--payload", '{"key": "difficulty", "new_value": 5}')
POLICY = ("--type", "policy", "--title", "Be kind", "--description", "To all.")
SWITCH = {"type": "feature_activation", "payload": {"feature": "exchange", "enabled": False}}


def created(forge: Forge, member: str, *words: str) -> str:
    said = forge("proposal", "create", "--as", member, *words, "--activate")
    assert said.status == 0, said.err
    return said.out.strip()


def approved(house: House, proposal: str) -> None:
    house.approve(proposal)
    house.advance_to(house.column(proposal, "closes_at"))
    until(lambda: house.status(proposal) != "active", seconds=60)


def queued(house: House, **given: Any) -> str:
    """A protected proposal whose timelock runs."""
    proposal = house.open("carl", **given)
    approved(house, proposal)
    house.through_gates(proposal)
    return proposal


def executed(house: House, proposal: str) -> None:
    house.advance_to(house.column(proposal, "eta"))
    until(lambda: house.status(proposal) == "executed", seconds=60)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paper of 100 columns."""
    monkeypatch.setattr(output, "_WIDTH_OF_A_FILE", 100)


# From approval to the change and back


def test_a_protected_change_is_reviewed_signed_off_executed_and_rolled_back(
    forge: Forge, full: House
) -> None:
    proposal = created(forge, "carl", *DIFFICULTY, *HARDER)
    approved(full, proposal)
    review = ("proposal", "review", proposal, "--comment", "Read it.")
    assert "INSUFFICIENT_REVIEWERS: 1 of 5" in forge(*review, "--as", "rae", "--approve").out
    rejected = forge(*review, "--as", "ray", "--reject", "--json").json
    assert (rejected["status"], rejected["missing"]) == ("approved", "INSUFFICIENT_REVIEWERS")
    assert forge(*review, "--as", "ray", "--approve").status == 0
    for member in ("rex", "ria", "rob"):
        assert forge(*review, "--as", member, "--approve").status == 0

    shown = forge("proposal", "show", proposal).out
    assert "Reviews: 5, 5 needed; weight 15 of 15 approves" in shown
    assert "may still sign off: cora, gus, rae" in shown
    assert "IMPLEMENTATION_NOT_APPROVED: 0 of 6" in shown
    voters = ("cora", "gus", "tara", "rae", "ray", "rex")
    said = [forge("proposal", "sign-off", proposal, "--as", member) for member in voters]
    assert f"{proposal} is queued; eta " in said[-1].out
    executed(full, proposal)
    assert forge("setting", "get", "difficulty").out == "5\n"

    rollback = forge("proposal", "rollback", proposal, "--as", "carl", "--activate", "--json").json
    approved(full, rollback["proposal_id"])
    full.through_gates(rollback["proposal_id"])
    executed(full, rollback["proposal_id"])
    assert forge("setting", "get", "difficulty").out == "4\n"
    shown = forge("proposal", "show", proposal, "--json").json
    assert shown["status"] == "rolled_back"
    assert [(one["direction"], one["before"], one["after"]) for one in shown["effects"]] == [
        ("undo", 5, 4),
        ("apply", 4, 5),
    ]
    assert f"rolled back by {rollback['proposal_id']} of carl" in forge("history").out


def test_a_failed_execution_is_shown_and_retried_with_a_reason(forge: Forge, served: House) -> None:
    stale = '{"key": "rate_limit.CORE", "new_value": 7, "old_value": 9}'
    words = ("--type", "configuration", "--title", "Less", "--description", "Less.")
    said = forge("proposal", "create", "--as", "tara", *words, "--payload", stale, "--activate")
    assert "would fail with STALE_VALUE" in said.err
    proposal = said.out.strip()
    approved(served, proposal)
    until(lambda: served.status(proposal) == "failed", seconds=60)

    shown = forge("proposal", "show", proposal)
    assert "EXECUTION_FAILED" in shown.out
    assert "STALE_VALUE" in shown.out
    retry = ("proposal", "retry", proposal, "--reason", "Once more.")
    assert "POWER_MISSING" in forge(*retry, "--as", "tara").err
    assert forge(*retry, "--as", "otto").status == 0
    until(lambda: "proposal.retried" in forge("proposal", "show", proposal).out, seconds=60)
    assert served.column(proposal, "queued_count") == 2


def test_a_predecessor_is_named_at_creation_and_shown(forge: Forge, served: House) -> None:
    first = created(forge, "tara", *POLICY)
    second = created(forge, "tara", *POLICY, "--predecessor", first)

    assert served.column(second, "predecessor") == first
    assert f"Comes after {first} (active)" in forge("proposal", "show", second).out
    absent = forge("proposal", "create", "--as", "tara", *POLICY, "--predecessor", "p-absent")
    assert (absent.status, "PROPOSAL_UNKNOWN" in absent.err) == (1, True)


def test_a_script_waits_for_a_status_and_no_longer_than_it_can_come(
    forge: Forge, served: House
) -> None:
    proposal = served.open()
    served.approve(proposal)
    served.advance_to(served.column(proposal, "closes_at"))

    assert forge("proposal", "wait", proposal, "executed").status == 0
    assert served.status(proposal) == "executed"
    said = forge("proposal", "wait", proposal, "queued")
    assert (said.status, "PROPOSAL_STATUS" in said.err) == (1, True)
    assert "PROPOSAL_UNKNOWN" in forge("proposal", "wait", "p-absent", "executed").err


# Simulation and the queue


@pytest.mark.usefixtures("full")
def test_a_simulation_shows_change_rivals_track_voters_and_reviewers(forge: Forge) -> None:
    rival = created(forge, "cleo", *DIFFICULTY, *HARDER)
    words = ("proposal", "simulate", "--as", "carl", "--type", "configuration", *HARDER)
    shown, told = forge(*words, "--json").json, forge(*words).out

    assert shown["changes"][0]["target"] == "setting:difficulty"
    assert [one["proposal"] for one in shown["rivals"]] == [rival]
    assert "setting:difficulty: 4 → 5" in told
    assert f"Changes the same: {rival} (active, by cleo)" in told
    assert "class protocol, protected track" in told
    assert "17 members with weight 52.5" in told
    assert "(8; 5 are needed)" in told
    assert "Terms, if opened now" in told


def test_the_simulation_of_a_proposal_reads_its_texts_and_what_is_missing(
    forge: Forge, served: House
) -> None:
    proposal = created(forge, "tara", *POLICY)
    shown = forge("proposal", "simulate", proposal, "--json").json
    told = forge("proposal", "simulate", proposal).out

    assert shown["changes"][0]["after"] == {"title": "Be kind", "text": "To all."}
    assert shown["frozen"] is True
    assert "VOTING_NOT_APPROVED: voting is open until" in told
    assert "Terms, frozen at opening" in told
    commitment = served.column(proposal, "title")
    assert commitment not in told + json.dumps(shown)


@pytest.mark.usefixtures("served")
def test_what_could_not_be_executed_now_is_no_error_and_what_cannot_be_proposed_is(
    forge: Forge,
) -> None:
    words = ("proposal", "simulate", "--as", "tara", "--type", "overlay_update", "--payload")
    payload = {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.1.0"}
    said = forge(*words, json.dumps(payload))
    assert said.status == 0
    assert "Could not be executed now" in said.out
    assert "OVERLAY_UNKNOWN" in said.out

    refused = forge(*words, json.dumps(payload | {"new_version": "one"}))
    assert (refused.status, refused.out) == (1, "")
    assert "VERSION_INVALID" in refused.err


@pytest.mark.usefixtures("narrow")
def test_the_queue_shows_each_change_by_eta_and_what_holds_it(forge: Forge, full: House) -> None:
    proposal = queued(full, **SWITCH, title="Close the exchange")
    frozen = forge("freeze", "--as", "gus", "--for", "10d", "--reason", "Holidays.", "--json").json
    [row] = forge("proposal", "queue", "--json").json
    told = forge("proposal", "queue").out

    assert row["proposal"] == proposal
    assert row["title"] == "Close the exchange"
    assert (row["changes"][0]["before"], row["changes"][0]["after"]) == (True, False)
    assert [one["code"] for one in row["missing"]] == ["TIMELOCK_ACTIVE", "EXECUTION_HELD"]
    assert row["expires_at"] > row["may_run_at"] > row["eta"]
    assert "setting:feature.exchange: true → false" in told
    assert f"Held by the freeze {frozen['window']}" in told
    assert "may run from" in told
    assert max(map(len, told.splitlines())) <= 100


@pytest.mark.usefixtures("served")
def test_an_empty_queue_and_an_empty_history_say_so(forge: Forge) -> None:
    assert forge("proposal", "queue").out == "nothing is queued\n"
    assert forge("proposal", "queue", "--json").json == []
    assert forge("history").out == "nothing of that kind was changed\n"
    assert forge("history", "--json").json == {"changes": [], "next": None}


# History


@pytest.mark.usefixtures("narrow")
def test_history_is_filtered_and_read_page_by_page(forge: Forge, served: House) -> None:
    proposals = []
    for value in (7, 8, 9):
        payload = {"key": "rate_limit.CORE", "new_value": value}
        proposals.append(served.open(type="configuration", payload=payload))
        approved(served, proposals[-1])
        until(lambda: served.status(proposals[-1]) == "executed", seconds=60)
    served.seal()

    first = forge("history", "--limit", "2", "--json").json
    second = forge("history", "--limit", "2", "--json", "--before", first["next"]).json
    assert [one["proposal"] for one in first["changes"] + second["changes"]] == proposals[::-1]
    assert second["next"] is None
    assert all(one["position"] is not None for one in first["changes"])
    told = forge("history", "--limit", "1").out
    assert "setting:rate_limit.CORE: 8 → 9" in told
    assert f"configuration {proposals[-1]}, action 0, by tara; entry " in told
    assert "more: --before 20" in told
    assert max(map(len, told.splitlines())) <= 100

    at = second["changes"][0]["applied_at"]
    for words, found in (
        (("--proposal", proposals[1]), proposals[1:2]),
        (("--target", "setting:rate_limit.CORE", "--since", at), proposals[::-1]),
        (("--until", at), []),
        (("--by", "gus"), []),
        (("--type", "policy"), []),
        (("--target", "setting:block_reward"), []),
        (("--target", "treasury"), []),
        (("--limit", "0"), []),
    ):
        changes = forge("history", *words, "--json").json["changes"]
        assert [one["proposal"] for one in changes] == found, words


def test_an_erased_text_is_nothing_in_history_and_queue(forge: Forge, served: House) -> None:
    proposal = created(forge, "tara", *POLICY)
    approved(served, proposal)
    until(lambda: served.status(proposal) == "executed", seconds=60)
    [before] = forge("history", "--json").json["changes"]
    commitment = served.column(proposal, "description")
    served.do("ledger.erase_text", "cora", commitment=commitment, reason="Asked for.")
    [after] = forge("history", "--json").json["changes"]

    assert before["after"] == {"title": "Be kind", "text": "To all."}
    assert after["after"] == {"title": "Be kind", "text": None}


def test_hostile_text_steers_no_terminal_from_simulation_queue_or_history(
    forge: Forge, full: House
) -> None:
    bad = "\x1b[2J[red]free[/red] \u202etxt"
    payload = {"recipient": "bob", "amount": "1", "purpose": bad}
    full.do("treasury.deposit", "cora", source="shop", amount="5")
    given = {"type": "treasury_allocation", "payload": payload, "title": bad, "description": bad}
    proposal = queued(full, **given)
    policy = full.open("tara", payload={"text": bad}, title=bad)
    approved(full, policy)
    until(lambda: full.status(policy) == "executed", seconds=60)

    for words in (
        ("proposal", "simulate", proposal),
        ("proposal", "queue"),
        ("proposal", "show", policy),
        ("history",),
        ("joint", "list"),
    ):
        said = forge(*words)
        assert said.status == 0
        assert "\x1b" not in said.out
        assert "\u202e" not in said.out
    assert "[red]free[/red]" in forge("history").out
    assert "[red]free[/red]" in forge("proposal", "queue").out


# Windows


@pytest.mark.usefixtures("served", "narrow")
def test_execution_is_frozen_listed_and_thawed(forge: Forge) -> None:
    assert "neither frozen nor paused" in forge("windows").out
    frozen = forge("freeze", "--as", "gus", "--for", "2d", "--reason", "Holidays.", "--json").json
    begin = "2126-01-01T00:00:00Z"
    far = forge("freeze", "--as", "gus", "--for", "1h", "--from", begin, "--reason", "x")
    assert "WINDOW_INVALID" in far.err
    [listed] = forge("windows", "--json").json
    assert (listed["id"], listed["in_force"], listed["reason"]) == (
        frozen["window"],
        True,
        "Holidays.",
    )
    told = forge("windows").out
    assert f"freeze {frozen['window']}, in force" in told
    assert "imposed by gus: Holidays." in told
    assert max(map(len, told.splitlines())) <= 100

    thaw = ("thaw", frozen["window"], "--reason", "Back.")
    assert "POWER_MISSING" in forge(*thaw, "--as", "tara").err
    assert forge(*thaw, "--as", "gus").status == 0
    assert forge("windows", "--json").json == []
    assert [one["id"] for one in forge("windows", "--all", "--json").json] == [frozen["window"]]


# What takes two people


@pytest.mark.usefixtures("narrow")
def test_two_guardians_quarantine_together_and_one_alone_does_not(
    forge: Forge, full: House
) -> None:
    proposed = forge("joint", "propose", "quarantine", "sam", "--as", "gus", "--reason", "Spam.")
    joint = proposed.out.strip()
    assert "SECOND_PERSON" in forge("joint", "confirm", joint, "--as", "gus").err
    told = forge("joint", "list", "--open").out
    assert "quarantine of sam: PROPOSED" in told
    assert "proposed by gus: Spam." in told
    assert max(map(len, told.splitlines())) <= 100
    assert full.one("SELECT level FROM members WHERE id = 'sam'") == "SANDBOX"

    assert f"{joint} is done" in forge("joint", "confirm", joint, "--as", "gail").out
    assert full.one("SELECT level FROM members WHERE id = 'sam'") == "QUARANTINE"
    shown = forge("joint", "show", joint, "--json").json
    assert (shown["status"], shown["confirmed_by"], shown["reason"]) == ("done", "gail", "Spam.")
    assert "quarantine" in forge("joint", "show", joint).out
    assert forge("joint", "list", "--open", "--json").json == []
    assert [one["id"] for one in forge("joint", "list", "--json").json] == [joint]


@pytest.mark.usefixtures("full")
def test_a_core_seat_waits_and_any_core_member_cancels_it(forge: Forge) -> None:
    reason = ("--reason", "Worthy.")
    joint = forge("joint", "propose", "core_seat", "tara", "--as", "carl", *reason).out.strip()
    confirmed = forge("joint", "confirm", joint, "--as", "cleo")
    assert "is confirmed; due 20" in confirmed.out
    assert "due 20" in forge("joint", "list").out

    assert "POWER_MISSING" in forge("joint", "cancel", joint, "--as", "gus", *reason).err
    assert forge("joint", "cancel", joint, "--as", "cora", *reason).status == 0
    assert forge("joint", "show", joint, "--json").json["status"] == "cancelled"


# Treasury, registers, outbox


def test_what_comes_into_the_treasury_is_shown_and_what_it_pays(forge: Forge, full: House) -> None:
    deposit = ("treasury", "deposit", "100.50", "--source", "shop")
    assert "POWER_MISSING" in forge(*deposit, "--as", "gus").err
    assert forge(*deposit, "--as", "cora").out == "100.5 came in from shop\n"
    payload = {"recipient": "bob", "amount": "40"}
    executed(full, queued(full, type="treasury_allocation", payload=payload))

    assert forge("treasury", "show", "--json").json == [
        {"id": "treasury", "balance": "60.5"},
        {"id": "bob", "balance": "40"},
    ]
    assert "60.5" in forge("treasury", "show").out


def test_what_governance_registered_is_listed_and_its_key_is_a_setting(
    forge: Forge, full: House
) -> None:
    module = {"version": "1.0.0", "owner": "carl", "governs": "All.", "rollback": "Restart."}
    parameter = {
        "klass": "ordinary",
        "type": "integer",
        "description": "How it goes.",
        "default": 3,
        "least": 1,
        "most": 5,
    }
    for kind, name, declaration in (("module", "engine", module), ("parameter", "mood", parameter)):
        payload = {"kind": kind, "name": name, "declaration": declaration}
        executed(full, queued(full, type="registry_extension", payload=payload))

    [listed] = forge("module", "list", "--json").json
    assert {key: listed[key] for key in ("name", *module)} == {"name": "engine", **module}
    assert "Restart." in forge("module", "list").out
    [added] = forge("extension", "list", "--json").json
    assert (added["name"], added["kind"], added["declaration"]) == ("mood", "parameter", parameter)
    assert "How it goes." in forge("extension", "list").out
    assert forge("setting", "get", "mood").out == "3\n"


def test_a_dead_effect_is_listed_and_tried_again_when_a_person_says_so(
    forge: Forge, served: House
) -> None:
    served.sql(
        "INSERT INTO outbox (proposal_id, action, direction, capability, before, after, state,"
        " attempt, message) VALUES ('p-1', 0, 'apply', 'mood', '3', '4', 'dead', 12, 'no answer')"
    )
    [dead] = forge("outbox", "list", "--state", "dead", "--json").json
    assert (dead["effect"], dead["before"], dead["after"]) == ("p-1/0/apply", 3, 4)
    assert "DEAD  mood: 3 → 4" in forge("outbox", "list").out
    assert "dead effects: 1" in forge("doctor").out

    assert forge("outbox", "retry", "p-1/0/apply").status == 0
    assert forge("outbox", "list", "--state", "dead", "--json").json == []
    assert "EFFECT_NOT_DEAD" in forge("outbox", "retry", "p-1/0/apply").err


# Settings and weight


@pytest.mark.usefixtures("served")
def test_a_setting_shows_class_type_bounds_and_orders(forge: Forge) -> None:
    shown = forge("setting", "show", "min_airdrop_amount", "--json").json
    assert (shown["class"], shown["type"]) == ("protocol", "decimal")
    assert (shown["least"], shown["most"]) == (1, 100)
    assert shown["orders"] == ["min_airdrop_amount <= max_airdrop_amount"]
    told = forge("setting", "show", "min_airdrop_amount").out
    assert "fewest coins of an airdrop" in told
    assert "orders  min_airdrop_amount <= max_airdrop_amount" in told
    assert "may be set by  configuration, emergency" in told
    assert forge("setting", "get", "feature.airdrops").out == "true\n"
    assert "UNKNOWN_CAPABILITY" in forge("setting", "show", "min_airdrop").err


@pytest.mark.parametrize(
    ("key", "types"),
    [
        ("rate_limit.CORE", ["configuration", "emergency"]),
        ("feature.airdrops", ["feature_activation"]),
        ("track.routine.quorum", ["governance_rule"]),
    ],
)
@pytest.mark.usefixtures("served")
def test_a_setting_names_what_may_set_it_and_no_empty_row(
    forge: Forge, key: str, types: list[str]
) -> None:
    assert forge("setting", "show", key, "--json").json["may_be_set_by"] == types
    assert not [row for row in forge("setting", "show", key).out.splitlines() if row[-1] == "-"]


@pytest.mark.usefixtures("served", "narrow")
def test_the_list_of_settings_has_a_line_for_each_key(forge: Forge) -> None:
    keys = [row["key"] for row in forge("setting", "list", "--json").json]
    lines = [line for line in forge("setting", "list").out.splitlines() if line.startswith("│")]

    assert [line.split()[1] for line in lines] == keys
    assert max(map(len, lines)) <= 100


def test_the_power_of_a_member_is_explained(forge: Forge, served: House, tmp_path: Path) -> None:
    assert "cora weighs 5 by trust" in forge("member", "power", "cora").out
    file = tmp_path / "holdings"
    file.write_text("tara=10,5\n\nstan=0\n", encoding="utf-8")
    report = ("member", "report-holdings", "coins", f"@{file}", "a=b=1", "--as", "cora")
    served.do("members.admit", "cora", members=[{"id": "a=b"}], source="s")
    assert forge(*report).out == "coins reported what 3 members hold\n"

    told = forge("member", "power", "tara", "--source", "coins").out
    assert "tara weighs 8.5 by balance" in told
    assert "minutes: 5" in told
    assert forge("member", "power", "a=b", "--source", "coins", "--json").json["weight"] == "0.7"
    none = forge("member", "power", "stan", "--source", "coins").out
    assert "no ballot is accepted of them now: VOTER_NOT_IN_ROLL" in none
    proposal = created(forge, "tara", *POLICY, "--electorate", "balance:coins")
    assert forge("vote", proposal, "for", "--as", "tara").status == 0
    on = forge("member", "power", "tara", "--proposal", proposal).out
    assert "frozen at opening" in on


# Genesis, refusals and usage


@pytest.mark.usefixtures("house")
def test_a_sandbox_may_begin_at_a_time_of_its_own_and_production_may_not(forge: Forge) -> None:
    words = ("genesis", "alice:CORE:admin", "--starts-at", "2020-02-29T00:00:00Z")
    assert "NOT_A_SANDBOX" in forge(*words).err
    assert "TIME_INVALID" in forge(*words[:3], "yesterday", "--sandbox").err
    assert forge(*words, "--sandbox").status == 0
    assert forge("clock", "show", "--json").json["now"].startswith("2020-02-29T00:0")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["proposal", "simulate", "p-absent"], "PROPOSAL_UNKNOWN"),
        (["proposal", "simulate", "p\udcffabsent"], "ID_INVALID"),
        (["proposal", "simulate", "--as", "tara", "--type", "wish"], "UNKNOWN_PROPOSAL_TYPE"),
        (["proposal", "simulate", "--as", "nobody", "--type", "policy"], "MEMBER_UNKNOWN"),
        (
            ["proposal", "review", "p-x", "--as", "tara", "--approve", "--comment", "x"],
            "PROPOSAL_UNKNOWN",
        ),
        (["proposal", "sign-off", "p-absent", "--as", "tara"], "PROPOSAL_UNKNOWN"),
        (["proposal", "rollback", "p-absent", "--as", "tara"], "PROPOSAL_UNKNOWN"),
        (["proposal", "retry", "p-absent", "--as", "otto", "--reason", "x"], "PROPOSAL_UNKNOWN"),
        (["history", "--before", "nowhere"], "CURSOR_INVALID"),
        (["history", "--since", "yesterday"], "TIME_INVALID: --since is 'yesterday'; give date, "),
        (["history", "--until", "2027-01-05"], "such as 2027-01-05T12:00:00Z"),
        (
            ["freeze", "--as", "gus", "--for", "1h", "--from", "noon", "--reason", "x"],
            "TIME_INVALID: --from is 'noon'; give date, ",
        ),
        (["history", "--type", "wish"], "UNKNOWN_PROPOSAL_TYPE"),
        (["history", "--proposal", "p-absent"], "PROPOSAL_UNKNOWN"),
        (["history", "--by", "nobody"], "MEMBER_UNKNOWN"),
        (["history", "--by", "rule:execution"], "MEMBER_UNKNOWN"),
        (["history", "--target", "block_reward"], "did you mean setting:block_reward?"),
        (["history", "--target", "setting:block_rewrd"], "did you mean block_reward?"),
        (["history", "--by", "\udcff"], "TEXT_SURROGATE"),
        (["freeze", "--as", "gus", "--for", "15d", "--reason", "x"], "WINDOW_INVALID"),
        (["thaw", "w-absent", "--as", "gus", "--reason", "x"], "WINDOW_UNKNOWN"),
        (
            ["joint", "propose", "quarantine", "sam", "--as", "tara", "--reason", "x"],
            "POWER_MISSING",
        ),
        (["joint", "confirm", "j-absent", "--as", "gus"], "JOINT_UNKNOWN"),
        (["joint", "cancel", "j-absent", "--as", "gus", "--reason", "x"], "JOINT_UNKNOWN"),
        (["joint", "show", "j-absent"], "JOINT_UNKNOWN"),
        (["treasury", "deposit", "0", "--source", "s", "--as", "cora"], "AMOUNT_NOT_POSITIVE"),
        (["treasury", "deposit", "NaN", "--source", "s", "--as", "cora"], "NUMBER_INVALID"),
        (["member", "power", "nobody"], "MEMBER_UNKNOWN"),
        (["member", "power", "tara", "--source", "nowhere"], "HOLDINGS_UNKNOWN"),
        (["member", "report-holdings", "s", "tara=-1", "--as", "cora"], "NUMBER_INVALID"),
        (["outbox", "retry", "p-1/0/apply"], "EFFECT_NOT_DEAD"),
    ],
)
@pytest.mark.usefixtures("served")
def test_refusal_is_one_line_with_its_code_and_status_1(
    forge: Forge, words: list[str], code: str
) -> None:
    said = forge(*words)

    assert said.status == 1
    assert code in said.err
    assert said.err.count("\n") == 1
    assert not said.out


@pytest.mark.parametrize(
    "words",
    [
        ["proposal", "simulate"],
        ["proposal", "simulate", "--type", "policy"],
        ["proposal", "simulate", "p-1", "--type", "policy", "--as", "ann"],
        ["proposal", "simulate", "--type", "policy", "--as", "ann", "--payload", "{"],
        ["proposal", "review", "p-1", "--as", "ann", "--comment", "no verdict"],
        ["proposal", "review", "p-1", "--as", "ann", "--approve"],
        ["proposal", "queue", "--limit", "0"],
        ["proposal", "wait", "p-1", "happy"],
        ["proposal", "wait", "p-1", "executed", "--timeout", "soon"],
        ["history", "--limit", "1001"],
        ["history", "--limit", "-1"],
        ["freeze", "--as", "ann", "--for", "soon", "--reason", "x"],
        ["freeze", "--as", "ann", "--for", "1d"],
        ["joint", "propose", "coup", "sam", "--as", "ann", "--reason", "x"],
        ["member", "power", "ann", "--proposal", "p-1", "--source", "s"],
        ["member", "report-holdings", "s", "--as", "ann"],
        ["member", "report-holdings", "s", "ann", "--as", "ann"],
        ["member", "report-holdings", "s", "ann=1,2,3,4,5", "--as", "ann"],
        ["member", "report-holdings", "s", "@absent", "--as", "ann"],
        ["outbox", "list", "--state", "lost"],
    ],
)
def test_wrong_usage_is_status_2(
    forge: Forge, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    said = forge(*words)

    assert said.status == 2
    assert said.err
    assert not said.out


@pytest.mark.parametrize(
    "words",
    [
        ["proposal", "queue"],
        ["history"],
        ["windows"],
        ["joint", "list"],
        ["treasury", "show"],
        ["module", "list"],
        ["extension", "list"],
        ["outbox", "list"],
    ],
)
@pytest.mark.usefixtures("house")
def test_lists_of_an_empty_database_are_empty_and_no_error(forge: Forge, words: list[str]) -> None:
    said = forge(*words)

    assert (said.status, said.err) == (0, "")
    assert said.out
    assert forge(*words, "--json").json in ([], {"changes": [], "next": None})
