"""Exit statuses and one clear line, before any server is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from forge_core.ids import uuid7
from forge_core.settings import ENDPOINTS, VARIABLES
from forge_workers.cli import servers
from forge_workers.cli.durations import parse_duration
from forge_workers.client import GovernanceClient
from tests.cli.conftest import Forge


def test_no_command_shows_the_help(forge: Forge) -> None:
    assert "replay" in forge().out + forge().err


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["proposal", "no-such-command"],
        ["vote", "p-1", "perhaps", "--as", "ann"],
        ["vote", "p-1", "for"],
        ["proposal", "create", "--as", "ann", "--type", "wish", "--title", "t"],
        ["member", "list", "--limit", "0"],
        ["jobs", "show", "first"],
        ["up", "--once"],
        ["worker", "--queues", "votes,nonsense"],
        ["flower"],
        ["flower", "--auth_provider=flower.views.auth.GoogleAuth2LoginHandler"],
        ["clock", "advance", "soon", "--as", "ann"],
        ["member", "restrict", "ann", "--as", "otto", "--reason", "x", "--for", "-1h"],
        ["genesis", "alice"],
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
    ("payload", "problem"),
    [("{", "not JSON"), ("@absent.json", "No such file"), ("[" * 100_000, "not JSON")],
)
def test_payload_that_cannot_be_read_is_wrong_usage(
    forge: Forge, payload: str, problem: str
) -> None:
    words = ["proposal", "create", "--as", "ann", "--type", "policy", "--title", "t"]
    said = forge(*words, "--description", "d", "--payload", payload)

    assert said.status == 2
    assert problem in " ".join(said.err.split())


@pytest.mark.parametrize(
    "words",
    [
        ["proposal", "list"],
        ["vote", "p-1", "for", "--as", "ann"],
        ["clock", "show"],
        ["worker"],
        ["genesis", "alice:CORE"],
    ],
)
def test_without_servers_one_line_says_what_to_do_and_status_is_3(
    forge: Forge, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    said = forge(*words)

    assert said.status == 3
    assert said.err.count("\n") == 1
    assert "forge up" in said.err


def test_database_that_does_not_answer_is_status_3(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    monkeypatch.setenv(
        "FORGE_DATABASE_URL", f"postgresql://forge:a-secret-word@/forge?host={tmp_path}"
    )
    monkeypatch.setenv("FORGE_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("FORGE_REDIS_URL", "redis://127.0.0.1:1/0")
    said = forge("proposal", "list")

    assert said.status == 3
    assert said.err.count("\n") == 1
    assert "a-secret-word" not in said.err


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home whose stack was killed: its addresses are there, its servers are not."""
    monkeypatch.setenv("FORGE_HOME", str(tmp_path))
    monkeypatch.setattr(servers, "_DATABASE_SECONDS", 0.2)
    addresses = {
        name: "redis://127.0.0.1:1/0"
        if name.endswith("redis_url") or name.startswith("broker")
        else f"postgresql://forge:x@/forge?host={tmp_path}"
        for name in VARIABLES
    }
    (tmp_path / ENDPOINTS).write_text(json.dumps(addresses), encoding="utf-8")
    return {VARIABLES[name]: address for name, address in addresses.items()}


VOTE = ("vote", "p-1", "for", "--as", "ann")
CANCEL = ("proposal", "cancel", "p-1", "--as", "ann", "--reason", "x")


@pytest.mark.parametrize("words", [("proposal", "list"), ("history",), VOTE, CANCEL])
@pytest.mark.usefixtures("nowhere")
def test_an_embedded_database_that_is_away_is_said_with_what_starts_it(
    forge: Forge, words: tuple[str, ...]
) -> None:
    said = forge(*words)

    assert said.status == 3
    assert "if it is not running, `forge up` starts it" in said.err
    assert said.err.count("\n") == 1


