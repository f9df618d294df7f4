"""What the immune system found and did, read by commands, explained, and overruled by people."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forge_core.actions.payloads import parse_payload
from forge_core.immune.detectors.addresses import normalised
from forge_core.immune.rulebook import GOVERNED
from forge_core.members.genesis import Founder
from forge_core.members.levels import Role, TrustLevel
from forge_core.wiring import CATALOGUE
from forge_workers.cli import immune, output
from tests.cli.conftest import Forge, Said, working
from tests.core.factories import FOUNDERS, House, found_house
from tests.core.immunity import SECOND, Runtime

PAGE = Path(__file__).parents[2] / "docs" / "immune.md"
OPERATORS = (*FOUNDERS, Founder("olga", TrustLevel.TRUSTED, (Role.OPERATOR,)))
BY_OTTO = ("--as", "otto", "--reason", "because")
MINUTE = timedelta(minutes=1)
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paper of 100 columns."""
    monkeypatch.setattr(output, "_WIDTH_OF_A_FILE", 100)


@pytest.fixture
def runtime(house: House) -> Runtime:
    """Ten overlays, and nobody working: a test performs what it calls for."""
    found_house(house, OPERATORS)
    runtime = Runtime(house)
    runtime.register("scout", *(f"o{number}" for number in range(9)))
    return runtime


@pytest.fixture
def attended(runtime: Runtime) -> Iterator[Runtime]:
    """The same with a worker that carries out commands."""
    with working(runtime.house):
        yield runtime


def alike(said: Said) -> list[str]:
    """The lines, without what differs from run to run."""
    text = re.sub(r"for \d+ s$", "for N s", re.sub(TIME, "TIME", said.out), flags=re.MULTILINE)
    return re.sub(r"\b([rai])-[0-9a-f]{30}\b", r"\1-ID", text).splitlines()


def only(runtime: Runtime) -> str:
    (response,) = runtime.responses()
    return str(response["id"])


def spoil(runtime: Runtime, evidence: Mapping[str, Any]) -> None:
    """Change the evidence of every response, past the ledger."""
    runtime.house.sql(
        "UPDATE immune_responses SET evidence = evidence || CAST(%s AS jsonb)", json.dumps(evidence)
    )


# At a glance


@pytest.mark.usefixtures("runtime")
def test_a_quiet_house_says_so(forge: Forge) -> None:
    assert forge("immune", "status").out.splitlines() == [
        "The immune system acts by itself; of its rules 12 enforce, 3 observe.",
        "Overlays: 10 active, none contained.",
        "Nobody is blocked or restricted.",
        "No incident is open, and nothing waits.",
        "No event came in within the last hour.",
    ]


@pytest.mark.usefixtures("house")
def test_before_genesis_there_is_nothing_to_see(forge: Forge) -> None:
    assert "No overlay is registered." in forge("immune", "status").out
    assert forge("immune", "responses").out == "there is no such response in force\n"
    assert forge("immune", "pending").out == "nothing waits for people\n"
    assert forge("immune", "incidents").out == "no incident is open\n"


def test_who_is_contained_what_pauses_and_what_waits(forge: Forge, runtime: Runtime) -> None:
    runtime.register("kernel", trust="CORE")
    runtime.tell(runtime.calls("kernel", "f" * 10))
    runtime.tell(runtime.attempts("192.0.2.1", 12))
    for overlay in ("scout", "o1", "o2", "stranger"):
        runtime.tell(runtime.calls(overlay, "f" * 10))
    runtime.record(runtime.calls("o3", "f" * 10))

    found = "overlay.failures_in_a_row: the last 10 calls failed, one after the other"
    said = "\n".join(alike(forge("immune", "status")))
    assert said.startswith(
        "Automatic action PAUSES until TIME.\nOverlays: 9 active, 2 quarantined\n"
    )
    for part in (
        "    r-ID  the last 10 calls failed, one after the other",
        "In force: 1 address blocked\n  address 192.0.2.1 blocked until TIME",
        f"Found, and nobody touched: overlay kernel\n  {found}",
        "is never touched automatically)\n    r-ID",
        "Open incident, systemic: overlays, by system\n  i-ID; `forge immune resume` ends",
        "Waits for two operators: quarantine of overlay kernel\n  a-ID, lapses TIME",
        "    `forge immune confirm a-ID`; until then its calls go through",
        "Not judged yet: 1 event, the oldest for N s",
        "Told of overlays that are not registered, and never answered: stranger",
        "  overlay.invoked                   0               60",
        "  auth.attempted                    0               12",
    ):
        assert part in said
    assert "  o1 quarantined since TIME until TIME" in alike(forge("immune", "status"))
    status = forge("immune", "status", "--json").json
    assert status["pause"]["kind"] == "systemic"
    assert status["leases"] == {"blocked": 1, "quarantined": 2}
    assert status["unjudged"]["waiting"] == 1


