"""Key files: the log's key and the key of its promises, made once, mode 0600."""

from __future__ import annotations

from pathlib import Path

from forge_core.errors import Misconfigured
from forge_core.ledger.notes import NoteInvalid, SigningKey
from forge_core.ledger.statements import promise_key_name
from forge_core.settings import Settings
from forge_workers.stack.home import make_private, write_private


def make_key_files(settings: Settings, *, origin: str) -> list[Path]:
    """Make the keys that are missing; returns the files made. Those that are there stay."""
    made = []
    for path, name in (
        (settings.ledger_key, origin),
        (settings.promise_key, promise_key_name(origin)),
    ):
        if not path.exists():
            make_private(path.parent)
            write_private(path, SigningKey.generate(name).to_text() + "\n")
            made.append(path)
    return made


def load_key(path: Path) -> SigningKey:
    """The key in a file. ``Misconfigured`` when there is none, or none that can be read."""
    try:
        return SigningKey.parse(path.read_text(encoding="utf-8").strip())
    except FileNotFoundError as error:
        raise Misconfigured(
            f"there is no key at {path}; `forge ledger keys make` makes one"
        ) from error
    except (OSError, NoteInvalid, UnicodeDecodeError) as error:
        raise Misconfigured(f"the key at {path} cannot be used: {error}") from error
