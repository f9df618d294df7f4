"""Text and identifiers: every way of being wrong has its own code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import Refused
from forge_core.text import ID_MOST, is_blank, require_id, require_text, shown

ANYTHING = st.one_of(
    st.text(alphabet=st.characters()),
    st.text(alphabet=st.characters(categories=["Cs", "Cc", "Cf", "Zs"])),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(),
    st.lists(st.integers()),
)


@pytest.mark.parametrize("value", [None, 5, True, b"text", ["text"], 1.5])
def test_what_is_not_text_is_refused(value):
    with pytest.raises(Refused, match="TEXT_INVALID_TYPE: title must be text"):
        require_text("title", value, least=1, most=200)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("a\x00b", "TEXT_NUL"),
        ("a\ud800b", "TEXT_SURROGATE"),
        ("\udfff", "TEXT_SURROGATE"),
        ("", "TEXT_BLANK"),
        (" \t\r\n", "TEXT_BLANK"),
        ("\u00a0\u2003\u3000", "TEXT_BLANK"),
        ("\u200b\u200d\ufeff\u2060", "TEXT_BLANK"),
        ("x" * 11, "TEXT_TOO_LONG"),
    ],
)
def test_unusable_text_is_refused_by_name(value, code):
    with pytest.raises(Refused) as refused:
        require_text("title", value, least=1, most=10)
    assert refused.value.code == code
    assert refused.value.message.startswith("title ")


def test_length_counts_characters_and_both_ends_are_allowed():
    assert require_text("title", "🜁" * 10, least=1, most=10) == "🜁" * 10
    assert require_text("title", "x", least=1, most=10) == "x"
    with pytest.raises(Refused, match="TEXT_TOO_SHORT"):
        require_text("title", "x", least=2, most=10)


def test_blank_is_allowed_where_nothing_is_asked_for():
    assert not require_text("reason", "", least=0, most=10)
    assert require_text("reason", "  ", least=0, most=10) == "  "


def test_text_is_returned_unchanged():
    assert require_text("t", " Ünï\n\t cödé ", least=1, most=50) == " Ünï\n\t cödé "


@pytest.mark.parametrize("value", ["alice", "did:key:z6Mk", "0x9f", "юзер-7", "a" * ID_MOST, "🜁"])
def test_identifiers(value):
    assert require_id("member", value) == value


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "a b", "a\n", "\ta", "a\x00", "a\u200bb", "a\u00a0b", "\ud800", "a\x1b[31m"),
        *("a" * (ID_MOST + 1), 7, None, True, b"alice"),
    ],
)
def test_what_is_no_identifier_is_refused(value):
    with pytest.raises(Refused) as refused:
        require_id("member", value)
    assert refused.value.code == "ID_INVALID"


@given(ANYTHING)
def test_whatever_comes_in_the_answer_is_text_or_a_refusal_that_can_be_printed(value):
    for check in (
        lambda: require_text("t", value, least=1, most=20),
        lambda: require_id("t", value),
    ):
        try:
            accepted = check()
        except Refused as refusal:
            str(refusal).encode()
        else:
            assert accepted == value
            assert "\x00" not in accepted.encode().decode()
            assert not is_blank(accepted)


@pytest.mark.parametrize(
    ("value", "excerpt"),
    [
        ("it's\n", '"it\'s\\n"'),
        ("\ud800", "'\\ud800'"),
        ("x" * 100, f"'{'x' * 60}'… (100 characters)"),
        pytest.param(10**5000, "a whole number of 16,610 bits", id="huge"),
        (-12, "-12"),
        (True, "true"),
        (None, "null"),
        (1.5, "the binary floating-point number 1.5"),
        ({}, "a value of type dict"),
    ],
)
def test_excerpts_are_short_and_safe(value, excerpt):
    assert shown(value) == excerpt
