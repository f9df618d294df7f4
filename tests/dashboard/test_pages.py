"""Governance pages inside Flower: all is shown, as text; strangers and actions are not let in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.advisory.advising import give
from forge_core.advisory.analysis import Analysis
from forge_core.database import transaction
from forge_workers.dashboard.pages import RIVALS_MOST, ROUTES, shares
from forge_workers.dashboard.templates import FLOWERS, OURS, Templates, with_tab
from forge_workers.words import advice as words
from forge_workers.words import values
from tests.advice.asking import answer
from tests.conftest import TEMPLATE, _servers
from tests.core.conftest import _house
from tests.core.factories import House, found_house
from tests.dashboard.flower import Dashboard, Page, flower
from tests.support import short_folder

pytestmark = pytest.mark.processes

HOSTILE = (
    "<script>document.title='taken'</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} "
    "{% raw x %} </details></main> \u202egnp.exe\u202c \x1b[31m"
)
SEEN = HOSTILE.replace("\u202e", "�").replace("\u202c", "�").replace("\x1b", "�")


def analysis(**given) -> Analysis:
    """A model's, with every field that is text hostile."""
    said = answer("oppose", summary=f"In short: {HOSTILE}")
    point = {"principle": "security", "severity": "critical", "explanation": HOSTILE}
    opinion = {"of": "fairness", "recommendation": "support", "confidence": 0.4, "summary": HOSTILE}
    precedent = {"proposal": "p-1", "title": HOSTILE, "outcome": "executed", "likeness": 0.7}
    return Analysis.model_validate(
        said
        | {
            "source": "council",
            "analyser": "claude",
            "constitution": "package-1",
            "risks": [
                {**point, "quote": HOSTILE},
                *({**point, "severity": "low", "explanation": f"Small {n}."} for n in range(5)),
            ],
            "benefits": [{**point, "severity": "low"}],
            "modifications": [HOSTILE],
            "precedents": [{**precedent, "because": HOSTILE}],
            "signals": [{"kind": "override", "where": "title", "quote": HOSTILE}],
            "dissent": [opinion],
            "readings": [{**opinion, "of": "payload only"}],
            "model": "claude-test",
            "prompt": "advise-1",
            **given,
        }
    )


@pytest.fixture(scope="module")
def world(pytestconfig: pytest.Config) -> Iterator[SimpleNamespace]:
    """One house with a proposal of every sort, and Flower over it."""
    servers = _servers(pytestconfig)
    with _house(servers, TEMPLATE) as house:
        found_house(house)
        texts = {"title": HOSTILE[:200], "description": HOSTILE, "reason": HOSTILE}
        kind = house.open(title="Be kind", payload={"text": "To everybody."})
        house.sweep()
        house.perform("advisory.analyse")
        house.approve(kind)
        house.close_now()
        house.perform("enforcement.execute")
        ids = SimpleNamespace(
            executed=kind,
            erased=house.open(title="A name", description="Somebody's name."),
            hostile=house.open(**texts, payload={"text": HOSTILE}),
            fallback=house.open(title="Fallen back"),
            draft=house.propose(title="Not yet"),
        )
        house.sweep()
        house.perform("advisory.analyse")
        with transaction(house.app) as session:
            give(session, {ids.hostile: analysis()}, number=2)
            failed = analysis(source="fallback", error=HOSTILE, model=None, prompt=None)
            give(session, {ids.fallback: failed}, number=2)
        house.vote(ids.hostile, "tara", "for")
        house.vote(ids.hostile, "cora", "against")
        house.perform("votes.count")
        _erase(house, ids.erased)
        folder = short_folder()
        url = house.server.url("forge_reader", house.name)
        with flower(folder, reader_url=url, broker_url=servers.broker_url) as dashboard:
            yield SimpleNamespace(house=house, ids=ids, dashboard=dashboard)
        shutil.rmtree(folder)


