"""The `forge` command line."""

from __future__ import annotations

import gc
import logging
import sys

from forge_core.errors import Misconfigured
from forge_workers.cli.output import UNAVAILABLE, complain
from forge_workers.logs import configure


def main() -> None:
    """Run one command and exit: 0 done, 1 refused by a rule, 2 wrong usage, 3 a server is away."""
    # What is loaded stays: looking for garbage in it, again and again, takes a fifth of the time.
    gc.disable()
    # On stdout there are results only, whatever happens meanwhile.
    configure(logging.WARNING)
    try:
        # It loads the platform's own capabilities: what is wrong with them is one sentence.
        from forge_workers.cli.app import app  # noqa: PLC0415
    except Misconfigured as error:
        complain(str(error))
        sys.exit(UNAVAILABLE)
    gc.freeze()
    gc.enable()
    app()