@pytest.mark.parametrize(("mode", "says"), [("observe", "only OBSERVES"), ("off", "is OFF")])
def test_a_mode_for_all_is_said_first(forge: Forge, runtime: Runtime, mode: str, says: str) -> None:
    runtime.set("immune.responses", {"mode": mode})

    assert says in forge("immune", "status").out.splitlines()[0]


# Responses


def test_responses_in_force_newest_first(forge: Forge, runtime: Runtime) -> None:
    runtime.tell(runtime.calls("scout", "ssss" + "ffffff"))
    runtime.tell(runtime.attempts("2001:db8::5", 10))

    assert alike(forge("immune", "responses")) == [
        "BLOCK  address 2001:db8::/64: until TIME",
        "  r-ID  since TIME",
        "  auth.guessing: 10 attempts failed within 5 minutes",
        "QUARANTINE  overlay scout: until TIME, then on probation",
        "  r-ID  since TIME",
        "  overlay.failure_rate: 60.0 % of the last 10 calls failed (95 %: 0.3127 to 0.8318)",
    ]


@pytest.mark.parametrize(
    ("words", "subjects"),
    [
        ((), ["2001:db8::/64", "scout"]),
        (("--all",), ["2001:db8::/64", "scout", "192.0.2.1"]),
        (("--subject-type", "overlay"), ["scout"]),
        (("--subject", "scout"), ["scout"]),
        (("--subject", "2001:DB8:0::9"), ["2001:db8::/64"]),
        (("--subject", "::ffff:192.0.2.1", "--all"), ["192.0.2.1"]),
        (("--rung", "quarantine"), ["scout"]),
        (("--limit", "1"), ["2001:db8::/64"]),
        (("--subject", "nobody"), []),
    ],
)
def test_responses_are_chosen(forge: Forge, runtime: Runtime, words: Any, subjects: Any) -> None:
    runtime.tell(runtime.attempts("192.0.2.1", 10))
    runtime.time_passes(timedelta(hours=2))
    runtime.start += timedelta(minutes=20)
    runtime.tell(runtime.calls("scout", "f" * 10))
    runtime.tell(runtime.attempts("2001:db8::5", 10))

    listed = forge("immune", "responses", *words, "--json").json
    assert [one["subject"] for one in listed] == subjects


def test_an_erased_address_is_nobodys(forge: Forge, runtime: Runtime) -> None:
    runtime.tell(runtime.attempts("192.0.2.1", 10))
    runtime.house.sql("DELETE FROM known_addresses")

    assert "BLOCK  address (erased): until" in forge("immune", "responses").out
    assert "BLOCK  address (erased): until" in forge("immune", "explain", only(runtime)).out


# Explaining


def test_an_explanation_goes_from_the_evidence_to_the_release(
    forge: Forge, runtime: Runtime
) -> None:
    runtime.tell(runtime.calls("scout", "ssss" + "ffffff"))
    runtime.time_passes(2 * MINUTE)
    runtime.go_on()
    now = runtime.house.one("SELECT clock_timestamp()")
    runtime.tell([runtime.call("scout", "s", at=now + n * SECOND / 100) for n in range(4)])
    runtime.go_on()

    said = forge("immune", "explain", only(runtime))
    assert said.status == 0
    assert "  events such as runtime" in said.out
    assert [line for line in alike(said) if not re.search(r"e\d{7}", line)] == [
        "QUARANTINE  overlay scout: ended TIME by system",
        "  r-ID  since TIME",
        "Found by overlay.failure_rate, version 1",
        "  warning: 60.0 % of the last 10 calls failed (95 %: 0.3127 to 0.8318)",
        "  from TIME until TIME",
        "  counted: calls=10, exhausted=0, failed=6, in_a_row=6, slow=0",
        "  terms of the rule then: least_calls=10, rate=0.5",
        "Answered with quarantine, as the rule says",
        "Afterwards",
        "  TIME  overlay scout is quarantined until TIME",
        "  TIME  overlay scout is on probation",
        "  TIME  overlay scout is active again, after 4 calls on probation, 0 failed",
        "  TIME  this response was ended",
        "Applied to this evidence again, the rule comes to the same verdict.",
    ]


