"""Ports on loopback: chosen once per home, so that a restart keeps them."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from forge_core.errors import Misconfigured, Unavailable
from forge_workers.stack.home import write_private

LOOPBACK = "127.0.0.1"

# Below the range that the kernel hands to outgoing connections, one of which could hold the port
# of a server at the moment it is restarted.
_CHOICE = range(20_000, 32_000)


class Ports:
    """Remembers the port of each server in one file, and keeps other stacks off until it closes.

    Between the look whether a port is free and the start of its server another stack may look.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: dict[int, tuple[str, socket.socket]] = {}

    def close(self) -> None:
        """Let others have them."""
        for _, mark in self._marks.values():
            mark.close()
        self._marks.clear()

    def get(self, name: str, *, first_choice: int | None = None) -> int:
        """A free port for ``name``: the one named in FORGE_<NAME>_PORT, the remembered, or a new.

        ``Unavailable`` when the one that was named is taken by somebody else.
        """
        variable = f"FORGE_{name.upper()}_PORT"
        named = os.environ.get(variable)
        if named:
            port = _parse(variable, named)
            if not self._take(name, port):
                raise Unavailable(
                    f"port {port} of {LOOPBACK} is in use; end what listens there, "
                    f"or set {variable} to another"
                )
        else:
            known = [self._known().get(name), first_choice]
            port = self._choose(name, [port for port in known if port])
        write_private(self._path, json.dumps(self._known() | {name: port}))
        return port

    def _choose(self, name: str, preferred: Sequence[int]) -> int:
        others = set(self._known().values())
        for port in preferred:
            if self._take(name, port):
                return port
        for port in random.SystemRandom().sample(_CHOICE, 200):
            if port not in others and self._take(name, port):
                return port
        raise Unavailable(f"no free port between {_CHOICE.start} and {_CHOICE.stop}")

    def _take(self, name: str, port: int) -> bool:
        if not is_free(port):
            return False
        if port in self._marks:
            return self._marks[port][0] == name
        if sys.platform != "linux":  # where such a mark would be a file, and could stay
            return True
        mark = socket.socket(socket.AF_UNIX)
        try:
            # A name without a file, known as far as the port is; it goes with our process.
            mark.bind(f"\0forge-governance-port-{port}")
        except OSError:
            mark.close()
            return False
        self._marks[port] = (name, mark)
        return True

    def _known(self) -> dict[str, int]:
        try:
            content: dict[str, int] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def serves(port: int, path: str) -> bool:
    """Whether who listens there answers this with 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _parse(variable: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal()) or not 1 <= int(value) <= 65_535:
        raise Misconfigured(f"{variable} is {value!r}; it must be a port number, 1 to 65535")
    return int(value)
