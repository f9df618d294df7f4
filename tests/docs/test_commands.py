"""Every command that the README and the docs show is run here, as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import forge_verify
from forge_core.settings import Settings
from forge_workers.cli.app import app
from forge_workers.stack.up import running_stack
from tests.advice.asking import model_api
from tests.support import short_folder

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^```console *([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?forge [a-z][^`]*|make [a-z][^`]*)`")


VERIFIER = typer.Typer()


@VERIFIER.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def _verify(context: typer.Context) -> None:
    raise typer.Exit(forge_verify.main(context.args))


@dataclass(frozen=True)
class Shown:
    """A command in a block of a page; ``words`` say how the block is run."""

    page: Path
    words: tuple[str, ...]
    command: str


def shown_commands() -> list[Shown]:
    return [
        Shown(page, tuple(block[1].split()), command)
        for page in PAGES
        for block in BLOCK.finditer(page.read_text(encoding="utf-8"))
        for command in block[2].strip().splitlines()
    ]


def mentioned_commands() -> set[str]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return {" ".join(match[1].split()) for match in INLINE.finditer(text)}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A running stack with an empty database."""
    folder = short_folder()
    try:
        with running_stack(folder / "tour", beat=True):
            yield folder / "tour"
    finally:
        shutil.rmtree(folder)


def run(home: Path, command: str) -> Result:
    """In this process: starting Python for each line would take longer than all the rest."""
    words = shlex.split(command)
    if words[:2] == [".venv/bin/python", "forge_verify.py"]:
        return CliRunner().invoke(VERIFIER, words[2:])
    assert words[0] == ".venv/bin/forge", f"the docs show an unknown command: {command}"
    environment = {"FORGE_HOME": str(home), "COLUMNS": "200"}
    return CliRunner().invoke(app, words[1:], env=environment)


def said_by(home: Path, *command: str) -> str:
    """What a program of its own prints, in the checkout, beside that stack."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "FORGE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_signed(home: Path) -> str:
    """The ledger's worker seals and signs by itself; returns the log's key."""
    for _ in range(120):
        done = run(home, ".venv/bin/forge doctor --json")
        found = {one["what"]: one["found"] for one in json.loads(done.stdout)}
        signed, _, sealed = found["signed entries"].partition(" of ")
        if found["unsealed entries"] == "0" and signed == sealed:
            keys = json.loads(run(home, ".venv/bin/forge ledger keys list --json").stdout)
            return str(next(key["vkey"] for key in keys if key["role"] == "log"))
        time.sleep(0.25)
    pytest.fail("the ledger was not signed")


@pytest.mark.processes
def test_the_tour_does_what_it_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    proposal = vkey = ""
    for shown in shown_commands():
        if "tour" not in shown.words:
            continue
        if "signed" in shown.words:
            vkey = wait_signed(home)
        done = run(home, shown.command.replace("PROPOSAL", proposal).replace("VKEY", vkey))
        wanted = 1 if "refused" in shown.words else 0
        assert done.exit_code == wanted, (shown.command, done.output)
        if created := re.search(r"p-[0-9a-f]{32}", done.stdout):
            proposal = proposal or created[0]
        if "clock advance" in shown.command:
            wait_executed(home, proposal)
    assert run(home, ".venv/bin/forge setting get rate_limit.SANDBOX").stdout.strip() == "200"


def wait_executed(home: Path, proposal: str) -> None:
    """The sweep closes and executes by itself."""
    for _ in range(60):
        shown = json.loads(run(home, f".venv/bin/forge proposal show {proposal} --json").stdout)
        if '"executed"' in json.dumps(shown):
            return
    pytest.fail("the proposal was not executed")


@pytest.mark.processes
@pytest.mark.parametrize(("name", "begins"), [("client", "True "), ("ledger", "{")])
def test_the_code_of_a_page_runs_as_it_stands(home: Path, name: str, begins: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert said_by(home, sys.executable, "-c", "\n".join(blocks)).startswith(begins)
    assert Settings.load(home).home == home


@pytest.mark.processes
def test_the_replay_shown_finds_every_published_count(home: Path) -> None:
    (shown,) = [shown for shown in shown_commands() if "replay" in shown.words]
    done = run(home, shown.command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["proposals_matching"] == found["proposals_total"] > 0


def test_a_model_is_tried_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with model_api(monkeypatch) as api:
        for shown in shown_commands():
            if "model" in shown.words:
                done = run(tmp_path, shown.command)
                assert done.exit_code == 0, (shown.command, done.output)
                assert "(advisory: it decides nothing)" in done.stdout
    assert {one.body["model"] for one in api.requests} == {"claude-sonnet-5-5", "claude-haiku-5-5"}


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")
def test_the_gateway_is_asked_as_shown(home: Path) -> None:
    for shown in shown_commands():
        if "gateway" in shown.words:
            assert run(home, shown.command).exit_code == 0, shown.command
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    address = json.loads((home / "endpoints.json").read_text(encoding="utf-8"))["api_url"]
    said = said_by(home, "bash", "-euc", script.replace("http://127.0.0.1:8300", address))
    assert "proposals" in json.loads(said)


def test_every_block_is_run_by_a_test() -> None:
    known = {
        "tour",
        "replay",
        "platform",
        "model",
        "gateway",
    }  # the last one where the platform's module is known
    for shown in shown_commands():
        if not known & set(shown.words):
            # What the continuous integration and the stack's own tests run, and a home's name.
            known_elsewhere = {"make run", "make test", ".venv/bin/forge up"}
            assert shown.command in {*known_elsewhere, "export FORGE_HOME=.tour"}, shown


@pytest.mark.parametrize("command", sorted(mentioned_commands()))
def test_a_mentioned_command_exists(command: str) -> None:
    words = [word for word in shlex.split(command) if word.isascii()]
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        return
    names = [word for word in words[1:3] if re.fullmatch("[a-z]+", word)]
    done = CliRunner().invoke(app, [*names, "--help"])
    assert done.exit_code == 0, (names, done.output)
