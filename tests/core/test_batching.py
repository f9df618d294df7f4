"""A backlog is asked about in one batch: sent once, looked after, and written down as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from forge_core.advisory.report import advice_on
from forge_core.database import transaction
from tests.advice import messages_api as wire
from tests.advice.asking import advises, answer, answers, document, model_api
from tests.advice.messages_api import BATCHES, PATH, MessagesApi
from tests.core.factories import House
from tests.core.test_consulting import GOOD, hurry, on_terms

MANY = 5


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesApi]:
    with model_api(monkeypatch) as api:
        yield api


@pytest.fixture
def backlog(house: House, api: MessagesApi) -> list[str]:
    """Proposals that the rules have advised on, and a batch that is called for."""
    assert api.requests == []
    on_terms(house, batch_from=MANY)
    ids = [house.open(**{**GOOD, "title": f"Number {n}"}) for n in range(MANY)]
    house.sweep()
    house.perform("advisory.analyse")
    return ids


def sources(house: House, proposals: list[str]) -> list[str]:
    with transaction(house.app) as session:
        return [advice_on(session, one)[0]["source"] for one in proposals]


def look(house: House) -> None:
    """The batch's minute is over; nobody else's time is."""
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs SET not_before = clock_timestamp()"
            " WHERE kind = 'advisory.batch' AND state = 'pending'"
        )
    house.perform("advisory.batch")


def asked(api: MessagesApi, path: str) -> int:
    return sum(one.path == path for one in api.requests)


def test_a_backlog_is_asked_about_in_one_batch(house, api, backlog):
    api.batches_end = False
    api.plays(answers(lambda body: answer(summary=f"Of {document(body).get('texts')}"[:500])))

    house.perform("advisory.batch")
    look(house)
    house.perform("advisory.consult")
    assert sources(house, backlog) == ["rules"] * MANY
    assert (asked(api, BATCHES), asked(api, PATH)) == (1, 0)
    (requests,) = api.batches.values()
    assert len(requests) == len({one["custom_id"] for one in requests}) == 2 * MANY

    api.batches_end = True
    look(house)
    assert sources(house, backlog) == ["model"] * MANY
    with transaction(house.app) as session:
        for number, one in enumerate(backlog):
            assert f"Number {number}" in advice_on(session, one)[0]["analysis"]["summary"]
    assert house.sql("SELECT DISTINCT kind, state FROM jobs WHERE kind LIKE 'advisory%'") == [
        ("advisory.analyse", "done"),
        ("advisory.batch", "done"),
        ("advisory.consult", "done"),
    ]
    assert house.sql("SELECT count(*) FROM advice_batches") == [(0,)]
    assert house.sql("SELECT count(*), sum(tokens) FROM consultations WHERE outage = false") == [
        (MANY, MANY * 2 * 1_500)
    ]
    assert asked(api, PATH) == 0


def test_fewer_are_asked_about_alone(house, api):
    on_terms(house, batch_from=MANY)
    proposal = house.open(**GOOD)
    house.sweep()
    for kind in ("advisory.analyse", "advisory.batch", "advisory.consult"):
        house.perform(kind)
    assert sources(house, [proposal]) == ["model"]
    assert asked(api, BATCHES) == 0


def test_what_is_not_answered_well_is_asked_about_alone(house, api, backlog):
    def some(body):
        if "Number 3" in json.dumps(body):
            return wire.fails(500)(body)
        return (wire.says_prose() if "Number 1" in json.dumps(body) else advises())(body)

    api.plays(some)
    house.perform("advisory.batch")
    look(house)
    assert sources(house, backlog) == ["model", "rules", "model", "rules", "model"]
    api.plays(advises("revise"))
    house.perform("advisory.consult")
    assert sources(house, backlog) == ["model"] * MANY


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_batch_that_is_not_taken_leaves_them_to_be_asked_about_alone(
    house, api, backlog, monkeypatch, status
):
    with monkeypatch.context() as patch:
        patch.setattr(api, "_behave", lambda request, _: wire.fails(status)(request.body))
        house.perform("advisory.batch")
    house.perform("advisory.consult")
    assert asked(api, PATH) == 2 * MANY
    assert sources(house, backlog) == ["model"] * MANY


def test_a_look_that_fails_is_taken_again(house, api, backlog, monkeypatch):
    house.perform("advisory.batch")
    with monkeypatch.context() as patch:
        patch.setattr(api, "_behave", lambda request, _: wire.fails(529)(request.body))
        look(house)
    assert sources(house, backlog) == ["rules"] * MANY
    look(house)
    assert sources(house, backlog) == ["model"] * MANY


def test_a_batch_whose_sender_was_lost_is_not_waited_for(house, api, backlog):
    house.perform("advisory.batch")
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE advice_batches SET service_id = NULL")
    look(house)
    house.perform("advisory.consult")
    assert sources(house, backlog) == ["model"] * MANY
    assert asked(api, PATH) == 2 * MANY
    assert house.one("SELECT sum(tokens) FROM consultations") > 2 * MANY * 1_500


def test_a_batch_that_never_ends_is_given_up_after_a_day(house, api, backlog):
    api.batches_end = False
    house.perform("advisory.batch")
    with house.superuser() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE advice_batches SET started_at = started_at - INTERVAL '26 hours'")
    look(house)
    house.perform("advisory.consult")
    assert sources(house, backlog) == ["model"] * MANY


def test_votes_that_end_within_a_day_are_asked_about_alone(house, api):
    on_terms(house, batch_from=1)
    proposal = house.open(**{**GOOD, "voting_hours": 5})
    house.sweep()
    house.perform("advisory.analyse")
    house.perform("advisory.batch")
    assert api.batches == {}
    house.perform("advisory.consult")
    assert sources(house, [proposal]) == ["model"]


def test_an_answer_that_comes_after_the_vote_is_dropped(house, api, backlog):
    house.perform("advisory.batch")
    house.advance(hours=80)
    hurry(house)
    look(house)
    assert sources(house, backlog) == ["rules"] * MANY
    assert house.sql("SELECT count(*) FROM consultations WHERE ended_at IS NULL") == [(0,)]
    assert asked(api, PATH) == 0


def test_who_does_not_fit_into_the_budget_is_told_so(house, api, backlog):
    on_terms(house, batch_from=MANY, tokens_a_day=20_000)
    house.perform("advisory.batch")
    (requests,) = api.batches.values()
    assert 0 < len(requests) < 2 * MANY
    look(house)
    for _ in range(MANY):
        hurry(house)
        house.perform("advisory.consult")
    assert set(sources(house, backlog)) == {"model", "fallback"}
    assert house.one("SELECT sum(tokens) FROM consultations") <= 20_000


def test_an_answer_to_another_question_is_none(house, api):
    """The terms change while the batch is under way."""
    on_terms(house, batch_from=1, mode="council_of_calls")
    proposal = house.open(**GOOD)
    house.sweep()
    house.perform("advisory.analyse")
    house.perform("advisory.batch")
    on_terms(house, batch_from=1, mode="single")
    look(house)
    assert sources(house, [proposal]) == ["rules"]
    # It was paid for all the same: five members and the payload's reading.
    assert house.one("SELECT tokens FROM consultations") == 6 * 1_500
    house.perform("advisory.consult")
    assert sources(house, [proposal]) == ["model"]
    assert asked(api, PATH) == 2


def test_nobody_waits_a_day_for_what_a_batch_may_leave_of_the_budget(house, api, backlog):
    api.batches_end = False
    house.perform("advisory.batch")
    held = house.one("SELECT sum(tokens) FROM consultations")
    on_terms(house, tokens_a_day=int(held) + 1)
    late = house.open(**{**GOOD, "title": "Late"})
    house.sweep()
    house.perform("advisory.analyse")
    house.perform("advisory.consult")
    assert sources(house, [*backlog, late]) == ["rules"] * MANY + ["fallback"]