def test_a_database_of_somebody_else_is_not_started_by_forge_up(
    forge: Forge, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, address in nowhere.items():
        monkeypatch.setenv(variable, address)

    for words in (("proposal", "list"), VOTE):
        assert forge(*words).status == 3
        assert "forge up" not in forge(*words).err


@pytest.mark.usefixtures("nowhere")
def test_what_was_sent_to_a_database_that_is_away_is_in_doubt(forge: Forge) -> None:
    ballot, command = forge(*VOTE).err, forge(*CANCEL).err

    assert "whether the ballot was taken is not known; give it again: the last one counts" in ballot
    assert "whether the command was kept is not known; `forge jobs list` tells" in command


@pytest.mark.usefixtures("nowhere")
def test_a_command_whose_answer_cannot_be_read_is_kept(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GovernanceClient, "command", lambda *_: uuid7())
    said = forge(*CANCEL)

    assert said.status == 3
    assert "the command is kept; `forge jobs list` tells what became of it" in said.err


def test_the_help_names_the_bounds_of_a_voting_and_the_text_of_a_policy(forge: Forge) -> None:
    told = forge("proposal", "create", "--help").out

    assert "voting_hours_least" in told
    assert "a sandbox allows more" in told
    assert '{"text": …}' in told


@pytest.mark.parametrize("flags", [[], ["--approve", "--reject"]])
def test_a_review_takes_exactly_one_verdict(forge: Forge, flags: list[str]) -> None:
    said = forge("proposal", "review", "p-1", "--as", "ann", "--comment", "x", *flags)

    assert said.status == 2
    assert "exactly one of --approve and --reject" in said.err


def test_a_clock_that_is_to_go_back_is_told_its_only_way(forge: Forge) -> None:
    said = forge("clock", "advance", "-1h", "--as", "ann")

    assert said.status == 2
    assert "-1h: the clock only moves forward" in said.err


TWICE = """
from forge_core.capabilities.declaration import Capability, CapabilityClass

CAPABILITIES = (
    Capability(
        key="block_reward",
        klass=CapabilityClass.ORDINARY,
        description="a test",
        type="boolean",
        default=True,
    ),
)
"""


@pytest.mark.parametrize(
    ("module", "code", "problem"),
    [
        ("twice", TWICE, "block_reward is declared twice"),
        ("wrong", TWICE.replace("block_reward", "a reward"), "'a reward' is not a capability key"),
        ("broken", "1 / 0", "ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("words", [["up"], ["setting", "list"], ["--help"]])
def test_capabilities_that_cannot_be_had_are_one_sentence_and_status_3(
    module: str, code: str, problem: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    named = {"FORGE_CAPABILITIES": module, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "from forge_workers.cli import main; main()", *words],
        env={**os.environ, **named, "FORGE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"FORGE_CAPABILITIES names {module}, which ")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


def test_replay_of_a_directory_without_a_dataset_is_wrong_usage(
    forge: Forge, tmp_path: Path
) -> None:
    (tmp_path / "proposals.csv").write_text("title\n", encoding="utf-8")
    (tmp_path / "votes.csv").write_text("voter\n", encoding="utf-8")

    assert forge("replay", tmp_path / "absent").status == 2
    said = forge("replay", tmp_path)
    assert said.status == 2
    assert "proposals.csv lacks the column proposal_id" in said.err


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("14d", timedelta(days=14)),
        ("36h", timedelta(hours=36)),
        ("90m", timedelta(minutes=90)),
        ("30s", timedelta(seconds=30)),
        ("1d12h", timedelta(hours=36)),
        ("1d1h1m1s", timedelta(days=1, seconds=3_661)),
    ],
)
def test_duration(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "14", "d", "0d", "-1d", "1.5h", "1h1d", "1w", "1d ", "٣d", "999999999d9h" * 9]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="for example 14d"):
        parse_duration(text)


def test_longest_duration_is_still_none() -> None:
    with pytest.raises(typer.BadParameter, match="longer than any duration"):
        parse_duration("999999999d24h")


def test_warnings_of_libraries_go_to_stderr_and_leave_stdout_to_results() -> None:
    script = (
        "import structlog\n"
        "from forge_workers import cli\n"
        "from forge_workers.cli import app\n"
        "app.app = lambda: structlog.get_logger('x').warning('wake.failed', kind='votes.count')\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout == ""
    assert "wake.failed" in done.stderr