def _erase(house: House, proposal: str) -> None:
    kept = [house.column(proposal, column) for column in ("title", "description")]
    advice = house.one("SELECT analysis FROM advice WHERE proposal_id = %s", proposal)
    for commitment in (*kept, advice):
        house.do("ledger.erase_text", "cora", commitment=commitment, reason="Asked for.")


@pytest.fixture
def dashboard(world) -> Dashboard:
    return world.dashboard


def proposal_page(world, name: str) -> Page:
    answer = world.dashboard.get(f"/governance/proposals/{getattr(world.ids, name)}")
    assert answer.status == 200
    return answer.page


PATHS = [
    "/governance",
    "/governance/is/active",
    "/governance/proposals/{hostile}",
    "/governance/advice",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("password", [None, "wrong"])
def test_strangers_see_nothing(world, path, password):
    answer = world.dashboard.get(path.format(**vars(world.ids)), password=password)

    assert answer.status == 401
    assert "taken" not in answer.source


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_done_here(world, path, method):
    answer = world.dashboard.get(path.format(**vars(world.ids)), method=method)

    assert answer.status == 405


@pytest.mark.parametrize("path", PATHS)
def test_a_page_runs_no_foreign_script_and_is_kept_nowhere(world, path):
    headers = world.dashboard.get(path.format(**vars(world.ids))).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", [*PATHS, "/workers", "/tasks", "/broker"])
def test_flowers_pages_and_ours_are_one_place(world, path):
    links = world.dashboard.get(path.format(**vars(world.ids))).page.all("a", "nav-link")
    tabs = {one.text: one for one in links}

    assert tabs["Governance"].attributes["href"] == "/governance"
    assert tabs["Workers"].attributes["href"] == "/workers"
    assert tabs["Governance"].has("active") == path.startswith("/governance")


def test_no_page_of_ours_hides_one_of_flowers():
    assert not {path.name for path in OURS.iterdir()} & {path.name for path in FLOWERS.iterdir()}
    assert "governance" in with_tab((FLOWERS / "navbar.html").read_text(encoding="utf-8"))


def test_every_page_is_behind_the_password_but_the_style():
    open_ = [route.name for route in ROUTES if not hasattr(route.handler_class, "show")]

    assert open_ == ["governance-static"]


def test_the_list_shows_status_votes_and_advice(world):
    page = world.dashboard.get("/governance").page
    rows = {row.text for row in page.all("tr")}

    (hostile,) = [row for row in rows if SEEN[:100] in row]
    assert "active 3 for, 5 against" in hostile
    assert hostile.endswith("oppose council")
    (executed,) = [row for row in rows if "Be kind" in row]
    assert "executed" in executed
    (draft,) = [row for row in rows if "Not yet" in row]
    assert draft.endswith("none yet")
    assert [row for row in rows if row.startswith("erased ")]
    assert words.ADVISORY in page.text


def test_the_list_of_one_status(dashboard):
    page = dashboard.get("/governance/is/executed").page

    assert "Be kind" in page.text
    assert "Not yet" not in page.text
    assert "There are no such proposals" in dashboard.get("/governance/is/failed").page.text


def test_a_long_list_is_read_page_by_page(world, dashboard):
    oldest = world.ids.executed
    newer = dashboard.get(f"/governance?before={world.ids.hostile}").page

    assert "Be kind" in newer.text
    assert SEEN[:50] not in newer.text
    assert "no such proposals" in dashboard.get(f"/governance?before={oldest}").page.text
    assert dashboard.get("/governance?before=nothing").status == 404
    assert dashboard.get("/governance?before=%00").status == 422


def test_the_short_of_advice_is_seen_first_and_the_rest_on_demand(world):
    page = proposal_page(world, "hostile")
    (card,) = [one for one in page.all("section") if one.attributes.get("id") == "advice"]
    whole = next(one for one in page.all("details") if one.text.startswith("All of it"))
    first = card.text.partition("All of it")[0]

    assert words.ADVISORY in first
    assert "oppose confidence 0.8, by council" in first
    assert "In short" in first
    assert "critical" in first
    assert f"Otherwise thinks fairness: SUPPORT, confidence 0.4. {SEEN}" in first
    assert "Small 1." in first
    assert "Small 4." not in first
    for said in ("Small 4.", "Principles", "Better would be", "Read in other ways", "payload only",
                 "70% alike", "In its texts", "claude-test, advise-1"):  # fmt: skip
        assert said in whole.text
    assert "open" not in whole.attributes
    assert "Given before" in card.text
    assert "No other proposal that was so advised is decided yet." in card.text


def test_a_proposer_cannot_write_what_the_house_says(world):
    """The change stands before their words, which are framed and push nothing out of sight."""
    forged = "Executed now, it would change\n\u2800\u2022 motd" + "\n" * 4_000 + "the end"
    proposal = world.house.propose(
        type="configuration",
        payload={"key": "rate_limit.CORE", "new_value": 6},
        title="(erased)",
        description=forged,
    )
    page = world.dashboard.get(f"/governance/proposals/{proposal}").page

    assert page.text.index("rate_limit.CORE: 10000 → 6") < page.text.index("motd")
    (words_of_theirs,) = page.all("blockquote", "governance-words")[:1]
    assert "".join(words_of_theirs.inside).strip() == (
        "Executed now, it would change\n�\u2022 motd\n\nthe end"
    )
    assert page.all("em") == [], "what was really erased looks otherwise"


def test_whoever_withdrew_an_abstention_has_none(world):
    house = world.house
    proposal = house.open(title="Second thoughts")
    house.vote(proposal, "tara", "abstain")
    house.vote(proposal, "tara", "for")
    house.perform("votes.count")
    page = world.dashboard.get(f"/governance/proposals/{proposal}").page

    assert "3 for, 0 against" in page.text
    assert "abstain" not in page.text


def test_of_many_that_change_the_same_some_are_shown(world):
    for n in range(RIVALS_MOST + 3):
        latest = world.house.propose(
            type="configuration",
            payload={"key": "rate_limit.SANDBOX", "new_value": 101 + n},
            title=f"Same {n}",
        )
    page = world.dashboard.get(f"/governance/proposals/{latest}").page

    assert page.text.count("Changes the same:") == RIVALS_MOST
    assert "and 2 more" in page.text


def test_a_fallback_says_why(world):
    page = proposal_page(world, "fallback")

    assert any(one.text == f"No model's: {SEEN}" for one in page.all("p"))
    assert "by fallback" in page.text


def test_what_was_erased_stays_erased(world):
    page = proposal_page(world, "erased")

    assert [one.text for one in page.all("em")] == ["erased", "erased"]
    assert "Its text was erased." in page.text
    assert "name" not in page.text.replace("governance", "")


def test_a_draft_has_no_advice_and_no_votes_yet(world):
    page = proposal_page(world, "draft")

    assert words.NONE_YET in page.text
    assert "Voting has not begun." in page.text


def test_a_decision_is_explained(world):
    page = proposal_page(world, "executed")

    assert "Decision: approved" in page.text
    assert all(one.text for one in page.all("li", "held"))
    assert "Changed" in page.text
    assert "Could not be executed now" not in page.text
    assert "Terms, frozen at opening" in page.text


def test_what_came_of_advice_is_told(world):
    page = world.dashboard.get("/governance/advice").page

    assert words.ADVISORY in page.text
    source, _, *counts = [cell.text for cell in page.all("td")][:6]
    assert (source, counts) == ("rules", ["1", "1 100 %", "1 100 %", "0 0 %"])
    assert "Brier score of rules" in page.text
    assert "claude-sonnet-5-5 is asked as one adviser" in page.text


@pytest.mark.parametrize("name", ["hostile", "fallback"])
def test_what_others_wrote_is_text(world, name):
    page = proposal_page(world, name)

    assert SEEN in page.text
    _only_ours(page)


def _only_ours(page: Page) -> None:
    """No element and no attribute that a text could have brought."""
    for element in page.elements:
        assert not [attribute for attribute in element.attributes if attribute.startswith("on")]
        source = element.attributes.get("src") or element.attributes.get("href") or "/"
        assert source.startswith(("/", "#", "https://flower.", "https://github.com/mher")), source
        assert element.tag != "script" or source.startswith("/static/js/")
    assert len(page.all("img")) == 1, "Flower's own"


@given(text=st.text(max_size=200))
def test_any_text_in_an_analysis_is_text_on_the_page(text):
    """The template alone, with texts that no example has."""
    told = analysis(summary=text, modifications=[text], error=text).model_dump(mode="json")
    newest = {
        "recommendation": "oppose", "confidence": "0.8", "source": "council", "analyser": text,
        "constitution": text, "analysis": told, "at": None,
    }  # fmt: skip
    source = Templates().load("advice.html").generate(
        newest=newest, earlier=None, proposal={"advice": [newest, newest]}, words=words,
        shown=values.shown, values=values, reverse_url=lambda *_: "/",
    )  # fmt: skip
    page = Page(source.decode())

    summary = page.all("p", "governance-text")[0]
    assert summary.text == " ".join(values.squeezed(text).split())
    assert {one.tag for one in page.elements} <= {
        "h2", "h3", "span", "p", "small", "ul", "li", "details", "summary", "blockquote", "table",
        "tr", "td", "br", "a",
    }  # fmt: skip
    _only_ours_attributes(page)


def _only_ours_attributes(page: Page) -> None:
    assert {name for one in page.elements for name in one.attributes} <= {"class", "href"}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/governance/proposals/p-nothing", 404, "PROPOSAL_UNKNOWN"),
        ("/governance/proposals/" + "x" * 5_000, 422, "ID_INVALID"),
        ("/governance/proposals/%00", 422, "ID_INVALID"),
        ("/governance/proposals/a%20b", 422, "ID_INVALID"),
        ("/governance/proposals/" + quote("'; DROP TABLE proposals; --"), 422, "ID_INVALID"),
        ("/governance/proposals/..%2f..%2fetc", 404, "PROPOSAL_UNKNOWN"),
        ("/governance/is/" + quote("<b>"), 404, "STATUS_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(dashboard, path, status, code):
    answer = dashboard.get(path)

    assert answer.status == status
    assert code in answer.page.text
    assert answer.page.all("a", "nav-link")


@pytest.mark.parametrize(
    "path", ["/governance/static/../pages.py", "/governance/static/..%2fpages.py"]
)
def test_only_the_style_is_served_as_a_file(dashboard, path):
    assert dashboard.get(path).status in {403, 404}
    assert dashboard.get("/governance/static/governance.css").status == 200


def test_without_a_database_a_page_says_so_and_flower_goes_on(servers, folder):
    gone = "postgresql://forge_reader:secret-word@127.0.0.1:1/forge"
    with flower(folder, reader_url=gone, broker_url=servers.broker_url) as dashboard:
        answer = dashboard.get("/governance")
        assert answer.status == 503
        assert "the database cannot be used now" in answer.page.text
        assert "secret-word" not in answer.source
        assert dashboard.get("/workers").status == 200


@pytest.mark.parametrize(
    ("weights", "bar"),
    [
        (("0", "0", "0"), []),
        ((None, None, None), []),
        (("1", "1", "2"), [("for", 0, 25), ("against", 25, 25), ("abstain", 50, 50)]),
        (("1" + "0" * 99, "0", "0"), [("for", 0, 100), ("against", 100, 0), ("abstain", 100, 0)]),
    ],
)
def test_shares_of_a_tally(weights, bar):
    names = ("for_weight", "against_weight", "abstain_weight")

    assert shares(dict(zip(names, weights, strict=True))) == bar