def test_an_explanation_says_why_it_went_no_further_and_who_was_asked(
    forge: Forge, runtime: Runtime
) -> None:
    runtime.register("kernel", trust="CORE")
    runtime.tell(runtime.calls("kernel", "f" * 10))
    lines = alike(forge("immune", "explain", only(runtime)))

    assert "Answered with warn and no more: CORE is never touched automatically" in lines
    assert "Asked of people: quarantine of overlay kernel (open)" in lines


def test_an_explanation_names_the_ladder_and_later_answers(forge: Forge, runtime: Runtime) -> None:
    runtime.register("slow", max_execution_ms=100)
    runtime.tell(runtime.calls("slow", "s" * 12, execution_ms=101))
    first = only(runtime)
    runtime.time_passes(11 * MINUTE)
    runtime.tell(runtime.calls("slow", "s", execution_ms=101))
    lines = alike(forge("immune", "explain", first))

    assert "Answered with warn, on the ladder warn, then throttle" in lines
    assert "  TIME  answered again, with throttle: r-ID" in lines


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        (
            {"measures": {"calls": 10, "failed": 5}},
            "on this evidence overlay.failure_rate finds nothing; its version is the same, 1",
        ),
        (
            {"says": "60 of 100", "version": 0},
            "to 0.8318)'; the evidence is of version 0, and the rule is at version 1 now",
        ),
        ({"measures": {}, "version": 0}, "finds nothing; the evidence is of version 0"),
    ],
)
def test_another_verdict_is_status_1(
    forge: Forge, runtime: Runtime, evidence: Any, says: str
) -> None:
    runtime.tell(runtime.calls("scout", "ssss" + "ffffff"))
    spoil(runtime, evidence)

    said = forge("immune", "explain", only(runtime))
    assert said.status == 1
    assert said.err.startswith("NOT the same verdict: ")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert "the same verdict" not in said.out
    as_json = forge("immune", "explain", only(runtime), "--json")
    assert (as_json.status, as_json.json["replayed"]["holds"]) == (1, False)


def test_a_rule_that_is_gone_cannot_be_replayed(forge: Forge, runtime: Runtime) -> None:
    runtime.tell(runtime.calls("scout", "f" * 10))
    spoil(runtime, {"rule": "overlay.gone"})
    runtime.house.sql("UPDATE immune_responses SET rule = 'overlay.gone'")

    said = forge("immune", "explain", only(runtime))
    assert (said.status, "there is no rule overlay.gone any more" in said.err) == (1, True)


# Rules and replays


def test_rules_show_what_was_changed_and_the_mode_that_counts(
    forge: Forge, runtime: Runtime
) -> None:
    runtime.set("immune.overlay.failure_rate", {"rate": "0.4"})
    runtime.set("immune.auth.guessing", {"mode": "off"})
    runtime.set("immune.responses", {"mode": "observe"})
    lines = forge("immune", "rules").out.splitlines()

    assert lines[0] == "immune.responses: OBSERVE"
    assert "immune.allowlist" in lines
    assert "immune.overlay.failure_rate: OBSERVE (set to enforce), answers with quarantine" in lines
    assert "  rate=0.4 (default 0.5), least_calls=10" in lines
    assert "immune.auth.guessing: OFF, answers with block" in lines
    listed = {one["key"]: one for one in forge("immune", "rules", "--json").json}
    assert listed["immune.auth.guessing"]["terms"] == {"failures": {"value": 10, "default": 10}}


def test_a_replay_tells_what_other_terms_would_have_found(forge: Forge, runtime: Runtime) -> None:
    runtime.record(runtime.calls("scout", "ssss" + "ffffff"))
    runtime.record(runtime.calls("o1", "ssssss" + "ffff"))
    words = ("immune", "replay", "--rule", "overlay.failure_rate")

    assert alike(forge(*words, "--set", "rate=0.3"))[:-2] == [
        "overlay.failure_rate since TIME, from the summaries",
        "  as it is set now (least_calls=10, mode=enforce, rate=0.5): 1 finding about 1 subject",
        "  with rate=0.3: 2 findings about 2 subjects",
        "  No longer found: nobody",
        "  Newly found: o1",
        "Found most often, now → changed",
        "  scout: 1 → 1; first: 60.0 % of the last 10 calls failed (95 %: 0.3127 to 0.8318)",
        "  o1: 0 → 1; first: 40.0 % of the last 10 calls failed (95 %: 0.1682 to 0.6873)",
    ]
    assert "this is close, and not exact" in forge(*words).out
    found = forge(*words, "--set", "mode=off", "--json").json
    assert (found["now"]["findings"], found["changed"]["findings"]) == (1, 0)
    assert found["only_now"] == ["scout"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["x"], 1, "RULE_UNKNOWN"),
        (["auth.spraying"], 1, "RULE_NOT_REPLAYED"),
        (["overlay.failure_rate", "--set", "rate=3"], 1, "0.05 to 0.99 is allowed"),
        (["overlay.failure_rate", "--set", "rte=0.4"], 1, "has: mode, rate, least_calls"),
        (["overlay.failure_rate", "--set", "least_calls=1e9"], 1, "must be a valid integer"),
        (["overlay.failure_rate", "--set", "rate"], 2, "TERM=VALUE"),
        (["overlay.failure_rate", "--set", "rate=0.3", "--set", "rate=0.4"], 2, "once"),
        (["overlay.failure_rate", "--days", "9"], 2, "--days"),
    ],
)
@pytest.mark.usefixtures("runtime")
def test_what_cannot_be_replayed_is_refused_by_name(
    forge: Forge, words: list[str], status: int, says: str
) -> None:
    said = forge("immune", "replay", "--rule", *words)

    assert said.status == status
    assert says in said.err
    assert not said.out


