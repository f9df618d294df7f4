"""What asking a model took and what came of advice, and trying it, as commands show it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.advice import messages_api as wire
from tests.advice.asking import KEY_OF_TESTS, advises, document, model_api, risk
from tests.advice.messages_api import MessagesApi
from tests.cli.conftest import Forge
from tests.core.factories import House, found_house

HOSTILE = "\x1b[31mred\x1b[0m [bold]loud[/] \u202eevil ![x](http://x/?y)"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesApi]:
    with model_api(monkeypatch) as api:
        yield api


def test_a_sample_is_tried_without_any_server(forge: Forge, api: MessagesApi) -> None:
    said = forge("advice", "try", "--model", "claude-of-tests")

    assert said.status == 0
    assert "SUPPORT, confidence 0.8, by model (claude-of-tests)" in said.out
    assert "(advisory: it decides nothing)" in said.out
    assert "2 calls, 3,000 tokens" in said.out
    assert [one.body["model"] for one in api.requests] == ["claude-of-tests"] * 2
    assert forge("advice", "try", "--json").json["is_advisory"] is True


def test_a_council_is_tried(forge: Forge, api: MessagesApi) -> None:
    assert "by council" in forge("advice", "try", "--mode", "council").out
    assert len(api.requests) == 2


def test_without_a_key_it_is_said_what_to_do(forge: Forge) -> None:
    said = forge("advice", "try")
    assert said.status == 3
    assert "set ANTHROPIC_API_KEY" in said.err
    assert "--mode off" in said.err


def test_with_mode_off_rules_advise_and_nobody_is_asked(forge: Forge, api: MessagesApi) -> None:
    said = forge("advice", "try", "--mode", "off")

    assert said.status == 0
    assert "by rules (rules-3)" in said.out
    assert api.requests == []


def test_a_try_that_fails_shows_what_voters_would_see(forge: Forge, api: MessagesApi) -> None:
    api.plays(wire.fails(401))
    said = forge("advice", "try")
    assert said.status == 1
    assert "by fallback (rules-3)" in said.out
    assert "no model's: KEY_REFUSED" in said.out
    assert KEY_OF_TESTS not in said.out + said.err


def test_a_proposal_is_tried_and_nothing_is_written_down(
    forge: Forge, house: House, api: MessagesApi
) -> None:
    found_house(house)
    proposal = house.open(title="Be kind", payload={"text": "Be kind."})
    before = len(house.entries())

    assert forge("advice", "try", proposal).status == 0
    assert document(api.requests[0].body)["texts"]["title"] == "Be kind"
    assert len(house.entries()) == before
    assert house.sql("SELECT count(*) FROM consultations") == [(0,)]
    said = forge("advice", "try", "p-none")
    assert (said.status, "PROPOSAL_UNKNOWN" in said.err) == (1, True)


def test_what_a_model_says_steers_no_terminal(forge: Forge, house: House, api: MessagesApi) -> None:
    api.plays(advises("revise", summary=HOSTILE, risks=[risk(HOSTILE)]))
    found_house(house)
    proposal = house.open()
    for kind in ("advisory.analyse", "advisory.consult"):
        house.sweep()
        house.perform(kind)

    for words in (("proposal", "show"), ("proposal", "advice")):
        said = forge(*words, proposal).out
        assert "REVISE, confidence 0.8, by model" in said
        assert "[bold]loud[/]" in said
        assert "\x1b" not in said
        assert "\u202e" not in said


def test_status_shows_what_it_took_and_what_came_of_it(
    forge: Forge, house: House, api: MessagesApi
) -> None:
    found_house(house)
    assert "No proposal that was advised on is decided yet." in forge("advice", "status").out
    approved = house.open(title="One")
    advised(house)
    api.plays(wire.refuses())
    house.open(title="Two")
    advised(house)
    house.approve(approved)
    house.advance(hours=80)
    house.settle()

    found = forge("advice", "status", "--json").json
    (day,) = found["days"]
    assert (day["consultations"], day["failed"], day["calls"]) == (2, 1, 3)
    assert day["tokens"] == found["now"]["spent"] == 4_500
    assert found["failures"] == {"MODEL_REFUSED": 1}
    by_source = {(row["source"], row["recommendation"]): row for row in found["calibration"]}
    assert by_source["model", "support"]["approved"] == 1
    assert found["brier"]["model"] == "0.0100"
    said = forge("advice", "status").out
    assert "0 of 4 turns are taken; of today's tokens 4,500 of 2,000,000." in said
    assert "1 fell back: MODEL_REFUSED" in said
    assert "Brier score of model: 0.0100" in said
    own = forge("proposal", "advice", approved).out
    assert "No other proposal that was so advised is decided yet." in own
    api.plays(advises())
    another = house.open(title="Three")
    advised(house)
    shown = forge("proposal", "advice", another).out
    assert "model said support of 1; approved 1, executed 1, rolled back 0." in shown


def advised(house: House) -> None:
    for kind in ("advisory.analyse", "advisory.consult"):
        house.sweep()
        house.perform(kind)
