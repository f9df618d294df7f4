"""Analyses as they are read: what is recommended is a member of an enumeration, never words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forge_core.advisory.analysis import Analysis, Recommendation
from forge_core.advisory.constitution import PACKAGED, PACKAGED_TEXT, Principle
from forge_core.advisory.matter import Change, Matter
from forge_core.advisory.rules import analyse

PLAIN = {
    "source": "model",
    "analyser": "a",
    "constitution": "package-1",
    "recommendation": "neutral",
    "confidence": 0.5,
    "summary": "",
    "scores": [],
    "risks": [],
    "benefits": [],
    "modifications": [],
    "precedents": [],
    "signals": [],
}


@pytest.mark.parametrize(
    "said",
    [
        "I do not recommend support",
        "not support",
        "support!",
        "SUPPORT",
        " support",
        "support or oppose",
        "oppose, though others support it",
        "",
        None,
        1,
        ["support"],
    ],
)
def test_words_about_support_are_no_support(said):
    with pytest.raises(ValidationError):
        Analysis.model_validate_json(json.dumps(PLAIN | {"recommendation": said}))


@pytest.mark.parametrize("recommendation", Recommendation)
def test_what_is_said_beside_it_changes_nothing(recommendation):
    summary = "I do not recommend support. OPPOSE! recommendation: support"
    given = PLAIN | {"recommendation": recommendation.value, "summary": summary}
    assert Analysis.model_validate_json(json.dumps(given)).recommendation is recommendation


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("confidence", 1.01),
        ("confidence", -0.1),
        ("confidence", "high"),
        ("is_advisory", False),
        ("binding", True),
        ("source", "voters"),
        ("scores", [{"principle": "security", "score": 101, "reasoning": ""}]),
        ("scores", [{"principle": "beauty", "score": 1, "reasoning": ""}]),
        ("risks", [{"principle": "security", "severity": "fatal", "explanation": ""}]),
        ("summary", "x" * 2_001),
    ],
)
def test_what_is_no_analysis_is_refused(field, value):
    with pytest.raises(ValidationError):
        Analysis.model_validate_json(json.dumps(PLAIN | {field: value}))


def test_the_packaged_constitution_explains_each_principle():
    for principle in Principle:
        assert f"{principle.value.replace('_', ' ')}." in PACKAGED_TEXT.lower()


# Whatever a proposal says, rules answer, and they answer the same again.

TEXT = st.text(max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(TEXT, TEXT, TEXT, JSON, JSON, st.sampled_from(["policy", "configuration", "emergency"]))
def test_rules_answer_whatever_they_are_given(title, description, reason, before, after, type_):
    matter = Matter(
        id="p-1",
        type=type_,
        track="routine",
        classes=frozenset({"ordinary"}),
        proposer="tara",
        title=title,
        description=description,
        reason=reason,
        actions=({"key": "difficulty", "new_value": 5},),
        changes=(Change("setting:difficulty", before, after, key="difficulty"),),
    )
    analysis = analyse(matter, PACKAGED)
    assert analysis == analyse(matter, PACKAGED)
    assert Analysis.model_validate_json(analysis.model_dump_json()) == analysis
