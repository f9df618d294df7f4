"""`forge migrate`: the schema of a database that `forge up` does not run."""

from __future__ import annotations

import os

from sqlalchemy.exc import OperationalError

from forge_core import database
from forge_core.errors import Misconfigured, Unavailable
from forge_workers.cli.output import standard_output

VARIABLE = "FORGE_MIGRATE_DATABASE_URL"


def migrate() -> None:
    """Bring the schema to its newest version; a second time changes nothing."""
    url = os.environ.get(VARIABLE) or os.environ.get("FORGE_DATABASE_URL")
    if not url:
        raise Misconfigured(f"set {VARIABLE} to the database, as a role that may migrate it")
    try:
        database.migrate(url)
    except OperationalError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise Unavailable(f"the database cannot be used now: {reason}") from error
    standard_output().print("the schema is at its newest version")
