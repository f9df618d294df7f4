"""Flower on loopback: read-only, and behind a generated password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forge_workers.stack.home import write_private
from forge_workers.stack.house import flower_arguments
from forge_workers.stack.ports import LOOPBACK, serves
from forge_workers.stack.processes import Program

FIRST_CHOICE = 5555
USER = "forge"


@dataclass(frozen=True)
class FlowerServer:
    """One Flower; ``configuration`` is the file that holds its password."""

    configuration: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def program(self, environment: Mapping[str, str]) -> Program:
        return Program(
            name="flower",
            arguments=flower_arguments(self.configuration),
            # Flower takes options from FLOWER_ variables, and stops at one it does not know.
            environment={k: v for k, v in environment.items() if not k.startswith("FLOWER_")},
            prepare=self._prepare,
        )

    def answers(self) -> bool:
        """Whether it serves its page of health, the only one without a password."""
        return serves(self.port, "/healthcheck")

    def _prepare(self) -> None:
        write_private(
            self.configuration,
            f"address = {LOOPBACK!r}\n"
            f"port = {self.port}\n"
            f"basic_auth = [{USER + ':' + self.password!r}]\n"
            "read_only = True\n"
            # Workers send events by themselves, and are deaf to being told so.
            "enable_events = False\n"
            "persistent = False\n"
            "max_tasks = 10_000\n",
        )
