"""Every payload that a page shows is one that a proposal may carry."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from forge_core.actions.additions import DECLARATIONS, capability
from forge_core.actions.payloads import Payload, parse_payload
from forge_core.advisory.analysis import Analysis
from forge_core.capabilities.extensions import Extension
from forge_core.wiring import CATALOGUE
from forge_workers.api.forms import Advice
from forge_workers.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)`[^|]* \| `(\{.*\})` \|$", re.MULTILINE)


class Example(NamedTuple):
    """A line of the page's table."""

    type: str
    raw: Any


def examples() -> list[Example]:
    page = (DOCS / "enforcement.md").read_text(encoding="utf-8")
    _, _, after = page.partition("\n## What a proposal carries\n")
    section, _, _ = after.partition("\n## ")
    return [Example(type_, json.loads(raw)) for type_, raw in ROW.findall(section)]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.type)
def test_an_example_is_accepted_as_it_stands(example: Example) -> None:
    assert parse_payload(example.type, example.raw, CATALOGUE).json() == example.raw


def test_every_type_has_an_example_and_every_field_is_in_one() -> None:
    shown = {type_: set[str]() for type_ in CATALOGUE.types}
    for example in examples():
        shown[example.type].update(example.raw)
    fields = {type_: set(CATALOGUE.kind(type_).model.model_fields) for type_ in CATALOGUE.types}
    assert {type_: shown[type_] - {"actions"} for type_ in shown} == fields


def test_every_kind_of_extension_has_an_example_with_every_field() -> None:
    shown = {
        example.raw["kind"]: set(example.raw["declaration"])
        for example in examples()
        if example.type == "registry_extension"
    }
    assert shown == {kind: set(model.model_fields) for kind, model in DECLARATIONS.items()}


def test_every_action_of_an_emergency_and_several_actions_have_an_example() -> None:
    emergencies = {one.raw["action"] for one in examples() if one.type == "emergency"}
    assert emergencies == {"pause", "resume", "adjust"}
    assert any("actions" in example.raw for example in examples())


def proposed(command: str, catalogue: Any) -> Payload:
    """What such a `forge proposal create` would carry; refuses what the command does not know."""
    forge, *words = shlex.split(command)
    assert (forge, words[:2]) == (".venv/bin/forge", ["proposal", "create"])
    create = typer.main.get_command(app).commands["proposal"].commands["create"]
    given = create.make_context("create", words[2:]).params
    return parse_payload(given["type_"], json.loads(given["payload"]), catalogue)


def test_a_parameter_added_without_code_is_changed_by_the_command_below() -> None:
    page = (DOCS / "capabilities.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    adds, changes = block.splitlines()
    (added,) = proposed(adds, CATALOGUE).actions
    key = capability(Extension(added.name, added.kind, added.declaration))
    (changed,) = proposed(changes, CATALOGUE.with_extensions([key], ())).actions
    assert changed.key == added.name


def test_the_terms_of_asking_a_model_are_changed_as_shown() -> None:
    (shown,) = re.findall(r"^```json\n(\{.*\})\n```$", _page("advice"), re.MULTILINE)
    terms = parse_payload("governance_rule", json.loads(shown), CATALOGUE).actions[0].new_value
    assert terms.items() >= json.loads(shown)["new_value"].items()


def test_the_advice_that_the_gateways_page_shows_has_the_form_of_one() -> None:
    (shown,) = re.findall(r"^```json\n(\{.*?^\})\n```$", _page("gateway"), re.MULTILINE | re.DOTALL)
    advice = Advice.model_validate(json.loads(shown) | {"analysis": None})
    assert set(json.loads(shown)) == set(Advice.model_fields)
    given = json.loads(shown)["analysis"]
    known = {"source", "analyser", "constitution", "recommendation", "confidence"}
    Analysis.model_validate({name: getattr(advice, name) for name in known} | given)


def _page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")
