"""The `forge` command line."""

from __future__ import annotations

import logging

from forge_workers.cli.app import app
from forge_workers.logs import configure


def main() -> None:
    """Run one command and exit: 0 done, 1 refused by a rule, 2 wrong usage, 3 a server is away."""
    # On stdout there are results only, whatever happens meanwhile.
    configure(logging.WARNING)
    app()
