"""`forge migrate`: idempotent, and clear about what it needs."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from forge_workers.cli.app import app


def migrate(url: str | None):
    return CliRunner().invoke(app, ["migrate"], env={"FORGE_MIGRATE_DATABASE_URL": url})


def test_migrating_a_migrated_database_changes_nothing(database) -> None:
    done = migrate(database.migrate_url)
    assert (done.exit_code, done.output) == (0, "the schema is at its newest version\n")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "set FORGE_MIGRATE_DATABASE_URL"),
        ("postgresql://forge_migrate:x@127.0.0.1:1/forge", "the database cannot be used now"),
        ("mysql://localhost/forge", "must begin with postgresql://"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_and_status_3(url, says) -> None:
    done = migrate(url)
    assert done.exit_code == 3
    assert says in done.output
