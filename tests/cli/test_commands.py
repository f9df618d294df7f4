"""The commands against a real database, served by a worker: what they do, print and refuse."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Forge
from tests.core.factories import House
from tests.support import until

POLICY = ["--type", "policy", "--title", "Be kind", "--description", "To all."]


@pytest.fixture
def opened(forge: Forge, served: House) -> str:
    """A policy proposal of tara's that is open."""
    said = forge("proposal", "create", "--as", "tara", *POLICY, "--activate", "--json")
    assert said.status == 0, said.err
    proposal = str(said.json["proposal_id"])
    assert served.status(proposal) == "active"
    return proposal


def close(forge: Forge, house: House, proposal: str) -> None:
    assert forge("clock", "advance", "8d", "--as", "cora").status == 0
    until(lambda: house.status(proposal) not in ("active", "queued"), seconds=60)


def test_proposal_goes_from_draft_to_policy_in_force(
    forge: Forge, served: House, opened: str
) -> None:
    for member, choice in (("cora", "for"), ("gus", "against"), ("tara", "for")):
        assert forge("vote", opened, choice, "--as", member).status == 0
    close(forge, served, opened)

    shown = forge("proposal", "show", opened, "--json").json
    assert shown["status"] == "executed"
    assert shown["decision"]["outcome"] == "approved"
    assert [entry["kind"] for entry in shown["history"]][:2] == [
        "proposal.created",
        "proposal.activated",
    ]
    [policy] = forge("policy", "list", "--json").json
    assert policy["proposal_id"] == opened
    assert policy["text"] == "To all."


def test_shown_proposal_explains_its_decision_check_by_check(
    forge: Forge, served: House, opened: str
) -> None:
    assert forge("vote", opened, "for", "--as", "stan").status == 0
    close(forge, served, opened)

    said = forge("proposal", "show", opened)

    assert said.status == 0
    assert "REJECTED" in said.out
    assert "✗ taking part" in said.out
    assert "1 of 15.5" in said.out
    assert "required >= 0.3" in said.out
    assert "✓ for, of what was decided" in said.out
    assert "voting closes" in said.out
    assert "proposal.decided" in said.out


@pytest.mark.usefixtures("served")
def test_hostile_text_neither_steers_the_terminal_nor_the_markup(forge: Forge) -> None:
    title = "\x1b[2J[red]free[/red] \u202etxt"
    words = ["--type", "policy", "--title", title, "--description", "[/bold] \x1b]0;x\x07"]
    created = forge("proposal", "create", "--as", "tara", *words)
    assert created.status == 0, created.err

    said = forge("proposal", "show", created.out.strip())

    assert said.status == 0
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out
    assert "[red]free[/red]" in said.out
    assert "[red]free[/red]" in forge("proposal", "list").out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["proposal", "show", "p-absent"], "PROPOSAL_UNKNOWN"),
        (["proposal", "activate", "p-absent", "--as", "tara"], "PROPOSAL_UNKNOWN"),
        (["proposal", "create", "--as", "stan", *POLICY], "TRUST_TOO_LOW"),
        (["proposal", "create", "--as", "nobody", *POLICY], "MEMBER_UNKNOWN"),
        (["proposal", "create", "--as", "tara", *POLICY, "--payload", "[]"], "PAYLOAD"),
        (["vote", "p-absent", "for", "--as", "tara"], "PROPOSAL_UNKNOWN"),
        (["member", "show", "nobody"], "MEMBER_UNKNOWN"),
        (["member", "add", "new", "--as", "stan"], "POWER_MISSING"),
        (["member", "release", "stan", "--as", "otto", "--reason", "x"], "NOT_RESTRICTED"),
        (["delegate", "set", "tara", "--as", "tara"], "DELEGATION_TO_SELF"),
        (["delegate", "revoke", "--as", "tara"], "NO_DELEGATION"),
        (["setting", "get", "rate_limit.core"], "UNKNOWN_CAPABILITY"),
        (["jobs", "show", "999999"], "JOB_UNKNOWN"),
        (["clock", "advance", "9d", "--as", "stan"], "POWER_MISSING"),
        (["genesis", "alice:CORE"], "ALREADY_FOUNDED"),
        (["genesis", "alice:KING"], "TRUST_LEVEL_UNKNOWN"),
        (["genesis", "alice:CORE:king"], "ROLE_UNKNOWN"),
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


@pytest.mark.usefixtures("served")
def test_proposal_is_cancelled_with_a_reason(forge: Forge, opened: str) -> None:
    assert forge("proposal", "cancel", opened, "--as", "tara", "--reason", "a slip").status == 0

    assert "CANCELLED" in forge("proposal", "show", opened).out
    [listed] = forge("proposal", "list", "--status", "cancelled", "--json").json
    assert listed["id"] == opened


