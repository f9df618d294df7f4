"""What the rules look for in texts: each with what it is, and with honest words near it."""

from __future__ import annotations

import pytest

from forge_core.advisory.constitution import PACKAGED
from forge_core.advisory.matter import Change, Matter
from forge_core.advisory.rules import analyse

PAYS = ({"recipient": "stan", "amount": "10", "purpose": "See the text."},)
RUNS = ({"overlay": "mail", "current_version": "1.0.0", "new_version": "1.1.0"},)
LIMITS = {"max_execution_ms": 800, "max_fuel": 1, "max_memory": 1}
NEW = ({"overlay": "polls", "version": "1.0.0", **LIMITS},)
FALLS = ({"member": "gus", "current_trust": "TRUSTED", "new_trust": "STANDARD"},)


def found(type_: str, text: str, actions=(), changes=(), proposer: str = "tara") -> set[str]:
    """The codes of what is found in a proposal with that text."""
    matter = Matter(
        id="p-1", type=type_, track="routine", classes=frozenset(), proposer=proposer,
        title="A change", description=text, reason="Because it is needed.", actions=actions,
        changes=changes, treasury=10_000,
    )  # fmt: skip
    return {str(risk.code) for risk in analyse(matter, PACKAGED).risks}


@pytest.mark.parametrize(
    "text",
    [
        "Postmortems older than 60 days are thrown out, backups included.",
        "Minutes are discarded each spring. No archive, no nostalgia.",
        "All reports are deleted every quarter, including all backups.",
        "Old records are disposed of and the reports destroyed.",
        "A green run counts as reviewed.",
        "Sign-offs are generated from the ballots.",
        "What the script decides is not subject to manual override.",
        "Small changes are automatically approved.",
        "Guardians abstain from freezing while it runs.",
    ],
)
def test_policies_that_take_something_away(text):
    assert "taken_away" in found("policy", text)


@pytest.mark.parametrize(
    "text",
    [
        "Old minutes are scanned and the paper is thrown away.",
        "Logs with addresses are destroyed after 30 days; totals are kept without limit.",
        "Reports that nobody reads are thrown out, and copies are kept in the archive.",
        "Checks run automatically before reviewers begin.",
        "Guardians publish why they froze something.",
        "Each review counts.",
    ],
)
def test_policies_that_take_nothing_away(text):
    assert "taken_away" not in found("policy", text)


@pytest.mark.parametrize(
    "text",
    [
        "30 coins to each member who votes yes.",
        "A bonus for every yes ballot.",
        "It goes to everybody whose ballot on it is a yes.",
        "A prize for those who voted against the other one.",
        "Thanks to our yes-voters.",
    ],
)
def test_payments_for_ballots(text):
    assert "votes_bought" in found("treasury_allocation", text, PAYS)
    assert "votes_bought" not in found("policy", text), "nobody is paid"


@pytest.mark.parametrize(
    "text",
    ["It pays those who count the votes.", "For every member who took part, whatever they chose."],
)
def test_payments_that_buy_no_ballots(text):
    assert "votes_bought" not in found("treasury_allocation", text, PAYS)


@pytest.mark.parametrize(
    "text",
    [
        "Each message is mirrored to our integration partner.",
        "It sends members' session tokens to an external endpoint.",
        "Passwords are shared with the vendor.",
    ],
)
def test_overlays_that_give_away_what_is_entrusted(text):
    assert "data_leaves" in found("overlay_update", text, RUNS)


@pytest.mark.parametrize(
    "text",
    [
        "It sends mail to members, as before.",
        "No message is sent to a third party.",
        "An outside firm has read the code; messages are sent as before, and nothing is shared.",
    ],
)
def test_overlays_that_keep_it(text):
    assert "data_leaves" not in found("overlay_update", text, RUNS)


def test_code_that_nobody_may_read():
    assert "unseen_code" in found("overlay_update", "The source is not available.", RUNS)
    assert "unseen_code" in found("overlay_update", "It is closed-source.", RUNS)
    assert "unseen_code" not in found("overlay_update", "The source is public.", RUNS)


def test_limits_that_are_promised_otherwise():
    assert "text_slips" in found("overlay_registration", "A call has at most 300 ms.", NEW)
    assert "text_slips" not in found("overlay_registration", "A call has at most 800 ms.", NEW)
    assert "text_slips" not in found("overlay_registration", "It took 40 ms in tests.", NEW)


def test_whoever_falls_is_heard_before():
    reason = "Eight of nine reviews were not answered, and two proposals waited for three weeks. "
    assert "unheard" in found("trust_adjustment", reason + "I have not talked to him.", FALLS)
    assert "unheard" not in found("trust_adjustment", reason + "He agrees.", FALLS)


def allowing(*members: str) -> tuple[Change, ...]:
    allowed = [{"member": member} for member in members]
    return (
        Change("setting:immune.allowlist", {"allowed": []}, {"allowed": allowed},
               key="immune.allowlist", klass="rule"),
    )  # fmt: skip


def test_who_exempts_themselves_from_the_immune_system():
    text = "Fewer false alarms at night for those who export."
    assert "own_exemption" in found("governance_rule", text, changes=allowing("ada", "tara"))
    assert "own_exemption" not in found("governance_rule", text, changes=allowing("ada"))


@pytest.mark.parametrize(
    ("after", "severity"), [(8, "low"), (12, "low"), (7, "medium"), (40, "medium"), ("x", "medium")]
)
def test_a_slight_step_of_an_immune_rule_weighs_little(after, severity):
    before = {"mode": "enforce", "failures": 10}
    change = Change("setting:immune.auth.guessing", before, before | {"failures": after},
                    key="immune.auth.guessing", klass="rule")  # fmt: skip
    matter = Matter(
        id="p-1", type="governance_rule", track="protected", classes=frozenset({"rule"}),
        proposer="cora", title="T", description="D", reason="R", actions=(), changes=(change,),
    )  # fmt: skip
    (risk,) = [one for one in analyse(matter, PACKAGED).risks if one.code == "immune_terms"]

    assert risk.severity == severity
