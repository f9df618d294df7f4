"""Exit statuses and one clear line, before any server is asked."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from forge_workers.cli.durations import parse_duration
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
        "cli.app = lambda: structlog.get_logger('x').warning('wake.failed', kind='votes.count')\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout == ""
    assert "wake.failed" in done.stderr