@pytest.mark.usefixtures("served")
def test_members_are_added_shown_restricted_and_released(forge: Forge) -> None:
    added = forge("member", "add", "ann", "bob", "--as", "cora", "--level", "STANDARD")
    assert added.status == 0, added.err
    restrict = ["member", "restrict", "ann", "--as", "otto", "--reason", "flood", "--for", "2h"]
    assert forge(*restrict).status == 0
    assert "flood" in forge("member", "show", "ann").out

    assert forge("member", "release", "ann", "--as", "otto", "--reason", "over").status == 0

    shown = forge("member", "show", "ann", "--json").json
    assert shown["level"] == "STANDARD"
    assert shown["restrictions"] == []
    listed = forge("member", "list", "--level", "STANDARD", "--json").json
    assert {row["id"] for row in listed} == {"ann", "bob", "stan"}


@pytest.mark.usefixtures("served")
def test_delegation_is_set_shown_and_revoked(forge: Forge) -> None:
    setting = ["delegate", "set", "tara", "--as", "stan", "--scope", "policy", "--for", "30d"]
    assert forge(*setting).status == 0
    [edge] = forge("delegate", "show", "stan", "--json").json
    assert (edge["delegator"], edge["scope"], edge["delegate"]) == ("stan", "policy", "tara")
    assert edge["expires_at"] is not None

    assert forge("delegate", "revoke", "--as", "stan", "--scope", "policy").status == 0
    assert forge("delegate", "show", "stan", "--json").json == []


def test_setting_shows_its_present_value_and_what_changed_it(forge: Forge, served: House) -> None:
    assert forge("setting", "get", "rate_limit.STANDARD").out.strip() == "1000"

    payload = '{"key": "rate_limit.STANDARD", "new_value": 900}'
    words = ["--type", "configuration", "--title", "Slower", "--description", "Less."]
    said = forge(
        "proposal", "create", "--as", "tara", *words, "--payload", payload, "--activate", "--json"
    )
    proposal = said.json["proposal_id"]
    for member in ("cora", "gus"):
        forge("vote", proposal, "for", "--as", member)
    close(forge, served, proposal)

    described = forge("setting", "get", "rate_limit.STANDARD", "--json").json
    assert described["value"] == 900
    assert described["default"] == 1000
    assert described["changed_by"] == proposal
    assert described in forge("setting", "list", "--json").json


@pytest.mark.usefixtures("served")
def test_clock_of_a_sandbox_moves_forward_and_says_so(forge: Forge) -> None:
    assert forge("clock", "advance", "14d", "--as", "cora").status == 0

    assert forge("clock", "show", "--json").json["ahead"] == 14 * 86_400
    assert "14 days" in forge("clock", "show").out


@pytest.mark.usefixtures("served")
def test_jobs_are_listed_and_shown(forge: Forge, opened: str) -> None:
    [created] = forge("jobs", "list", "--kind", "proposals.create", "--json").json
    shown = forge("jobs", "show", created["id"], "--json").json

    assert shown["state"] == "done"
    assert shown["result"] == {"proposal_id": opened}
    assert "no job was given up" in forge("jobs", "dead").out


def test_dead_job_is_tried_again_when_a_person_says_so(forge: Forge, served: House) -> None:
    served.sql("INSERT INTO jobs (kind, key, once, payload, actor, state, finished_at) VALUES "
               "('proposals.close', 'close:x', true, '{}', 'system', 'dead', now())")  # fmt: skip
    [dead] = forge("jobs", "dead", "--json").json["jobs"]

    assert forge("jobs", "retry", dead["id"]).status == 0
    assert forge("jobs", "show", dead["id"], "--json").json["state"] != "dead"


@pytest.mark.usefixtures("house")
def test_genesis_founds_once_with_levels_and_roles(forge: Forge) -> None:
    said = forge("genesis", "a:b:CORE:admin,guardian", "carol:STANDARD", "--sandbox")
    assert said.status == 0, said.err

    assert forge("member", "show", "a:b", "--json").json["roles"] == ["admin", "guardian"]
    assert forge("member", "show", "carol", "--json").json["level"] == "STANDARD"
    assert forge("clock", "show", "--json").json["sandbox"] is True


@pytest.mark.parametrize(
    "words",
    [
        ["proposal", "list"],
        ["policy", "list"],
        ["overlay", "list"],
        ["setting", "list"],
        ["member", "list"],
        ["jobs", "list"],
    ],
)
@pytest.mark.usefixtures("house")
def test_lists_of_an_empty_database_are_empty_and_no_error(forge: Forge, words: list[str]) -> None:
    said = forge(*words)

    assert (said.status, said.err) == (0, "")
    assert said.out
