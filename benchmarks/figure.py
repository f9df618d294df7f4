"""One measured ratio with its parts, and the table and JSON they are shown in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

TIMES = "×"  # noqa: RUF001  # the sign of a ratio, not a letter


@dataclass(frozen=True)
class Figure:
    """A value beside its goal; ``parts`` are the measurements it was made of, with units."""

    name: str
    value: float
    unit: str
    comparison: Literal[">=", "<="]
    goal: float
    parts: Mapping[str, str]

    @property
    def met(self) -> bool:
        """Whether the goal was reached in this run."""
        return self.value >= self.goal if self.comparison == ">=" else self.value <= self.goal

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"met": self.met}


def show(figures: Sequence[Figure], console: Console) -> None:
    """A table of all figures."""
    table = Table("benchmark", "figure", "goal", "", "made of", title="Ratios of this run")
    for figure in figures:
        sign = "≥" if figure.comparison == ">=" else "≤"
        table.add_row(
            figure.name,
            f"{figure.value:,.2f} {figure.unit}",
            f"{sign} {figure.goal:,g} {figure.unit}",
            "[green]met[/]" if figure.met else "[red]missed[/]",
            "\n".join(f"{name}: {value}" for name, value in figure.parts.items()),
        )
        table.add_section()
    console.print(table)


@dataclass(frozen=True)
class Pace:
    """So many things in so much time, and the processor time that they took on all cores."""

    count: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Things per second."""
        return self.count / self.seconds

    def shown(self, what: str) -> str:
        """For example "6,800 ballots/s (100,000 in 14.7 s; processor: 0.2 ms each)"."""
        each = 1000 * self.processor / self.count
        return (
            f"{self.rate:,.0f} {what}/s "
            f"({self.count:,} in {self.seconds:.1f} s; processor: {each:.2f} ms each)"
        )
