"""`forge doctor` finds what is wrong, and says what to do about it."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Forge
from tests.core.factories import House, found_house


def unwell(forge: Forge) -> dict[str, str]:
    said = forge("doctor", "--json")
    found = {one["what"]: one["remedy"] for one in said.json if not one["well"]}
    assert said.status == (1 if found else 0)
    return found


@pytest.mark.usefixtures("served")
def test_healthy_house_is_well(forge: Forge) -> None:
    assert unwell(forge) == {}
    assert forge("doctor").out.count("✓") == len(forge("doctor", "--json").json)


@pytest.mark.usefixtures("house")
def test_house_without_genesis_is_told_to_have_one(forge: Forge) -> None:
    assert unwell(forge) == {"genesis": "run `forge genesis`"}


TROUBLES = {
    "oldest waiting job": """
        INSERT INTO jobs (kind, key, once, payload, actor, created_at, not_before) VALUES
        ('votes.recount', 'x', true, '{}', 'system', now() - interval '1 h', now() - interval '1 h')
    """,
    "dead jobs": """
        INSERT INTO jobs (kind, key, once, payload, actor, state, finished_at) VALUES
        ('votes.recount', 'x', true, '{}', 'system', 'dead', now())
    """,
    "oldest uncounted ballot": """
        INSERT INTO ballot_inbox
        (ballot_id, proposal_id, member_id, choice, weight, accepted_at, issuer, command_id) VALUES
        (1, 'p', 'm', 'for', 1, now() - interval '1 h', 'i', gen_random_uuid())
    """,
    "ledger": "GRANT UPDATE ON ledger_entries TO forge_app",
    "verification": "UPDATE ledger_audits SET findings = '[{}]'",
    "signed entries": """
        INSERT INTO ledger_order (position, entry_id, leaf_hash)
        SELECT row_number() OVER () - 1, id, leaf_hash FROM ledger_entries
    """,
    "unsealed entries": """
        INSERT INTO ledger_unsealed SELECT n FROM generate_series(1000, 101000) AS n
    """,
    "client role": "GRANT SELECT ON texts TO forge_client",
    "schema": "UPDATE alembic_version SET version_num = '0000'",
}


@pytest.mark.parametrize("what", TROUBLES)
def test_each_trouble_is_found(forge: Forge, house: House, what: str) -> None:
    found_house(house)
    house.sql(TROUBLES[what])

    assert set(unwell(forge)) == {what}


def test_overdue_voting_is_found(forge: Forge, house: House) -> None:
    found_house(house)
    house.open()
    house.advance(days=8)

    assert set(unwell(forge)) == {"most overdue voting"}