# By hand


def test_an_overlay_is_quarantined_held_and_released(forge: Forge, attended: Runtime) -> None:
    said = forge("immune", "quarantine", "scout", *BY_OTTO)
    assert alike(said) == ["overlay scout is quarantined until TIME, then on probation"]
    assert attended.stage("scout") == "quarantined"
    said = forge("immune", "hold", "--overlay", "scout", *BY_OTTO)
    assert alike(said) == ["overlay scout is held until somebody releases it"]
    assert "scout held since" in forge("immune", "status").out
    listed = alike(forge("immune", "responses", "--rung", "hold"))
    assert listed[0] == "HOLD  overlay scout: until somebody releases it"
    assert listed[2] == "  by otto: because"

    said = forge("immune", "release", "--overlay", "scout", *BY_OTTO)
    assert "is let through again; what came before counts no more" in said.out
    assert attended.stage("scout") == "active"
    explained = forge("immune", "explain", attended.responses("hold")[0]["id"])
    assert explained.status == 0
    assert "Imposed by otto: because" in explained.out
    assert "  TIME  this response was ended, by otto: because" in alike(explained)
    assert "  TIME  overlay scout is active again, by otto" in alike(explained)


def test_a_member_is_held_for_a_time_and_released(forge: Forge, attended: Runtime) -> None:
    said = forge("immune", "hold", "--member", "stan", "--for", "90m", *BY_OTTO)
    assert alike(said) == ["member stan gives no new commands until TIME"]
    assert attended.leases() == {("member", "stan"): "restricted"}
    assert "In force: 1 member restricted" in forge("immune", "status").out

    said = forge("immune", "release", "--member", "stan", *BY_OTTO)
    assert said.out == "member stan is no longer restricted\n"
    assert attended.leases() == {}


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8:1:2:3::4"])
def test_an_address_is_blocked_and_free_again(
    forge: Forge, attended: Runtime, address: str
) -> None:
    counted = normalised(address)
    free = f"{counted} is no longer blocked; what came before counts no more\n"

    said = forge("immune", "block", address, "--for", "2h", *BY_OTTO)
    assert alike(said) == [f"{counted} is blocked until TIME"]
    assert attended.leases() == {("address", counted): "blocked"}
    assert forge("immune", "unblock", address, *BY_OTTO).out == free
    assert forge("immune", "block", address, *BY_OTTO).status == 0
    assert forge("immune", "release", "--address", address, *BY_OTTO).out == free
    assert attended.leases() == {}


@pytest.mark.usefixtures("attended")
def test_automatic_action_is_halted_and_goes_on(forge: Forge) -> None:
    said = forge("immune", "halt", "--for", "30m", *BY_OTTO)
    assert "nothing is done automatically until" in said.out
    assert "PAUSES until" in forge("immune", "status").out
    assert "Open incident, halt: immune, because, by otto" in forge("immune", "status").out
    assert forge("immune", "incidents", "--json").json[0]["reason"] == "because"

    said = forge("immune", "resume", *BY_OTTO)
    assert said.out == "nothing pauses the immune system any more\n"
    assert forge("immune", "incidents").out == "no incident is open\n"
    assert alike(forge("immune", "incidents", "--all"))[-1] == "  closed TIME by otto"
    assert "NOT_HALTED" in forge("immune", "resume", *BY_OTTO).err


