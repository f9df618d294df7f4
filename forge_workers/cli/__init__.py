"""The `forge` command line."""

from __future__ import annotations

from forge_workers.cli.app import app


def main() -> None:
    """Run one command and exit: 0 done, 1 refused by a rule, 2 wrong usage, 3 a server is away."""
    app()
