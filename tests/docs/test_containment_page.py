"""The page about containment says what its code simulates and draws what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.breakers import BREAKERS
from benchmarks.containment import (
    NEVER,
    Noticed,
    Recovered,
    Spread,
    broken,
    measure,
    noticed,
    set_aside,
)
from docs import containment as made

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "containment.md").read_text(encoding="utf-8")


def tables():
    """The cells of every table of results, by the names of their rows."""
    found = []
    for line in PAGE.split("## Set aside", 1)[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[1:] == list(BREAKERS):
            found.append({})
        elif line.startswith("| "):
            found[-1][cells[0]] = cells[1:]
    return found


def number(text):
    return NEVER if text == "never" else float(text.strip("()").replace(",", ""))


def spreads(cells):
    return [Spread(*map(number, cell.split(" / ")), math.nan) for cell in cells]


def by_name(values):
    return dict(zip(BREAKERS, values, strict=True))


def results_of_the_page():
    """What the tables say; none of them says that an outage was missed, nor the most of most."""
    shares, calls, seconds, failed, back, day = tables()
    return made.Results(
        {
            chance: by_name(number(cell.rstrip(" %")) / 100 for cell in cells)
            for chance, cells in zip(made.BY_CHANCE, shares.values(), strict=True)
        },
        {
            key: by_name(map(Noticed, spreads(calls[row]), spreads(seconds[row]), [0.0] * 4))
            for key, row in zip(
                ((good, failing) for good in made.GOOD for failing in made.OUTAGES),
                calls,
                strict=True,
            )
        },
        {
            outage: by_name(map(Recovered, spreads(failed[row]), spreads(back[row]), [0.0] * 4))
            for outage, row in zip(made.LASTING, failed, strict=True)
        },
        {
            pause: by_name(
                Spread(number(median), math.nan, number(most))
                for median, most in map(str.split, cells)
            )
            for pause, cells in zip(made.PACES, day.values(), strict=True)
        },
    )


def test_every_sentence_and_size_is_the_one_that_the_code_would_write_of_these_results():
    assert made.page(results_of_the_page()) == PAGE, "run `make docs`"


def test_the_plot_shows_the_numbers_of_the_page():
    assert made.plot(PAGE) == (DOCS / "containment.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("failing", [1.0, 0.8])
def test_an_outage_is_noticed_as_soon_as_the_page_says(failing):
    found = noticed(made.OVERLAYS, failing)

    assert made.calls_row(200, failing, found) in PAGE
    assert made.seconds_row(200, failing, found) in PAGE
    assert not any(one.missed for one in found.values())


def test_the_first_overlays_are_set_aside_about_as_often_as_the_page_says_of_all():
    some = 150
    found = set_aside(some, 0.2)

    for name, share in results_of_the_page().set_aside[0.2].items():
        spread = 4 * math.sqrt(share * (1 - share) / some)
        assert found[name] == pytest.approx(share, abs=spread + 1 / some)


def test_what_is_broken_for_good_costs_what_the_page_says():
    page = results_of_the_page().broken
    found = broken(3, 1)

    assert found["ours"].most == page[1]["ours"].most <= made.GOAL
    for name, one in found.items():
        assert one.median == pytest.approx(page[1][name].median, rel=0.02)


def test_the_goals_are_met_at_a_small_size_too():
    assert all(figure.met for figure in measure(overlays=20, day=3_600))
