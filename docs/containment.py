"""Write ``docs/containment.md`` and its plot: our immune system beside three others, simulated.

``python -m docs.containment`` runs the whole simulation, which takes a few minutes. The plot is
drawn from the page's own tables; a test draws it again and runs the rows that are quick anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.breakers import BREAKERS, NEVER, Envoy, Fail2ban, Forge, Resilience4j
from benchmarks.containment import (
    CALLS,
    CALM,
    DAY,
    GOOD_CALLS,
    Noticed,
    Recovered,
    Spread,
    broken,
    noticed,
    recovered,
    set_aside,
)
from forge_core.immune.detectors.overlay_calls import LAST
from forge_core.immune.ladder import (
    CANARIES_MOST,
    FAILURES_MOST,
    JITTER_MOST,
    PROBATIONS_MOST,
    QUARANTINE,
    QUARANTINE_MOST,
)

PAGE: Final = Path(__file__).parent / "containment.md"
PLOT: Final = Path(__file__).parent / "containment.svg"

OVERLAYS: Final = 2_000
BY_CHANCE: Final = (0.05, 0.1, 0.2, 0.3)
GOOD: Final = (GOOD_CALLS, 2_000)
OUTAGES: Final = (1.0, 0.8, 0.6)
LASTING: Final = (300, 1_800)
PACES: Final = {1: "one call a second", 60: "one call a minute"}

SHOWN_CHANCE: Final = 0.2
SHOWN_OUTAGE: Final = 0.8
GOAL: Final = 100


@dataclass(frozen=True)
class Results:
    """Everything that is measured, by what was simulated."""

    set_aside: Mapping[float, Mapping[str, float]]
    noticed: Mapping[tuple[int, float], Mapping[str, Noticed]]
    recovered: Mapping[int, Mapping[str, Recovered]]
    broken: Mapping[int, Mapping[str, Spread]]


def simulated(overlays: int = OVERLAYS) -> Results:
    """The whole simulation."""
    return Results(
        {failing: set_aside(overlays, failing) for failing in BY_CHANCE},
        {(good, failing): noticed(overlays, failing, good) for good in GOOD for failing in OUTAGES},
        {outage: recovered(overlays, outage) for outage in LASTING},
        {pause: broken(overlays, pause) for pause in PACES},
    )


def page(results: Results) -> str:
    """The page, with what can be read from each table in words."""
    parts = [
        "<!-- Written by `make docs`. -->\n",
        "# Containment, beside three others\n",
        _words(
            "What sets a failing overlay aside can be wrong in two ways: too late, and without "
            "need. Here our rules and the published algorithms of Envoy (outlier detection), "
            "resilience4j (circuit breaker) and fail2ban, each at its defaults, decide about the "
            "same simulated traffic."
        ),
        f"![Detection delay against false quarantines, and failed calls a day]({PLOT.name})\n",
        *made(),
        "## Set aside without need\n",
        _not_needed(results),
        *_table("fails by chance", *(chance_row(*one) for one in results.set_aside.items())),
        "## Into an outage\n",
        _outage(results),
        "Calls into the outage when it was contained, median / 95th percentile:\n",
        *_table(
            "good calls, then failing",
            *(calls_row(*key, found) for key, found in results.noticed.items()),
        ),
        "The same in seconds:\n",
        *_table(
            "good calls, then failing",
            *(seconds_row(*key, found) for key, found in results.noticed.items()),
        ),
        "## After an outage\n",
        _back(results),
        "Failed calls that got through, median / 95th percentile:\n",
        *_table("outage", *(cost_row(*one) for one in results.recovered.items())),
        "Seconds from its end until no call is refused any more, median / 95th percentile:\n",
        *_table("outage", *(back_row(*one) for one in results.recovered.items())),
        "## Broken for good\n",
        _for_good(results),
        "Failed calls a day, median (and most of any overlay):\n",
        *_table("pace", *(day_row(*one) for one in results.broken.items())),
    ]
    return "\n".join(parts)


def made() -> Iterator[str]:
    """What was simulated, of whom, and how to do it again: nothing here is measured."""
    yield "## What was simulated\n"
    yield _words(
        f"{OVERLAYS:,} overlays for every row, each with traffic of its own: the pauses between "
        "calls are exponential, and when each call is made and whether it would go well is drawn "
        "before anybody decides about it. Overlay `n` is drawn by `random.Random` from a text that "
        f"names the row and `n`, 0 to {OVERLAYS - 1:,}: the same numbers on every machine. One "
        "call a second where nothing else is said. A call says that it failed at once; nobody "
        "retries."
    )
    yield "| | sets aside | lets back in |\n|---|---|---|"
    shortest = round(QUARANTINE.total_seconds())
    longest = round(shortest * (1 + JITTER_MOST))
    yield (
        f"| ours | more than {_percent(float(Forge.RATE))} of the last {LAST} calls failed (at "
        f"least {Forge.LEAST}, none older than {Forge.AGE / 3600:.0f} h), or {Forge.IN_A_ROW} in "
        f"a row | after {shortest} to {longest} s, doubled each time up to "
        f"{QUARANTINE_MOST.total_seconds() / 3600:.0f} h, on probation: up to {CANARIES_MOST} "
        f"calls, over at failure {FAILURES_MOST}, passed when they prove at 95 % that fewer fail; "
        f"after {PROBATIONS_MOST} failed probations people decide |"
    )
    yield (
        f"| Envoy | {Envoy.IN_A_ROW} failures in a row | after {Envoy.BASE:.0f} s times the number "
        f"of ejections, at most {Envoy.MOST:.0f} s, at the next of the sweeps every "
        f"{Envoy.SWEEP:.0f} s; each sweep that finds it well takes one from the number |"
    )
    yield (
        f"| resilience4j | half or more of the last {Resilience4j.WINDOW} calls failed | after "
        f"{Resilience4j.OPEN:.0f} s, for {Resilience4j.HALF_OPEN} calls: half or more failed, and "
        "it waits again |"
    )
    yield (
        f"| fail2ban | {Fail2ban.RETRIES} failures within {Fail2ban.FIND / 60:.0f} min, at their "
        f"rate, whatever went well between them | after {Fail2ban.BAN / 60:.0f} min |\n"
    )
    yield _words(
        "The three are models in `benchmarks/breakers.py`, written from the sources: Envoy since "
        "1.31 (00c7146d), resilience4j 2.4.0, fail2ban 1.1.2.dev1 (deffcbcd). Left out is what "
        "needs more than one overlay's calls: Envoy's success-rate rule, which asks for 100 "
        "requests in ten seconds of five hosts, its limit of 10 % ejected at once (of fewer than "
        "ten hosts it ejects none), and our limit of a fifth. The time between a call and the "
        "decision is 0 for all of them: Envoy and resilience4j decide in the call's own process, "
        "while ours and fail2ban read about it up to about a second later. fail2ban is made for "
        "attackers and not for services: it is here for its bans."
    )
    yield _words(
        "Run it again, in a few minutes of one core; the second command measures the main figures "
        "beside their goals:"
    )
    yield "```bash\nmake docs\n.venv/bin/python -m benchmarks --only containment\n```\n"


def chance_row(failing: float, shares: Mapping[str, float]) -> str:
    """Which share was ever set aside."""
    return _row(f"{_percent(failing)}", (f"{_percent(share, 2)}" for share in shares.values()))


def calls_row(good: int, failing: float, found: Mapping[str, Noticed]) -> str:
    """Calls until an outage was contained."""
    return _row(_outage_named(good, failing), (_both(one.calls, ",.0f") for one in found.values()))


def seconds_row(good: int, failing: float, found: Mapping[str, Noticed]) -> str:
    """Seconds until an outage was contained."""
    return _row(
        _outage_named(good, failing), (_both(one.seconds, ",.1f") for one in found.values())
    )


def cost_row(outage: int, found: Mapping[str, Recovered]) -> str:
    """Failed calls that got through."""
    return _row(f"{outage // 60} min", (_both(one.failed, ",.0f") for one in found.values()))


def back_row(outage: int, found: Mapping[str, Recovered]) -> str:
    """Seconds until no call was refused."""
    return _row(f"{outage // 60} min", (_both(one.seconds, ",.0f") for one in found.values()))


def day_row(pause: int, found: Mapping[str, Spread]) -> str:
    """Failed calls of a day."""
    return _row(PACES[pause], (f"{one.median:,.0f} ({one.most:,.0f})" for one in found.values()))


def _not_needed(results: Results) -> str:
    worst = max(BY_CHANCE)
    shares = {name: _percent(share, 1) for name, share in results.set_aside[worst].items()}
    return _words(
        f"Overlays that work, and fail now and then: the share of them that was set aside at least "
        f"once within {CALLS:,} calls. Who counts a few failures in a row is unjust more often "
        "than who looks at a window, and who counts failures without successes is unjust to "
        "everybody. "
        f"resilience4j's window is twice as long as ours and the steadier for it: of overlays that "
        f"fail {_percent(worst)} it sets aside {shares['resilience4j']}, ours {shares['ours']}, "
        "each of which costs a probation."
    )


def _outage(results: Results) -> str:
    full, most = results.noticed[GOOD_CALLS, 1.0], results.noticed[GOOD_CALLS, SHOWN_OUTAGE]
    missed = [
        f"{name} {_percent(one.missed, 2)} ({_outage_named(*key)})"
        for key, found in results.noticed.items()
        for name, one in found.items()
        if one.missed
    ]
    told = (
        f"Not noticed within {CALLS:,} calls: {', '.join(missed)}."
        if missed
        else f"None of these outages went unnoticed for {CALLS:,} calls by anybody."
    )
    return _words(
        "After many good calls, most calls begin to fail. Envoy and fail2ban, which set aside "
        f"without need so readily, are first: {full['Envoy'].calls.median:.0f} calls where ours "
        f"takes {full['ours'].calls.median:.0f} and resilience4j "
        f"{full['resilience4j'].calls.median:.0f}. Where {_percent(SHOWN_OUTAGE)} fail, ours takes "
        f"{most['ours'].calls.median:.0f} calls and resilience4j "
        f"{most['resilience4j'].calls.median:.0f}. How many good calls came before makes no "
        f"difference, since no window looks back so far. {told}"
    )


def _back(results: Results) -> str:
    short, long = (results.recovered[outage] for outage in LASTING)
    return _words(
        "Every call fails for a while, then every call goes well. Here ours is not the best: it "
        f"waits longer each time, so that few calls are lost, and is the later for it: "
        f"{short['ours'].seconds.median:.0f} s after an outage of {LASTING[0] // 60} minutes, "
        f"where resilience4j needs {short['resilience4j'].seconds.median:.0f} s, having let "
        f"{short['resilience4j'].failed.median:.0f} failed calls through instead of "
        f"{short['ours'].failed.median:.0f}. {_held(long)}"
        "fail2ban's wait depends on when its last ban began."
    )


def _held(found: Mapping[str, Recovered]) -> str:
    if found["ours"].seconds.median != NEVER:
        return ""
    return (
        f"After {LASTING[1] // 60} minutes of outage ours lets nothing back in by itself but asks "
        f"people (the table says never, having looked for {CALM // 60} minutes). That is by "
        "intent, and the price of what the next table shows. "
    )


def _for_good(results: Results) -> str:
    second = results.broken[1]
    return _words(
        f"Every call fails, all day ({DAY:,} s). Ours is at an end after "
        f"{second['ours'].most:.0f} calls, at either pace: {Forge.IN_A_ROW} until it is noticed, "
        f"then {PROBATIONS_MOST} probations of {FAILURES_MOST}; the goal was {GOAL} at most. For "
        f"resilience4j {DAY / Resilience4j.OPEN * Resilience4j.HALF_OPEN:,.0f} can be "
        f"reckoned: {Resilience4j.HALF_OPEN} calls every {Resilience4j.OPEN:.0f} s, as if "
        "they came all at once; here they come one after the other, and each try lasts so much "
        f"longer. For Envoy it would be about 1,460: {Envoy.IN_A_ROW} calls every {Envoy.MOST:.0f} "
        "s, after shorter waits in the beginning, as if it let back in when a wait is over and not "
        "at the next sweep. At one call a minute Envoy's sweeps forget between two calls what "
        "happened, and resilience4j's wait is over before the next call."
    )


def _words(text: str) -> str:
    return fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n"


def _percent(share: float, places: int = 0) -> str:
    return f"{100 * share:.{places}f} %"


def _outage_named(good: int, failing: float) -> str:
    return f"{good:,}, {_percent(failing)}"


def _both(spread: Spread, form: str) -> str:
    return f"{_number(spread.median, form)} / {_number(spread.p95, form)}"


def _number(value: float, form: str) -> str:
    return "never" if value == NEVER else format(value, form)


def _row(name: str, cells: Iterator[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def _table(first: str, *rows: str) -> Iterator[str]:
    yield f"| {' | '.join([first, *BREAKERS])} |"
    yield "|---" + "|---:" * len(BREAKERS) + "|"
    yield from rows[:-1]
    yield rows[-1] + "\n"


WIDTH, HEIGHT = 960, 410
FONTS: Final = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
COLOURS: Final = {
    "ours": "#0b6e4f",
    "Envoy": "#8a5cb8",
    "resilience4j": "#c46210",
    "fail2ban": "#596673",
}
INK, FAINT, PAPER = "#1f2933", "#d5dbe1", "#ffffff"


def plot(page: str) -> str:
    """Two panels as SVG, drawn from the page's own tables."""
    outage = _outage_named(GOOD_CALLS, SHOWN_OUTAGE)
    points = {
        name: (_first(calls), _first(share))
        for name, calls, share in zip(
            BREAKERS,
            _cells(page, "Into an outage", outage),
            _cells(page, "Set aside without need", f"{_percent(SHOWN_CHANCE)}"),
            strict=True,
        )
    }
    bars = dict(zip(BREAKERS, map(_first, _cells(page, "Broken for good", PACES[1])), strict=True))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<style>text {{ font-family: {FONTS}; paint-order: stroke }}</style>",
            "<title>Detection delay against false quarantines, and failed calls a day</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            *_points(points),
            *_bars(bars),
            "</svg>",
            "",
        ]
    )


