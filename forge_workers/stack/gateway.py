"""The HTTP gateway on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forge_workers.stack.house import GATEWAY
from forge_workers.stack.ports import LOOPBACK, serves
from forge_workers.stack.processes import Program

FIRST_CHOICE = 8300


@dataclass(frozen=True)
class GatewayServer:
    """One gateway; who comes in carries a token."""

    port: int

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def program(self, environment: Mapping[str, str]) -> Program:
        return Program("api", (*GATEWAY, f"--host={LOOPBACK}", f"--port={self.port}"), environment)

    def answers(self) -> bool:
        """Whether it can read, which it says to everybody."""
        return serves(self.port, "/health")
