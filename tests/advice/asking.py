"""Answers of a model for the tests, by what it was shown; and a house that has a key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anthropic
import pytest

from forge_core.advisory.analysis import Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.consulting import claude as claude_module
from forge_core.advisory.consulting.prompt import Perspective, Reading
from forge_core.advisory.consulting.transport import BoundedTransport
from tests.advice.messages_api import Behaviour, MessagesApi, says
from tests.advice.test_messages_api import NO_AUTHORITIES

KEY_OF_TESTS = "sk-not-a-real-one"

Body = Mapping[str, Any]


@contextmanager
def model_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesApi]:
    """An API that this process asks, with a key, whenever it asks a model."""
    real = anthropic.DefaultHttpxClient
    # Making a client that knows all authorities takes long.
    monkeypatch.setattr(
        claude_module, "BoundedTransport", lambda: BoundedTransport(verify=NO_AUTHORITIES)
    )
    monkeypatch.setattr(
        anthropic, "DefaultHttpxClient", lambda **given: real(**given, verify=NO_AUTHORITIES)
    )
    with MessagesApi(advises()) as api:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY_OF_TESTS)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        yield api
        claude_module.forget_clients()


def answer(recommendation: str = "support", **given: Any) -> dict[str, Any]:
    """An answer in the form that is asked for."""
    return {
        "recommendation": recommendation,
        "confidence": 0.8,
        "summary": f"A model's word on it: {recommendation}.",
        "scores": [
            {"principle": one.value, "score": 80, "reasoning": "Little to say."}
            for one in Principle
        ],
        "risks": [],
        "benefits": [],
        "modifications": [],
        **given,
    }


def risk(explanation: str, quote: str | None = None, severity: str = "high") -> dict[str, Any]:
    assert severity in set(Severity)
    return {
        "principle": "security",
        "severity": severity,
        "explanation": explanation,
        "quote": quote,
    }


def answers(make: Callable[[Body], Mapping[str, Any]]) -> Behaviour:
    """A good message with what is made of each request."""
    return lambda body: says(json.dumps(make(body)))(body)


def advises(recommendation: str = "support", **given: Any) -> Behaviour:
    """The same whatever it is asked, from a whole council too."""

    def make(body: Body) -> Mapping[str, Any]:
        one = answer(recommendation, **given)
        if not wants_council(body):
            return one
        return {"opinions": [{**one, "perspective": member.value} for member in Perspective]}

    return answers(make)


def wants_council(body: Body) -> bool:
    return "opinions" in body["output_config"]["format"]["schema"]["properties"]


def document(body: Body) -> dict[str, Any]:
    """What the request tells of the proposal, read back as a model would."""
    (message,) = body["messages"]
    match = re.fullmatch(
        r'<document number="([0-9a-f]{16})">\n(.*)\n</document number="\1">',
        message["content"],
        re.DOTALL,
    )
    assert match is not None
    found: dict[str, Any] = json.loads(match[2])
    return found


def reading(body: Body) -> Reading:
    """Which reading a request is."""
    if "texts" not in document(body):
        return Reading.PAYLOAD
    return Reading.MARKED if "is replaced by the mark" in system(body) else Reading.WHOLE


def system(body: Body) -> str:
    return "\n".join(block["text"] for block in body["system"])
