"""The deployment that is shown serves everything: what it lacked would wait for ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forge_workers.cli.app import app
from forge_workers.queues import QUEUES

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
COMMAND = re.compile(r"^    command: \[(\w.*)\]$", re.MULTILINE)


def commands() -> list[list[str]]:
    """Of the containers that run ours, word by word."""
    found = COMMAND.findall(COMPOSE.read_text(encoding="utf-8"))
    return [[word.strip('"') for word in re.findall(r'"[^"]*"|[^", ]+', one)] for one in found]


def test_every_queue_is_served() -> None:
    """A worker names several in quotes, separated by commas."""
    served = [
        queue
        for words in commands()
        for word in words
        if word.startswith("--queues=")
        for queue in word.removeprefix("--queues=").split(",")
    ]
    assert sorted(served) == sorted(queue.name for queue in QUEUES)


def test_somebody_takes_events_in_and_one_alone_beats() -> None:
    assert commands().count(["events", "consume"]) == 1
    assert commands().count(["beat"]) == 1


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_exists(words: list[str]) -> None:
    names = [word for word in words if re.fullmatch("[a-z]+", word)]
    assert CliRunner().invoke(app, [*names, "--help"]).exit_code == 0
