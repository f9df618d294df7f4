"""Generated passwords: made once per home, kept in files of mode 0600, shown nowhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from forge_workers.stack.home import write_private


@dataclass(frozen=True)
class Secrets:
    """The passwords of one home, by name."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def get(self, name: str) -> str:
        """The password ``name``, made now when there is none (URL-safe, 192 random bits)."""
        path = self.path(name)
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            password = secrets.token_urlsafe(24)
            write_private(path, password + "\n")
            return password