def _cells(page: str, heading: str, row: str) -> Sequence[str]:
    """Of the first such row under the heading."""
    section = page.split(f"## {heading}\n", 1)[1]
    line = next(line for line in section.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def _first(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0].replace(",", ""))


def _points(points: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """Sooner is to the left, juster is further down."""
    left, right, top, bottom = 70, 440, 96, 340
    widest = 20 * math.ceil(max(calls for calls, _ in points.values()) * 1.5 / 20)
    yield _text(left - 46, 30, "How late, and how unjust", size=17, weight=600)
    yield _text(left - 46, 52, "lower left is better", size=13, colour="#596673")
    for tick in range(0, 101, 25):
        y = bottom - (bottom - top) * tick / 100
        yield _line(left, y, right, y)
        yield _text(left - 8, y + 4, f"{tick} %", size=12, anchor="end")
    for tick in range(0, widest + 1, 20):
        x = left + (right - left) * tick / widest
        yield _text(x, bottom + 20, f"{tick}", size=12, anchor="middle")
        yield _line(x, bottom, x, bottom + 5)
    yield _text(
        (left + right) / 2,
        bottom + 44,
        f"calls into an outage ({_percent(SHOWN_OUTAGE)} fail), median",
        size=13,
        anchor="middle",
    )
    yield _text(
        left - 46,
        top - 18,
        f"set aside although only {_percent(SHOWN_CHANCE)} of its calls fail",
        size=13,
    )
    for name, (calls, share) in points.items():
        x = left + (right - left) * calls / widest
        y = bottom - (bottom - top) * share / 100
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{COLOURS[name]}"/>'
        low = 15 if y > bottom - 20 else -14 if y < top + 20 else 0
        yield _text(x + 13, y - 1 - low, name, size=14, weight=600, colour=COLOURS[name])
        yield _text(x + 13, y + 15 - low, f"{calls:.0f} calls, {share:g} %", size=12)


def _bars(bars: Mapping[str, float]) -> Iterator[str]:
    """Each decade is as wide as any other."""
    left, right, top, bottom = 620, 930, 96, 340
    most = 1.2 * max(bars.values())
    yield _text(left - 90, 30, "Broken for good: failed calls a day", size=17, weight=600)
    yield _text(left - 90, 52, "one call a second, logarithmic", size=13, colour="#596673")

    def across(value: float) -> float:
        return left + (right - left) * math.log10(value) / math.log10(most)

    for decade in range(math.floor(math.log10(most)) + 1):
        x = across(10**decade)
        yield _line(x, top, x, bottom)
        yield _text(x, bottom + 20, f"{10**decade:,}", size=12, anchor="middle")
    step = (bottom - top) / len(bars)
    for number, (name, value) in enumerate(sorted(bars.items(), key=lambda bar: bar[1])):
        y = top + step * number + step / 2
        yield _text(left - 10, y + 5, name, size=14, weight=600, anchor="end", colour=COLOURS[name])
        yield (
            f'<rect x="{left}" y="{y - 17:.1f}" width="{across(value) - left:.1f}" height="34" '
            f'rx="3" fill="{COLOURS[name]}"/>'
        )
        yield _text(
            across(value) - 8, y + 5, f"{value:,.0f}", size=14, weight=600, anchor="end",
            colour=PAPER,
        )  # fmt: skip
    x = across(GOAL)
    yield (
        f'<line x1="{x:.1f}" y1="{top - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{INK}" '
        'stroke-width="1.5" stroke-dasharray="5 4"/>'
    )
    yield _text(x, top - 13, f"goal: {GOAL} at most", size=12, anchor="middle")


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{FAINT}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    weight: int = 400,
    anchor: str = "start",
    colour: str = INK,
) -> str:
    halo = "" if colour == PAPER else f' stroke="{PAPER}" stroke-width="3"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}"{halo}>{escape(text)}</text>'
    )


if __name__ == "__main__":
    written = page(simulated())
    PAGE.write_text(written, encoding="utf-8")
    PLOT.write_text(plot(written), encoding="utf-8")
