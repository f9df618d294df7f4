"""What members wrote, as it is shown: it can steer neither a terminal nor a reader's eye."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_workers.words.values import MARKS_MOST, names, shown, squeezed


@pytest.mark.parametrize("letter", "\u202e\u200b\x1b\x07\u2800\u3164\u115f\u1160\uffa0\r")
def test_what_nobody_sees_is_seen(letter):
    assert shown(f"a{letter}b") == "a\ufffdb"


@pytest.mark.parametrize("text", ["Grüße", "naïve e\u0301", "שָׁלוֹם", "नमस्ते", "任意の", "two\nlines"])
def test_what_people_write_stays(text):
    assert shown(text) == text


@given(st.text(max_size=200))
def test_nothing_is_piled_upon_a_letter_and_no_run_of_lines_is_left(text):
    marks = 0
    for letter in shown(text):
        marks = marks + 1 if unicodedata.combining(letter) else 0
        assert marks <= MARKS_MOST
    assert "\n\n\n" not in squeezed(text)
    assert squeezed(squeezed(text)) == squeezed(text)


def test_of_many_some_are_named():
    assert names([]) == "nobody"
    assert names(["a", "b"]) == "a, b"
    assert names([str(n) for n in range(1_500)]).endswith(" and 1,488 more")
