"""`forge doctor` finds what is wrong, and says what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forge_core.database import transaction
from forge_core.immune.health import Look, Symptom, conclude
from forge_core.settings import Settings
from forge_workers.health import beat_pulse
from forge_workers.leases import _mirror, mirror_leases
from forge_workers.queues import QUEUE_OF
from tests.cli.conftest import Forge, working
from tests.core.factories import House, found_house

QUEUES = sorted(set(QUEUE_OF.values()))


def unwell(forge: Forge) -> dict[str, str]:
    said = forge("doctor", "--json")
    found = {one["what"]: one["remedy"] for one in said.json if not one["well"]}
    assert said.status == (1 if found else 0)
    return found


@pytest.fixture
def attended(house: House, named: Settings) -> Iterator[House]:
    """No genesis yet; beat and a worker of every queue have just been at work."""
    for queue in QUEUES:
        beat_pulse(house.app, queue)
    mirror_leases(house.app, named)
    yield house
    _mirror.cache_clear()


def test_healthy_house_is_well(forge: Forge, attended: House) -> None:
    found_house(attended)
    with working(attended):
        assert unwell(forge) == {}
        assert forge("doctor").out.count("✓") == len(forge("doctor", "--json").json)


@pytest.mark.usefixtures("attended")
def test_house_without_genesis_is_told_to_have_one(forge: Forge) -> None:
    assert unwell(forge) == {"genesis": "run `forge genesis`"}


TROUBLES = {
    "waiting jobs": """
        INSERT INTO jobs (kind, key, once, payload, actor, created_at, not_before) VALUES
        ('votes.recount', 'x', true, '{}', 'system', now() - interval '1 h', now() - interval '1 h')
    """,
    "dead jobs": """
        INSERT INTO jobs (kind, key, once, payload, actor, state, finished_at) VALUES
        ('votes.recount', 'x', true, '{}', 'system', 'dead', now())
    """,
    "uncounted ballots": """
        INSERT INTO ballot_inbox
        (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id) VALUES
        (1, 'p', 'm', 'for', 1, now() - interval '1 h', 'i', gen_random_uuid())
    """,
    "pulse of votes": "UPDATE heartbeats SET at = now() - interval '1 h' WHERE name = 'votes'",
    "ledger": "GRANT UPDATE ON ledger_entries TO forge_app",
    "verification": "UPDATE ledger_audits SET findings = '[{}]'",
    "client role": "GRANT SELECT ON texts TO forge_client",
    "reader role": "GRANT INSERT ON texts TO forge_reader",
    "schema": "UPDATE alembic_version SET version_num = '0000'",
}


@pytest.mark.parametrize("what", TROUBLES)
def test_each_trouble_is_found(forge: Forge, attended: House, what: str) -> None:
    found_house(attended)
    attended.sql(TROUBLES[what])

    assert set(unwell(forge)) == {what}


def test_overdue_voting_is_found(forge: Forge, attended: House) -> None:
    found_house(attended)
    attended.open()
    attended.sql("""
        SET session_replication_role = replica;
        UPDATE proposals SET opened_at = opened_at - interval '30 d',
            closes_at = opened_at - interval '1 d'
    """)

    assert set(unwell(forge)) == {"overdue votings"}


def test_house_where_nobody_is_at_work_has_no_pulse(forge: Forge, house: House) -> None:
    found_house(house)

    assert set(unwell(forge)) == {
        "beat",
        *(f"pulse of {queue}" for queue in QUEUES),
        "lease mirror",
    }
    assert "✗ pulse of votes: never → does a worker serve votes? (docs/runbooks.md#pulse)" in (
        forge("doctor").out
    )


def test_age_of_each_pulse_is_shown(forge: Forge, attended: House) -> None:
    found_house(attended)

    shown = {one["what"]: one["found"] for one in forge("doctor", "--json").json}
    assert all(shown[f"pulse of {queue}"].endswith(" s") for queue in QUEUES)
    assert shown["lease mirror"].startswith("renewed ")


def test_open_incident_is_shown_with_what_it_is_about(forge: Forge, attended: House) -> None:
    found_house(attended)
    symptom = Symptom("dead jobs", False, "1", runbook="dead-jobs")
    with transaction(attended.app) as session:
        opened = conclude(session, Look((symptom,), clear=False), {})

    assert set(unwell(forge)) == {f"incident {opened}"}
    out = forge("doctor").out
    assert f"✗ incident {opened}: health, open since 2" in out
    assert ": dead jobs → see `forge immune incidents` (docs/runbooks.md#incident)" in out

    with transaction(attended.app) as session:
        conclude(session, Look((), clear=True), {})
    assert unwell(forge) == {}
