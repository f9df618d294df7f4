"""Where the servers are: from the environment, else from the running stack of this home."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from forge_core.errors import Misconfigured

ENDPOINTS = "endpoints.json"

VARIABLES = {
    "database_url": "FORGE_DATABASE_URL",
    "migrate_database_url": "FORGE_MIGRATE_DATABASE_URL",
    "client_database_url": "FORGE_CLIENT_DATABASE_URL",
    "reader_database_url": "FORGE_READER_DATABASE_URL",
    "broker_url": "FORGE_BROKER_URL",
    "redis_url": "FORGE_REDIS_URL",
}

OTHER_ROLES = ("migrate_database_url", "client_database_url", "reader_database_url")
"""The same database under another role; each defaults to ``database_url``."""


def forge_home() -> Path:
    """The one directory that holds state: ``FORGE_HOME``, default ``.forge`` here."""
    return Path(os.environ.get("FORGE_HOME") or ".forge").absolute()


def model_key() -> str | None:
    """The key with which Claude is asked; None: nobody is. It is never stored or logged."""
    return os.environ.get("ANTHROPIC_API_KEY") or None


@dataclass(frozen=True)
class Settings:
    """Server addresses. The other database roles fall back to the one that is given."""

    home: Path
    database_url: str
    migrate_database_url: str
    client_database_url: str
    reader_database_url: str
    broker_url: str
    redis_url: str

    @property
    def ledger_key(self) -> Path:
        """The key file that signs checkpoints; only the workers of the queue ``ledger`` need it."""
        return _file("FORGE_LEDGER_KEY", self.home / "secrets" / "ledger-key")

    @property
    def promise_key(self) -> Path:
        """The key file that signs promises; a service that hands out receipts needs it."""
        return _file("FORGE_PROMISE_KEY", self.home / "secrets" / "promise-key")

    @property
    def checkpoint_file(self) -> Path:
        """Where checkpoints are kept outside the database; best on a disk of somebody else's."""
        return _file("FORGE_CHECKPOINT_FILE", self.home / "checkpoints")

    @classmethod
    def load(cls, home: Path | None = None, *, needed: Collection[str] = tuple(VARIABLES)) -> Self:
        """Environment first, then ``endpoints.json`` of the home.

        ``Misconfigured`` when one that is ``needed`` is nowhere; any other is then empty, so that a
        service is given no address that it has no business with.
        """
        home = home or forge_home()
        endpoints = _endpoints(home)
        found = {
            name: os.environ.get(env) or endpoints.get(name) for name, env in VARIABLES.items()
        }
        if os.environ.get(VARIABLES["database_url"]):
            # A database that was named replaces the embedded one in every role.
            for role in OTHER_ROLES:
                found[role] = os.environ.get(VARIABLES[role]) or found["database_url"]
        missing = sorted(VARIABLES[name] for name in needed if not found[name])
        if missing:
            raise Misconfigured(
                f"no servers are known for {home}: start them with `forge up`, or set "
                + ", ".join(missing)
            )
        return cls(home=home, **{name: value or "" for name, value in found.items()})


def _file(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).absolute()


def _endpoints(home: Path) -> dict[str, str]:
    path = home / ENDPOINTS
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise Misconfigured(f"{path} is not JSON; stop the stack and run `forge up`") from error
    return {key: str(value) for key, value in content.items()}