def test_what_core_is_threatened_with_takes_two(forge: Forge, attended: Runtime) -> None:
    attended.register("kernel", trust="CORE")
    attended.record(attended.calls("kernel", "f" * 10))
    attended.house.settle()
    [action] = forge("immune", "pending", "--json").json

    said = forge("immune", "confirm", action["id"], "--as", "otto")
    assert alike(said) == [
        "quarantine of overlay kernel: confirmed by one; a second operator has until TIME"
    ]
    assert "CONFIRMED_ALREADY" in forge("immune", "confirm", action["id"], "--as", "otto").err
    assert f"{action['id']}, confirmed by otto, lapses" in forge("immune", "status").out
    said = forge("immune", "confirm", action["id"], "--as", "olga")
    assert said.out == "quarantine of overlay kernel is done, confirmed by otto and olga\n"
    assert attended.stage("kernel") == "quarantined"
    assert (
        alike(forge("immune", "pending", "--all"))[0] == "CONFIRMED  quarantine of overlay kernel"
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["explain", "r-absent"], "RESPONSE_UNKNOWN"),
        (["confirm", "a-absent", "--as", "otto"], "ACTION_UNKNOWN"),
        (["quarantine", "ghost", *BY_OTTO], "OVERLAY_UNKNOWN"),
        (["quarantine", "scout", "--as", "tara", "--reason", "x"], "POWER_MISSING"),
        (["quarantine", "scout", "--as", "otto", "--reason", " "], "TEXT_BLANK"),
        (["hold", "--member", "nobody", *BY_OTTO], "MEMBER_UNKNOWN"),
        (["release", "--overlay", "scout", *BY_OTTO], "NOT_CONTAINED"),
        (["release", "--address", "192.0.2.1", *BY_OTTO], "NOT_BLOCKED"),
        (["block", "example.org", *BY_OTTO], "ADDRESS_INVALID"),
        (["block", "192.0.2.1", "--for", "31d", *BY_OTTO], "DURATION_OUT_OF_RANGE"),
        (["unblock", "192.0.2.1", *BY_OTTO], "NOT_BLOCKED"),
        (["halt", "--for", "25h", *BY_OTTO], "DURATION_OUT_OF_RANGE"),
        (["resume", *BY_OTTO], "NOT_HALTED"),
    ],
)
@pytest.mark.usefixtures("attended")
def test_a_refusal_is_one_line_with_its_code_and_status_1(
    forge: Forge, words: list[str], code: str
) -> None:
    said = forge("immune", *words)

    assert said.status == 1
    assert code in said.err
    assert said.err.count("\n") == 1
    assert not said.out


@pytest.mark.parametrize(
    "words",
    [
        ["hold", *BY_OTTO],
        ["hold", "--overlay", "scout", "--member", "stan", *BY_OTTO],
        ["hold", "--overlay", "scout", "--for", "1h", *BY_OTTO],
        ["release", *BY_OTTO],
        ["quarantine", "scout", "--as", "otto"],
        ["block", "192.0.2.1", "--for", "soon", *BY_OTTO],
        ["halt", "--as", "otto"],
        ["responses", "--rung", "hit"],
        ["responses", "--limit", "0"],
        ["replay"],
    ],
)
@pytest.mark.usefixtures("named")
def test_wrong_usage_is_status_2(forge: Forge, words: list[str]) -> None:
    said = forge("immune", *words)

    assert (said.status, said.out) == (2, "")
    assert said.err


def test_without_a_database_reading_is_status_3(
    forge: Forge, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(folder))
    for command in ("status", "responses", "rules"):
        assert forge("immune", command).status == 3


def test_hostile_text_neither_steers_the_terminal_nor_the_markup(
    forge: Forge, attended: Runtime
) -> None:
    name = "[red]scout[/red]"
    attended.register(name)
    reason = "\x1b[2J[/bold] \u202etxt"
    assert (
        forge("immune", "hold", "--overlay", name, "--as", "otto", "--reason", reason).status == 0
    )
    assert forge("immune", "halt", "--as", "otto", "--reason", reason).status == 0
    (response,) = attended.responses()

    for words in (("status",), ("responses",), ("explain", response["id"]), ("incidents",)):
        said = forge("immune", *words).out
        assert "[/bold]" in said or "[red]scout[/red]" in said
        assert "\x1b" not in said
        assert "\u202e" not in said


# The page


def test_the_page_knows_every_rule_and_every_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    commands = [one.name or one.callback.__name__ for one in immune.app.registered_commands]

    assert [name for name in GOVERNED if f"`{name}`" not in page] == []
    assert [name for name in commands if f"`forge immune {name}" not in page] == []


def test_the_change_on_the_page_may_be_proposed_as_it_stands() -> None:
    command = next(line for line in PAGE.read_text().splitlines() if "governance_rule --" in line)
    words = shlex.split(command)
    payload = json.loads(words[words.index("--payload") + 1])

    assert parse_payload("governance_rule", payload, CATALOGUE).json() == payload
