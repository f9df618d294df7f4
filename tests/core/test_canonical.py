"""Canonical bytes are those of RFC 8785, whichever encoder wrote them."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from forge_core.ledger.canonical import MOST_INT, canonical_bytes

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-MOST_INT, MOST_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(st.dictionaries(st.text(), JSON))
def test_the_bytes_are_those_of_the_library(document):
    assert canonical_bytes(document) == rfc8785.dumps(document)


@given(st.text(st.characters(max_codepoint=0x2FF) | st.sampled_from("\u2028\ufeff\U0001f600")))
def test_every_control_character_is_escaped_as_the_library_does(text):
    assert canonical_bytes({"text": text}) == rfc8785.dumps({"text": text})


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        ('€$\x0f\nA\'B"\\\\"/', b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        (1e30, b"1e+30"),
        (4.50, b"4.5"),
        (MOST_INT, b"9007199254740991"),
    ],
)
def test_the_examples_of_the_rfc(value, bytes_):
    assert canonical_bytes({"value": value}) == b'{"value":' + bytes_ + b"}"


def test_keys_are_sorted_by_utf16_units():
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]
    written = json.loads(canonical_bytes(dict.fromkeys(names, 1)), object_pairs_hook=list)
    assert [name for name, _ in written] == [
        "\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [MOST_INT + 1, -MOST_INT - 1, float("nan"), "\ud800", {1: 2}])
def test_what_json_cannot_carry_exactly_is_refused(value):
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical_bytes({"value": [value]})
