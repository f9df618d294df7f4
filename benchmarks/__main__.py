"""Run the benchmarks: ``python -m benchmarks [--quick] [--json] [--only NAME]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console

from benchmarks import (
    advising,
    ballots,
    closing,
    commands,
    containment,
    executing,
    immune,
    ledger,
    memory,
    opening,
    questions,
    ready,
    recounts,
)
from benchmarks.figure import Figure, show
from benchmarks.house import House, running_house

Measure = Callable[[House], list[Figure]]

# In this order: each leaves the database larger, and the clock later, for those after it.
FULL: Mapping[str, Measure] = {
    "ballots": lambda house: ballots.measure(house, ballots=100_000, tasks=5_000),
    "commands": lambda house: commands.measure(house, commands=5_000),
    "memory": lambda house: memory.measure(house, warm=1_000, few=10_000, many=100_000),
    "closing": lambda house: closing.measure(house, proposals=10_000),
    "questions": lambda house: questions.measure(house, leases=10_000, questions=20_000),
    "immune": lambda house: immune.measure(house, events=100_000, checks=2_000, outages=200),
    "recount": lambda house: recounts.measure(house, ballots=1_000_000),
    "opening": lambda house: opening.measure(house, members=1_000_000),
    "ledger": lambda house: ledger.measure(
        house, entries=1_000_000, appended=100_000, ballots=200_000
    ),
}
# Small enough for a test: whether they run, not what they show.
QUICK: Mapping[str, Measure] = {
    "ballots": lambda house: ballots.measure(house, ballots=1_000, tasks=50),
    "commands": lambda house: commands.measure(house, commands=50),
    "memory": lambda house: memory.measure(house, warm=20, few=50, many=100),
    "closing": lambda house: closing.measure(house, proposals=50),
    "questions": lambda house: questions.measure(house, leases=100, questions=500),
    "immune": lambda house: immune.measure(house, events=1_000, checks=20, outages=3),
    "recount": lambda house: recounts.measure(house, ballots=5_000),
    "opening": lambda house: opening.measure(house, members=1_000),
    "ledger": lambda house: ledger.measure(house, entries=3_000, appended=4_000, ballots=300),
}
# These start a house of their own, or need none.
ALONE: Mapping[str, Callable[[], list[Figure]]] = {
    "ready": ready.measure,
    "executing": lambda: executing.measure(proposals=1_000),
    "containment": lambda: containment.measure(overlays=1_000),
    "advising": lambda: advising.measure(proposals=1_000, votings=50, seconds=2.0),
}
QUICK_ALONE = ALONE | {
    "executing": lambda: executing.measure(proposals=20),
    "containment": lambda: containment.measure(overlays=5, day=3_600),
    "advising": lambda: advising.measure(proposals=40, votings=3, seconds=0.1),
}


def main() -> int:
    """Measure, then show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: figures mean nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--only", action="append", choices=[*ALONE, *FULL], metavar="NAME",
                        help=f"one of {', '.join([*ALONE, *FULL])}; may be repeated")  # fmt: skip
    given = parser.parse_args()
    console = Console(stderr=given.json)
    chosen = given.only or [*ALONE, *FULL]
    figures: list[Figure] = []
    for name, alone in (QUICK_ALONE if given.quick else ALONE).items():
        if name in chosen:
            figures += _measured(console, name, alone)
    wanted = {name: m for name, m in (QUICK if given.quick else FULL).items() if name in chosen}
    if wanted:
        with running_house() as house:
            for name, measure in wanted.items():
                figures += _measured(console, name, partial(measure, house))
    if given.json:
        print(json.dumps({"figures": [figure.to_json() for figure in figures]}, indent=2))
    else:
        show(figures, Console(width=130) if not console.is_terminal else console)
    return 0


def _measured(console: Console, name: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    began = time.monotonic()
    figures = measure()
    took = time.monotonic() - began
    for figure in figures:
        console.print(f"{figure.name}: {figure.value:,.2f} {figure.unit}", highlight=False)
    console.print(f"[dim]{name} took {took:.0f} s[/]", highlight=False)
    return figures


if __name__ == "__main__":
    sys.exit(main())
