"""The whole protected path through real workers: as the README shows it, and as a service does it.

One stack, whose processes know the capability that the docs declare.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forge_core.database import make_engine, snapshot, transaction
from forge_core.ledger.verifying import Scope, verify
from forge_core.members.genesis import is_founded
from forge_core.tables import DERIVED
from forge_core.wiring import ENTRY_KINDS
from forge_workers.client import Ballot, Command, GovernanceClient
from forge_workers.stack.up import Stack, running_stack
from tests.support import short_folder, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1_000)]

ROOT = Path(__file__).parents[2]
GENEROUS = 60.0
REVIEWERS = ("cleo", "dan", "eve", "fay", "gil")
MEMBERS = ("ada", "ben", *REVIEWERS)


@dataclass(frozen=True)
class Platform:
    """A running stack, the folder with the platform's module, and the environment of both."""

    stack: Stack
    folder: Path
    environment: dict[str, str]

    def bash(self, script: str) -> str:
        """Run what a page shows, as it stands there; returns what it printed."""
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    folder = short_folder()
    (code,) = re.findall(
        r"^```python\n(.*?)^```$", page("docs/capabilities.md"), re.MULTILINE | re.DOTALL
    )
    (folder / "platform_capabilities.py").write_text(
        code.replace('"banner.log"', repr(str(folder / "banner.log"))), encoding="utf-8"
    )
    variables = {"FORGE_CAPABILITIES": "platform_capabilities", "PYTHONPATH": str(folder)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            with running_stack(folder / "home", web=False) as stack:
                (folder / "bin").mkdir()
                (folder / "bin" / "forge").symlink_to(Path(sys.executable).parent / "forge")
                yield Platform(
                    stack, folder, {**os.environ, **variables, "FORGE_HOME": str(folder / "home")}
                )
        finally:
            shutil.rmtree(folder)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_readme_leads_there_and_back(platform: Platform) -> None:
    """Propose, vote, five reviews, sign-offs, 14 days, executed; rolled back after 3 days."""
    (script,) = re.findall(r"^```bash\n(.*?)^```$", page("README.md"), re.MULTILINE | re.DOTALL)
    here = f'FORGE_HOME={platform.folder / "home"} PATH="{platform.folder / "bin"}:$PATH"'
    script = script.replace('FORGE_HOME=.sandbox PATH="$PWD/.venv/bin:$PATH"', here)

    printed = platform.bash(script).splitlines()

    assert "6" in printed
    assert "12" in printed[printed.index("6") :]


class Service:
    """A service of the platform that takes proposals through."""

    def __init__(self, client: GovernanceClient, stack: Stack) -> None:
        self.client = client
        self.engine = make_engine(stack.settings.database_url)

    def carry(self, *commands: Command) -> list[dict[str, Any]]:
        answers = self.client.wait_many(self.client.commands(commands), GENEROUS)
        return [dict(answer.require_done()) for answer in answers]

    def status(self, proposal: str) -> str:
        with transaction(self.engine) as session:
            found = session.connection().exec_driver_sql(
                "SELECT status FROM proposals WHERE id = %s", (proposal,)
            )
            return str(found.scalar_one())

    def wait_for(self, proposal: str, status: str) -> None:
        until(lambda: self.status(proposal) == status, GENEROUS)

    def approved(self, **given: Any) -> str:
        """Proposed by ada, opened, voted for by everybody, and closed."""
        content = {"title": "A title", "description": "What for.", **given}
        (made,) = self.carry(Command("proposals.create", "ada", content))
        proposal = str(made["proposal_id"])
        self.carry(Command("proposals.activate", "ada", {"proposal_id": proposal}))
        answers = self.client.vote_many([Ballot(proposal, name, "for") for name in MEMBERS])
        assert all(answer.accepted for answer in answers)
        self.advance(hours=73)
        return proposal

    def through_gates(self, proposal: str) -> None:
        self.wait_for(proposal, "approved")
        review = {"proposal_id": proposal, "approves": True, "comment": "Read it."}
        self.carry(*(Command("enforcement.review", name, review) for name in REVIEWERS))
        signing = {"proposal_id": proposal}
        self.carry(*(Command("enforcement.sign_off", name, signing) for name in MEMBERS[:4]))
        assert self.status(proposal) == "queued"

    def advance(self, *, hours: int) -> None:
        self.carry(Command("clock.advance", "ada", {"seconds": hours * 3600}))

    def discrepancies(self) -> Sequence[object]:
        with snapshot(self.engine) as session:
            return list(verify(session, Scope(ENTRY_KINDS, DERIVED, ())))


@pytest.fixture
def service(platform: Platform) -> Iterator[Service]:
    with GovernanceClient(issuer="a-service", settings=platform.stack.settings) as client:
        made = Service(client, platform.stack)
        with transaction(made.engine) as session:
            assert is_founded(session), "the README's script comes first"
        yield made
        made.engine.dispose()


def test_a_service_leads_a_rule_there_and_back(service: Service) -> None:
    rule = {"key": "track.protected.quorum", "new_value": "0.35"}
    change = service.approved(type="governance_rule", payload=rule)
    service.through_gates(change)
    service.advance(hours=14 * 24 - 1)
    assert service.status(change) == "queued"
    service.advance(hours=1)
    service.wait_for(change, "executed")
    assert service.client.setting("track.protected.quorum") == "0.35"

    undo = service.approved(type="rollback", payload={"proposal": change})
    service.through_gates(undo)
    service.advance(hours=3 * 24)
    service.wait_for(change, "rolled_back")

    assert service.status(undo) == "executed"
    assert service.client.setting("track.protected.quorum") == "0.3"
    assert service.discrepancies() == []


def test_a_capability_of_the_platform_is_changed_and_delivered(
    platform: Platform, service: Service
) -> None:
    """The declaration and the commands of docs/capabilities.md, as they stand there."""
    blocks = re.findall(
        r"^```console platform\n(.*?)^```$", page("docs/capabilities.md"), re.MULTILINE | re.DOTALL
    )
    said = platform.bash(
        "\n".join(blocks).replace(".venv/bin/forge", str(platform.folder / "bin/forge"))
    )
    assert "every page will say 'Back at noon'" in said

    new = {"text": "Back at noon"}
    banner = service.approved(
        type="configuration", payload={"key": "platform.banner", "new_value": new}
    )
    service.wait_for(banner, "executed")
    assert service.client.setting("platform.banner") == {"text": "Back at noon", "colour": "grey"}
    log = platform.folder / "banner.log"
    until(lambda: log.exists() and log.read_text(), GENEROUS)
    assert log.read_text() == f"{banner}/0/apply Back at noon\n"

    undo = service.approved(type="rollback", payload={"proposal": banner})
    service.wait_for(banner, "rolled_back")
    assert service.status(undo) == "executed"
    assert "Welcome" in platform.bash(
        f"{platform.folder / 'bin/forge'} setting get platform.banner"
    )
    until(lambda: log.read_text().count("\n") == 2, GENEROUS)
    assert log.read_text().splitlines()[1] == f"{banner}/0/undo Welcome"
