"""The migrated schema: as the models say, closed to whom it should be, and refusing by itself."""

from __future__ import annotations

import importlib
import pkgutil
import re
import uuid

import psycopg2
import pytest
from psycopg2.errors import (
    CheckViolation,
    InsufficientPrivilege,
    InvalidParameterValue,
    ProgramLimitExceeded,
    RestrictViolation,
)
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import forge_core
from forge_core.database import Base, make_engine, migrate, transaction
from forge_core.proposals.lifecycle import EDGES, FINAL, Status, edge_pairs
from forge_core.proposals.model import Proposal
from forge_core.wiring import COMMANDS
from forge_workers.stack.postgres import SUPERUSER
from forge_workers.stack.roles import create_database, drop_database
from tests.core.factories import House

# What the client role may call, and nothing else.
CLIENT_FUNCTIONS = {
    "forge_now",
    "forge_accept_ballots",
    "forge_submit_commands",
    "forge_answers",
    "forge_own_ballots",
    "forge_receive_commands",
    "forge_setting",
    "forge_leases",
}

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attidentity, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
        AND NOT a.attisdropped AND c.relname <> 'alembic_version'
"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
        AND conrelid::regclass::text <> 'alembic_version'
"""
_INDEXES = """
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""
_SEQUENCES = """
    SELECT sequencename, data_type::text, start_value, increment_by, cycle, cache_size
    FROM pg_sequences WHERE schemaname = 'public'
"""
_STORAGE = """
    SELECT relname, option FROM pg_class, unnest(reloptions) AS option
    WHERE relnamespace = 'public'::regnamespace AND option LIKE 'fillfactor=%'
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


@pytest.fixture
def modelled(servers):
    """A database made from the models alone."""
    for module in pkgutil.walk_packages(forge_core.__path__, "forge_core."):
        if module.name.endswith(".model"):
            importlib.import_module(module.name)
    name = f"models_{uuid.uuid4().hex}"
    create_database(servers.postgres, name)
    engine = make_engine(servers.postgres.url(SUPERUSER, name))
    Base.metadata.create_all(engine)
    engine.dispose()
    house = House(servers.postgres, name)
    yield house
    house.close()
    drop_database(servers.postgres, name)


@pytest.mark.parametrize("catalog", [_COLUMNS, _CONSTRAINTS, _INDEXES, _SEQUENCES, _STORAGE])
def test_migrated_schema_is_what_the_models_declare(modelled, empty_house, catalog):
    declared, migrated = set(modelled.sql(catalog)), set(empty_house.sql(catalog))

    assert declared
    assert migrated - declared == set(), "only in the migrations"
    assert declared - migrated == set(), "only in the models"


def test_every_table_has_a_model(empty_house):
    tables = {name for (name,) in empty_house.sql(_TABLES)} - {"alembic_version"}

    assert tables == set(Base.metadata.tables)


def test_migrating_again_changes_nothing(empty_house):
    before = [set(empty_house.sql(q)) for q in (_COLUMNS, _CONSTRAINTS, _INDEXES)]

    migrate(empty_house.server.url("forge_migrate", empty_house.name))

    assert [set(empty_house.sql(q)) for q in (_COLUMNS, _CONSTRAINTS, _INDEXES)] == before


def test_database_holds_the_edge_table_of_the_lifecycle(shared):
    """INV-01."""
    rows = shared.sql("SELECT from_status, to_status FROM lifecycle_edges ORDER BY 1, 2")

    assert tuple(rows) == edge_pairs()


def test_database_records_exactly_the_commands_that_are_wired(shared):
    source = shared.one("SELECT prosrc FROM pg_proc WHERE proname = 'forge_command_problem'")
    listed = re.findall(r"'([a-z_]+\.[a-z_]+)'", source)

    assert sorted(listed) == sorted(kind.name for kind in COMMANDS)


# Privileges


def test_client_role_may_call_the_submitting_functions_and_nothing_else(shared):
    """INV-38: no direct writes; here not even reads."""
    allowed = {
        name
        for (name,) in shared.sql(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND has_function_privilege('forge_client', oid, 'EXECUTE')"
        )
    }

    assert allowed == CLIENT_FUNCTIONS


def test_client_role_reaches_no_table_and_no_sequence(shared):
    readable = shared.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND CASE relkind"
        "   WHEN 'r' THEN has_any_column_privilege('forge_client', oid, 'SELECT,INSERT,UPDATE')"
        "     OR has_table_privilege('forge_client', oid, 'DELETE,TRUNCATE,TRIGGER,REFERENCES')"
        "   WHEN 'S' THEN has_sequence_privilege('forge_client', oid, 'USAGE,SELECT,UPDATE')"
        " END"
    )

    assert readable == []


def test_client_is_refused_when_it_tries_to_read(shared):
    for (table,) in shared.sql(_TABLES):
        with pytest.raises(DBAPIError) as caught, transaction(shared.client) as session:
            session.execute(text(f"SELECT * FROM {table}"))
        assert isinstance(caught.value.orig, InsufficientPrivilege), table


def test_client_cannot_make_tables_that_would_shadow_ours(shared):
    with pytest.raises(DBAPIError) as caught, transaction(shared.client) as session:
        session.execute(text("CREATE TEMP TABLE proposals (id text)"))

    assert isinstance(caught.value.orig, InsufficientPrivilege)


def test_functions_of_the_owner_look_into_temporary_tables_last(shared):
    """Elsewhere PUBLIC may make temporary tables, which come first unless they are named last."""
    paths = shared.sql(
        "SELECT proname, array_to_string(proconfig, ' ') FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )

    assert {name for name, _ in paths} == CLIENT_FUNCTIONS | {
        "forge_await_sealing",
        "forge_roll_events",
    }
    for name, path in paths:
        assert re.search(r"search_path=pg_catalog, public, pg_temp\b", path or ""), name


def test_a_client_cannot_vote_with_members_it_made_up(house):
    """INV-07: also where it may make temporary tables named like ours."""
    house.sql(f"GRANT TEMP ON DATABASE {house.name} TO forge_client")
    proposal = house.open()
    with transaction(house.client) as session:
        for statement in (
            "CREATE TEMP TABLE members AS SELECT 'mallory' AS id, true AS active, 'CORE' AS level",
            """CREATE TEMP TABLE member_levels AS SELECT 'mallory' AS member_id,
                0::bigint AS version, 'CORE' AS level, true AS active""",
            "GRANT SELECT ON members, member_levels TO PUBLIC",
        ):
            session.execute(text(statement))
        code = session.execute(
            text(
                "SELECT code FROM forge_accept_ballots('x', json_build_array(json_build_object("
                "'command_id', gen_random_uuid(), 'proposal_id', CAST(:proposal AS text),"
                "'member_id', 'mallory', 'choice', 'for')))"
            ),
            {"proposal": proposal},
        ).scalar_one()

    assert code == "MEMBER_UNKNOWN"
    assert house.one("SELECT count(*) FROM ballot_inbox") == 0


# Tables whose rows the application may add and read, never change or remove.
GROW_ONLY = (
    "ledger_entries",
    "ledger_order",
    "ledger_tiles",
    "ledger_checkpoints",
    "ledger_cosignatures",
    "ballots",
    "effects",
    "member_levels",
    "sign_offs",
    "proposal_targets",
)


@pytest.mark.parametrize("table", GROW_ONLY)
def test_application_may_only_add_to_what_only_grows(shared, table):
    def may(privilege):
        return shared.one("SELECT has_table_privilege('forge_app', %s, %s)", table, privilege)

    assert may("INSERT")
    assert may("SELECT")
    assert [p for p in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER") if may(p)] == []
    assert not shared.one("SELECT has_any_column_privilege('forge_app', %s, 'UPDATE')", table)


def test_application_truncates_nothing_and_owns_nothing(shared):
    found = shared.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'r' AND (has_table_privilege('forge_app', oid, 'TRUNCATE,TRIGGER')"
        " OR pg_get_userbyid(relowner) <> 'forge_owner')"
    )

    assert found == []
    assert not shared.one("SELECT pg_has_role('forge_app', 'forge_owner', 'MEMBER')")
    assert not shared.one("SELECT pg_has_role('forge_client', 'forge_app', 'MEMBER')")


# What is not for whoever reads pages: addresses and raw events, work in progress, secrets.
CLOSED_TO_THE_READER = {
    "advice_batches", "alembic_version", "ballot_inbox", "ballots", "commands", "dead_letters",
    "event_cursors", "heartbeats", "jobs", "named_locks", "address_minutes", "download_hours",
    "host_minutes", "immune_actions", "immune_responses", "incidents", "known_addresses",
    "member_minutes", "overlay_baselines", "overlay_minutes", "runtime_unjudged", "runtime_events",
}  # fmt: skip


def test_the_reader_reads_what_is_for_everybody_and_changes_nothing(shared):
    powers = "INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER,REFERENCES"
    tables = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition AND "
    )
    closed = shared.sql(tables + "NOT has_table_privilege('forge_reader', oid, 'SELECT')")
    written = shared.sql(
        tables + f"(has_table_privilege('forge_reader', oid, '{powers}')"
        "  OR has_any_column_privilege('forge_reader', oid, 'INSERT,UPDATE,REFERENCES'))"
    )
    partitions = shared.sql(
        "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"
        " AND has_table_privilege('forge_reader', oid, 'SELECT')"
    )
    functions = shared.sql(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege('forge_reader', oid, 'EXECUTE') ORDER BY 1"
    )

    assert {name for (name,) in closed} == CLOSED_TO_THE_READER
    assert (written, partitions) == ([], [])
    assert functions == [("forge_held",), ("forge_now",)]


def test_application_cannot_put_a_ballot_into_the_inbox(house):
    """INV-07: the only way in is the accepting function."""
    proposal = house.open()
    for statement in (
        "INSERT INTO ballot_inbox VALUES (1, :p, 'tara', 'for', 99, now(), 'x', gen_random_uuid())",
        "UPDATE ballot_inbox SET weight = 99 WHERE proposal_id = :p",
    ):
        with pytest.raises(DBAPIError) as caught, transaction(house.app) as session:
            session.execute(text(statement), {"p": proposal})
        assert isinstance(caught.value.orig, InsufficientPrivilege)


@pytest.mark.parametrize("table", ["lifecycle_edges", "alembic_version"])
def test_application_cannot_change_the_rules_of_the_schema(shared, table):
    assert not shared.one(
        "SELECT has_table_privilege('forge_app', %s, 'INSERT,UPDATE,DELETE')", table
    )


# Append-only


@pytest.mark.parametrize("mode", ["origin", "replica", "local"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET body = body",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "TRUNCATE ledger_entries CASCADE",
        "UPDATE ballots SET choice = 'for'",
        "DELETE FROM ballots",
    ],
)
def test_append_only_holds_even_for_the_superuser(counted_house, mode, statement):
    """INV-23: also where ordinary triggers are skipped."""
    with counted_house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute(f"SET session_replication_role = {mode}")
        with pytest.raises(RestrictViolation):
            cursor.execute(statement)


def test_append_only_triggers_fire_always(shared):
    rows = shared.sql(
        "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
    )

    modes = {(table, name): mode for table, name, mode in rows}
    assert modes["ledger_entries", "append_only"] == "A"
    assert modes["ledger_entries", "no_truncate"] == "A"
    assert modes["ballots", "append_only"] == "A"


@pytest.fixture(scope="module")
def counted_house(shared):
    """With one counted ballot, so that row triggers have a row to refuse."""
    proposal = shared.open()
    assert shared.vote(proposal, "tara", "for").code is None
    shared.perform("votes.count")
    assert shared.one("SELECT count(*) FROM ballots") > 0
    return shared


# The lifecycle


def insert_in(house: House, status: str, id_: str) -> None:
    """A complete proposal in any status; triggers that are not ALWAYS are skipped for it."""
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            """
            INSERT INTO proposals (id, type, status, proposer, title, description, reason, payload,
                payload_hash, track, voting_hours, created_at, lapses_at, opened_at, closes_at,
                electorate_version, eligible_weight, eligible_members, weights, terms, eta,
                expires_at)
            SELECT %s, 'policy', %s, 'tara', 't', 'd', 'r', '{}', sha256('{}'), 'routine', 72,
                now(), now() + interval '1 day', now(), now() + interval '1 day',
                1, 15.5, 6, '{}', '{}',
                now(), now() + interval '1 day'
            """,
            (id_, status),
        )


def attempt(house: House, statement: str, *parameters: object) -> bool:
    """Whether the database lets this pass; nothing of it stays."""
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(statement, parameters)
        except (CheckViolation, RestrictViolation):
            return False
        finally:
            cursor.execute("ROLLBACK")
        return True


@pytest.mark.parametrize("now", list(Status))
def test_database_allows_only_the_edges_of_the_table(shared, now):
    """INV-01: for every pair of statuses."""
    id_ = f"edges-{now}-{uuid.uuid4().hex}"
    insert_in(shared, now, id_)

    allowed = {
        then
        for then in Status
        if then is not now
        and attempt(shared, "UPDATE proposals SET status = %s WHERE id = %s", then.value, id_)
    }

    assert allowed == EDGES[now]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.DRAFT])
def test_a_proposal_begins_as_a_draft(shared, status):
    """INV-01."""
    insert_in(shared, "draft", f"first-{status}")

    assert not attempt(
        shared,
        "INSERT INTO proposals SELECT (jsonb_populate_record(p, jsonb_build_object("
        "'id', %s, 'status', %s::text))).* FROM proposals AS p WHERE id = %s",
        f"second-{status}",
        status.value,
        f"first-{status}",
    )


@pytest.mark.parametrize("status", sorted(FINAL))
def test_nothing_about_a_final_proposal_changes(shared, status):
    """INV-02: no column, by nobody."""
    id_ = f"final-{status}-{uuid.uuid4().hex}"
    insert_in(shared, status, id_)
    before = shared.image(id_)
    columns = [column.name for column in Proposal.__table__.columns]

    for column in columns:
        assert not attempt(
            shared, f"UPDATE proposals SET {column} = {column} WHERE id = %s", id_
        ), column
    assert not attempt(shared, "DELETE FROM proposals WHERE id = %s", id_)
    assert shared.image(id_) == before


CONTENT = {
    "id": "'other'",
    "type": "'configuration'",
    "proposer": "'sam'",
    "title": "'x'",
    "description": "'x'",
    "reason": "'x'",
    "payload": "'{\"a\":1}'",
    "payload_hash": "sha256('x')",
    "track": "'protected'",
    "voting_hours": "73",
    "electorate": "'another'",
    "predecessor": "'another'",
    "created_at": "now() - interval '1 day'",
}
FROZEN = {
    "opened_at": "opened_at - interval '1 second'",
    "terms": '\'{"quorum": "0"}\'',
    "weights": '\'{"CORE": "500"}\'',
    "eligible_weight": "1",
    "eligible_members": "1",
    "electorate_version": "99",
}


@pytest.mark.parametrize("column", CONTENT)
@pytest.mark.parametrize("status", ["draft", "active", "queued", "executed"])
def test_what_was_proposed_cannot_change(shared, column, status):
    """INV-33: what is voted on and executed is what was proposed."""
    id_ = f"content-{uuid.uuid4().hex}"
    insert_in(shared, status, id_)

    assert not attempt(
        shared, f"UPDATE proposals SET {column} = {CONTENT[column]} WHERE id = %s", id_
    )


@pytest.mark.parametrize(
    ("opens", "electorate", "allowed"),
    [
        (True, "balance:coins@7.1.0.7", True),
        (False, "balance:coins@7.1.0.7", False),
        (True, "balance:gold@7.1.0.7", False),
        (True, "balance:coins", True),
        (True, None, False),
    ],
)
def test_a_roll_by_balance_is_named_exactly_at_opening(shared, opens, electorate, allowed):
    """INV-33: the source that was proposed, as it stood then, and no other."""
    id_ = f"balance-{uuid.uuid4().hex}"
    insert_in(shared, "draft", id_)
    with shared.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE proposals SET electorate = 'balance:coins' WHERE id = %s", (id_,))
    status = "status = 'active'," if opens else ""

    changed = f"UPDATE proposals SET {status} electorate = %s WHERE id = %s"
    assert attempt(shared, changed, electorate, id_) is allowed


@pytest.mark.parametrize("column", FROZEN)
@pytest.mark.parametrize("status", ["active", "queued", "executed"])
def test_what_was_frozen_at_opening_cannot_change(shared, column, status):
    """INV-17, INV-28: terms, weights, roll and total."""
    id_ = f"frozen-{uuid.uuid4().hex}"
    insert_in(shared, status, id_)

    assert not attempt(
        shared, f"UPDATE proposals SET {column} = {FROZEN[column]} WHERE id = %s", id_
    )


def test_instance_stays_what_it_was_founded_as(shared):
    assert not attempt(shared, "UPDATE instance SET sandbox = NOT sandbox")
    assert not attempt(shared, "UPDATE instance SET clock_offset = clock_offset - interval '1 us'")
    assert not attempt(shared, "INSERT INTO instance VALUES (2, true, now(), interval '0')")
    assert attempt(shared, "UPDATE instance SET clock_offset = clock_offset + interval '1 us'")


def test_production_has_no_clock_of_its_own(production):
    assert not attempt(production, "UPDATE instance SET clock_offset = interval '1 second'")


@pytest.mark.parametrize("function", ["forge_accept_ballots", "forge_submit_commands"])
@pytest.mark.parametrize("issuer", [None, "", "two words", "x" * 101, "tab\tbed", "é"])
def test_an_issuer_is_a_short_printable_name(shared, function, issuer):
    with pytest.raises(InvalidParameterValue):
        shared.sql(f"SELECT * FROM {function}(%s, '[]')", issuer)


@pytest.mark.parametrize("function", ["forge_accept_ballots", "forge_submit_commands"])
def test_a_call_carries_at_most_ten_thousand(shared, function):
    with pytest.raises(ProgramLimitExceeded):
        shared.sql(
            f"SELECT * FROM {function}('x', (SELECT json_agg(json_build_object())"
            " FROM generate_series(1, 10001)))"
        )


def test_a_call_with_anything_but_a_list_is_an_error_of_its_own(shared):
    for given in ("{}", "1", '"x"', "[1]", "null"):
        with pytest.raises(psycopg2.Error):
            shared.sql("SELECT * FROM forge_accept_ballots('x', %s)", given)
