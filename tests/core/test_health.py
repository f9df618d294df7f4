"""Health: what is unwell from when on, what is mended, and the one incident that tells of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forge_core.clock import forge_now
from forge_core.database import transaction
from forge_core.enforcement.outbox import DELIVERED
from forge_core.immune.health import (
    LATE,
    PULSE_LATE,
    STUCK,
    UNSIGNED_LATE,
    Look,
    Symptom,
    conclude,
    note,
    pulse,
    symptoms_of,
)
from forge_core.immune.incidents import paused_until
from forge_core.immune.vitals import EVENTS, LOOK, Vitals, read_vitals
from forge_core.ledger.entries import Entry, append
from forge_core.settings import Settings
from forge_workers.health import beat_pulse, look_after
from forge_workers.leases import mirror_leases
from forge_workers.queues import PULSES, QUEUE_OF
from forge_workers.sweeping import Swept, sweep
from tests.core.factories import House

PAGE = Path(__file__).parents[2] / "docs" / "runbooks.md"
QUEUES = sorted(set(QUEUE_OF.values()))
ALL_WELL = Vitals(pulses=dict.fromkeys(QUEUES, 1.0), waiting={}, sealed=3, signed=3)

LATENESS = {
    "expired leases": ("expired_lease", LATE),
    "uncounted ballots": ("uncounted_ballot", LATE),
    "overdue votings": ("overdue_voting", LATE),
    "stuck proposals": ("stuck", STUCK),
    "unjudged events": ("unjudged_event", LATE),
    "waiting effects": ("waiting_effect", LATE),
    "unsealed entries": ("unsealed_entry", LATE),
    "signed entries": ("unsigned_entry", UNSIGNED_LATE),
}


def unwell(vitals: Vitals) -> set[str]:
    return {symptom.name for symptom in symptoms_of(vitals) if not symptom.well}


# The rules


def test_house_at_work_is_well() -> None:
    assert unwell(ALL_WELL) == set()


@pytest.mark.parametrize("name", LATENESS)
def test_lateness_counts_from_its_threshold_on(name: str) -> None:
    field, most = LATENESS[name]

    assert unwell(replace(ALL_WELL, **{field: most - 0.001})) == set()
    assert unwell(replace(ALL_WELL, **{field: most})) == {name}


def test_queue_whose_jobs_wait_is_named() -> None:
    waits = replace(ALL_WELL, waiting={"votes": LATE, "closure": LATE - 1})

    (symptom,) = [one for one in symptoms_of(waits) if not one.well]
    assert (symptom.name, symptom.found) == ("waiting jobs", "30.0 s (votes)")


@pytest.mark.parametrize("age", [PULSE_LATE, None])
def test_queue_without_a_pulse_is_unwell(age: float | None) -> None:
    pulses = {**ALL_WELL.pulses, "votes": age, "closure": PULSE_LATE - 0.001}

    assert unwell(replace(ALL_WELL, pulses=pulses)) == {"pulse of votes"}


def test_beat_is_unwell_when_every_queue_is_though_the_consumer_of_events_is_not() -> None:
    pulses = {**dict.fromkeys(QUEUES, PULSE_LATE), EVENTS: 1.0}

    assert unwell(replace(ALL_WELL, pulses=pulses)) == {
        "beat",
        *(f"pulse of {queue}" for queue in QUEUES),
    }


@pytest.mark.parametrize(
    ("field", "name"),
    [("dead_jobs", "dead jobs"), ("dead_effects", "dead effects"), ("findings", "verification")],
)
def test_one_is_too_many(field: str, name: str) -> None:
    assert unwell(replace(ALL_WELL, **{field: 1})) == {name}


def test_dead_letters_are_only_told() -> None:
    assert unwell(replace(ALL_WELL, dead_letters=1000)) == set()


def test_every_symptom_has_its_section_in_the_runbooks(settings: Settings) -> None:
    titles = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {title.lower().replace(" ", "-") for title in titles}
    pulses = {**ALL_WELL.pulses, EVENTS: 1.0, LOOK: 1.0}
    seen: list[Symptom] = symptoms_of(replace(ALL_WELL, pulses=pulses))
    from forge_workers.health import _servers, mirror_symptoms

    seen += [*_servers(settings), *mirror_symptoms(settings)]

    assert {symptom.runbook for symptom in seen} | {"incident"} == anchors


# What the rows say


@pytest.fixture
def well(house: House, folder: Path) -> House:
    """A house where everybody has just been at work."""
    house.settle()
    house.checkpoint(folder)  # its first one is an entry itself
    house.checkpoint(folder)
    for queue in QUEUES:
        beat_pulse(house.app, queue)
    return house


def read(house: House) -> Vitals:
    with transaction(house.app) as session:
        return read_vitals(session, QUEUE_OF)


def test_every_queue_has_a_pulse_of_its_own(well: House) -> None:
    assert sorted(PULSES.values()) == QUEUES
    assert set(read(well).pulses) == set(QUEUES)
    assert unwell(read(well)) == set()

    well.sql("DELETE FROM heartbeats WHERE name = 'votes'")
    well.sql("UPDATE heartbeats SET at = at - INTERVAL '1 min' WHERE name = 'closure'")
    assert unwell(read(well)) == {"pulse of votes", "pulse of closure"}


def test_consumer_of_events_is_watched_from_its_first_pulse_on(well: House) -> None:
    for name in (EVENTS, "of an earlier version"):
        with transaction(well.app) as session:
            pulse(session, name)
    well.sql("UPDATE heartbeats SET at = at - INTERVAL '1 h' WHERE name NOT IN ('votes')")

    found = unwell(read(well))
    assert f"pulse of {EVENTS}" in found
    assert not any("earlier" in name for name in found)
    assert "beat" not in found


def _sql(statement: str) -> Callable[[House, float], None]:
    def make(house: House, age: float) -> None:
        house.sql(f"SET session_replication_role = replica; {statement}", age)

    return make


def _open(statement: str) -> Callable[[House, float], None]:
    def make(house: House, age: float) -> None:
        house.open()
        _sql(statement)(house, age)

    return make


def _old_entry(house: House, age: float) -> None:
    with transaction(house.app) as session:
        at = forge_now(session) - timedelta(seconds=age)
        append(session, [Entry(DELIVERED, at, "system", "p/0/apply", {})])


def _old_sealed_entry(house: House, age: float) -> None:
    _old_entry(house, age)
    house.seal()


TROUBLES: dict[str, tuple[str, float, Callable[[House, float], None]]] = {
    "job": (
        "waiting jobs",
        LATE,
        _sql("""
            INSERT INTO jobs (kind, key, once, payload, actor, created_at, not_before)
            SELECT 'votes.recount', 'x', true, '{}', 'system', at, at
            FROM (SELECT clock_timestamp() - make_interval(secs => %s) AS at) AS waiting
        """),
    ),
    "lease": (
        "expired leases",
        LATE,
        _sql("""
            INSERT INTO jobs (kind, key, once, payload, actor, state, lease_until)
            VALUES ('votes.recount', 'x', true, '{}', 'system', 'running',
                clock_timestamp() - make_interval(secs => %s))
        """),
    ),
    "ballot": (
        "uncounted ballots",
        LATE,
        _sql("""
            INSERT INTO ballot_inbox (ballot_id, proposal_id, member_id, choice, weight,
                accepted_at, issuer, command_id)
            VALUES (1, 'p', 'm', 'for', 1, forge_now() - make_interval(secs => %s), 'i',
                gen_random_uuid())
        """),
    ),
    "voting": (
        "overdue votings",
        LATE,
        _open("""
            UPDATE proposals SET opened_at = at - INTERVAL '1 h', closes_at = at
            FROM (SELECT forge_now() - make_interval(secs => %s) AS at) AS over
        """),
    ),
    "execution": (
        "stuck proposals",
        STUCK,
        _open("""
            UPDATE proposals SET status = 'queued', eta = at, expires_at = at + INTERVAL '1 h'
            FROM (SELECT forge_now() - make_interval(secs => %s) AS at) AS due
        """),
    ),
    "grace": (
        "stuck proposals",
        STUCK,
        _open("""
            INSERT INTO proposals SELECT (jsonb_populate_record(p, jsonb_build_object(
                'id', 'first', 'status', 'failed'))).* FROM proposals AS p;
            UPDATE proposals SET status = 'queued', eta = at - INTERVAL '1 h', expires_at = at,
                predecessor = 'first'
            FROM (SELECT forge_now() - make_interval(secs => %s) AS at) AS over
            WHERE status = 'active'
        """),
    ),
    "approval": (
        "stuck proposals",
        STUCK,
        _open("""
            UPDATE proposals SET status = 'approved',
                lapses_at = forge_now() - make_interval(secs => %s)
        """),
    ),
    "event": (
        "unjudged events",
        LATE,
        _sql("""
            INSERT INTO runtime_unjudged (subject_kind, subject, at, source, id, noted_at)
            VALUES ('overlay', 'leaf', now(), 'runtime', 'e1',
                clock_timestamp() - make_interval(secs => %s))
        """),
    ),
    "effect": (
        "waiting effects",
        LATE,
        _sql("""
            INSERT INTO outbox (proposal_id, action, direction, capability, before, after,
                not_before)
            VALUES ('p', 0, 'apply', 'mood', '3', '4',
                clock_timestamp() - make_interval(secs => %s))
        """),
    ),
    "unsealed": ("unsealed entries", LATE, _old_entry),
    "unsigned": ("signed entries", UNSIGNED_LATE, _old_sealed_entry),
}


@pytest.mark.parametrize("what", TROUBLES)
def test_each_lateness_is_seen_from_its_threshold_on(well: House, what: str) -> None:
    name, most, make = TROUBLES[what]
    make(well, most)

    assert unwell(read(well)) == {name}


@pytest.mark.parametrize("what", TROUBLES)
def test_what_is_not_late_yet_is_well(well: House, what: str) -> None:
    _, most, make = TROUBLES[what]
    make(well, most - 20)

    assert unwell(read(well)) == set()


def test_what_is_given_up_is_counted(well: House) -> None:
    well.sql("""
        INSERT INTO jobs (kind, key, once, payload, actor, state, finished_at)
        VALUES ('votes.recount', 'x', true, '{}', 'system', 'dead', now());
        INSERT INTO outbox (proposal_id, action, direction, capability, before, after, state)
        VALUES ('p', 0, 'apply', 'mood', '3', '4', 'dead');
        UPDATE ledger_audits SET findings = '[{}, {}]'
    """)

    vitals = read(well)
    assert (vitals.dead_jobs, vitals.dead_effects, vitals.findings) == (1, 1, 2)


def test_what_a_window_or_a_predecessor_holds_back_is_not_stuck(well: House) -> None:
    TROUBLES["execution"][2](well, STUCK)
    well.sql("UPDATE proposals SET predecessor = 'p-that-failed'")
    assert unwell(read(well)) == set()

    well.sql("UPDATE proposals SET predecessor = NULL")
    assert unwell(read(well)) == {"stuck proposals"}
    well.sql("""
        INSERT INTO execution_windows (id, kind, from_at, until_at, imposed_by)
        VALUES ('w', 'freeze', forge_now(), forge_now() + INTERVAL '1 h', 'gus')
    """)
    assert unwell(read(well)) == set()


def test_nothing_is_late_because_a_sandboxs_clock_was_moved(well: House) -> None:
    well.open()
    well.propose()
    well.advance(days=60)

    vitals = read(well)
    assert vitals.overdue_voting is not None
    assert vitals.stuck is not None
    assert unwell(vitals) == set()


def test_what_no_version_knows_waits_in_nobodys_queue(well: House) -> None:
    TROUBLES["job"][2](well, LATE)
    well.sql("UPDATE jobs SET kind = 'votes.of_tomorrow'")

    (symptom,) = [one for one in symptoms_of(read(well)) if not one.well]
    assert "votes.of_tomorrow" in symptom.found


def test_clock_that_was_set_back_makes_nothing_late(well: House) -> None:
    well.sql("UPDATE heartbeats SET at = at + INTERVAL '1 h'")

    assert unwell(read(well)) == set()


# Looks


SICK = Symptom("dead jobs", False, "1", runbook="dead-jobs")
HEALTHY = replace(SICK, well=True)


def look(house: House, *symptoms: Symptom) -> Look | None:
    with transaction(house.app) as session:
        return note(session, symptoms)


def seconds_pass(house: House, seconds: float = 10) -> None:
    house.sql("UPDATE heartbeats SET at = at - make_interval(secs => %s)", seconds)


def test_symptom_is_lasting_when_it_was_there_at_the_last_look(house: House) -> None:
    assert look(house, SICK) == Look((), clear=False)
    seconds_pass(house)
    assert look(house, SICK) == Look((SICK,), clear=False)
    seconds_pass(house)
    assert look(house, HEALTHY) == Look((), clear=False)
    seconds_pass(house)
    assert look(house, HEALTHY) == Look((), clear=True)
    seconds_pass(house)
    assert look(house, SICK) == Look((), clear=False)


def test_look_right_after_another_says_nothing(house: House) -> None:
    look(house, SICK)

    assert look(house, SICK) is None


def test_look_of_long_ago_says_nothing(house: House) -> None:
    """The house was shut down, unwell, and has just been started."""
    look(house, SICK)
    seconds_pass(house, 3_600)

    assert look(house, SICK) == Look((), clear=False)


def test_look_from_a_time_to_come_says_nothing(house: House) -> None:
    look(house, SICK)
    seconds_pass(house, -3_600)

    assert look(house, SICK) == Look((), clear=False)


def test_of_looks_at_once_one_counts(house: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda _: look(house, SICK), range(8)))

    assert len([one for one in looks if one is not None]) == 1


# Mending and telling


@pytest.fixture
def served(well: House, broker_url: str, redis_url: str, folder: Path) -> Iterator[Attendant]:
    """The well house, with servers beside its database."""
    url = well.server.url
    settings = Settings(
        home=folder,
        database_url=url("forge_app", well.name),
        migrate_database_url=url("forge_migrate", well.name),
        client_database_url=url("forge_client", well.name),
        reader_database_url=url("forge_reader", well.name),
        broker_url=broker_url,
        redis_url=redis_url,
    )
    yield Attendant(well, settings)
    _forget_mirror()


class Attendant:
    """Looks after a house as the task does, ten seconds after the last time."""

    def __init__(self, house: House, settings: Settings) -> None:
        self.house = house
        self.settings = settings
        self.woken: list[str] = []

    def look(self) -> None:
        mirror_leases(self.house.app, self.settings)
        self.house.sql("UPDATE heartbeats SET at = at - INTERVAL '10 s' WHERE name = %s", LOOK)
        look_after(self.house.app, self.settings, self.woken.extend)

    def incidents(self) -> list[dict[str, Any]]:
        rows = self.house.sql("SELECT to_jsonb(i) FROM incidents AS i ORDER BY opened_at")
        return [row for (row,) in rows]


def _forget_mirror() -> None:
    from forge_workers.leases import _mirror

    _mirror.cache_clear()


def dead_job(house: House) -> None:
    house.sql("""
        INSERT INTO jobs (kind, key, once, payload, actor, state, finished_at)
        VALUES ('votes.recount', 'x', true, '{}', 'system', 'dead', now())
    """)


def test_house_that_is_well_makes_no_entries(served: Attendant) -> None:
    before = len(served.house.entries())
    for _ in range(5):
        served.look()

    assert len(served.house.entries()) == before
    assert served.woken == []


def test_lost_job_is_derived_anew_and_recorded(served: Attendant) -> None:
    TROUBLES["voting"][2](served.house, LATE)
    assert served.house.sql("SELECT FROM jobs WHERE kind = 'proposals.close'") == []
    served.look()
    assert served.woken == []
    served.look()

    assert served.house.sql("SELECT state FROM jobs WHERE kind = 'proposals.close'") == [
        ("pending",)
    ]
    assert "proposals.close" in served.woken
    (incident,) = served.incidents()
    assert incident["details"]["repaired"] == {"leases": 0, "jobs": 1, "wake_ups": 0}
    assert [one["name"] for one in incident["details"]["symptoms"]] == ["overdue votings"]


def test_expired_lease_is_taken_back_and_its_job_woken(served: Attendant) -> None:
    TROUBLES["lease"][2](served.house, 60)
    served.look()
    served.look()

    assert served.house.one("SELECT lost FROM jobs WHERE kind = 'votes.recount'") == 1
    (incident,) = served.incidents()
    assert incident["details"]["repaired"]["leases"] == 1


def test_one_incident_however_often_it_is_looked_and_whatever_joins(served: Attendant) -> None:
    dead_job(served.house)
    served.look()
    assert served.incidents() == []
    served.look()
    (opened,) = served.incidents()
    entries = len(served.house.entries())

    served.house.sql("UPDATE ledger_audits SET findings = '[{}]'")
    for _ in range(5):
        served.look()

    assert served.incidents() == [opened]
    assert len(served.house.entries()) == entries
    assert (opened["kind"], opened["subject"], opened["pauses_until"]) == ("health", "house", None)
    assert opened["details"] == {
        "symptoms": [{"name": "dead jobs", "found": "1", "runbook": "docs/runbooks.md#dead-jobs"}],
        "repaired": {},
    }


def test_incident_closes_when_all_was_well_twice(served: Attendant) -> None:
    dead_job(served.house)
    served.look()
    served.look()
    served.house.sql("DELETE FROM jobs")
    served.look()
    assert served.incidents()[0]["closed_at"] is None
    served.look()
    assert served.incidents()[0]["closed_at"] is not None

    dead_job(served.house)
    served.look()
    served.look()
    assert [one["closed_at"] is None for one in served.incidents()] == [False, True]


def test_symptom_that_comes_and_goes_between_looks_is_no_incident(served: Attendant) -> None:
    for _ in range(3):
        dead_job(served.house)
        served.look()
        served.house.sql("DELETE FROM jobs")
        served.look()

    assert served.incidents() == []


def test_incident_of_health_pauses_nothing(served: Attendant) -> None:
    dead_job(served.house)
    served.look()
    served.look()

    with transaction(served.house.app) as session:
        assert paused_until(session) is None


def test_server_beside_the_database_that_is_away_is_told_without_its_address(
    served: Attendant,
) -> None:
    served.settings = replace(served.settings, broker_url="redis://:secret@127.0.0.1:1/0")
    served.look()
    served.look()

    (incident,) = served.incidents()
    assert incident["details"]["symptoms"] == [
        {"name": "broker", "found": "does not answer", "runbook": "docs/runbooks.md#broker"}
    ]


def test_mirror_that_nobody_renews_is_told(served: Attendant) -> None:
    for _ in range(2):
        seconds_pass(served.house)
        look_after(served.house.app, served.settings, served.woken.extend)
        for queue in QUEUES:
            beat_pulse(served.house.app, queue)

    (incident,) = served.incidents()
    assert [one["name"] for one in incident["details"]["symptoms"]] == ["lease mirror"]


def test_nothing_is_opened_before_genesis(empty_house: House) -> None:
    dead_job(empty_house)
    lasting = Look((SICK,), clear=False)

    with transaction(empty_house.app) as session:
        assert unwell(read_vitals(session, QUEUE_OF)) >= {"beat", "dead jobs"}
        assert conclude(session, lasting, {}) is None
    assert empty_house.entries() == []


def test_of_two_who_conclude_at_once_one_opens(house: House) -> None:
    def open_it(_: int) -> str | None:
        with transaction(house.app) as session:
            return conclude(session, Look((SICK,), clear=False), {})

    with ThreadPoolExecutor(4) as pool:
        opened = [one for one in pool.map(open_it, range(4)) if one is not None]

    assert len(house.entries("immune.incident_opened")) == 1
    assert len(opened) >= 1


def test_sweep_says_what_it_did(well: House) -> None:
    TROUBLES["lease"][2](well, 1)
    TROUBLES["voting"][2](well, 1)
    woken: list[str] = []

    assert sweep(well.app, woken.extend) == Swept(leases=1, jobs=1, wake_ups=0)
    assert woken == ["proposals.close"]
