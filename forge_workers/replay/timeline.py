"""When each proposal of a dataset opens and closes on the sandbox clock.

Years of real voting are pressed into about sixteen weeks of slots: the k-th distinct closing
instant becomes slot k, and the sandbox clock moves from slot to slot. Real time also passes while
ballots are sent, so a slot lasts hours, up to a week, that nothing falls due by itself. Openings
are gathered: every so many slots all proposals that open soon are opened together, earlier than
they were, which no ballot can tell.

With slots of h hours, a proposal opened in era m (after closing m) that belongs to slot k votes
for (k - m) * h hours. It falls due no earlier than slot k and, as long as the whole replay takes
less than h hours of real time, before slot k + 1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

WEEK = 168  # hours
OPENINGS = 16


class Span(NamedTuple):
    """First and last instant (any unit, inclusive) at which a proposal must be open."""

    opens: int
    closes: int


@dataclass(frozen=True, slots=True)
class Place:
    """Opened in ``era`` (0: before the first closing), closed as part of ``slot`` (from 1)."""

    era: int
    slot: int
    voting_hours: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every proposal's place; ``closings[k - 1]`` is the instant that became slot k."""

    places: Mapping[str, Place]
    closings: tuple[int, ...]
    slot_hours: int


def lay_out(spans: Mapping[str, Span]) -> Timeline:
    """Place every proposal, keeping the real order of closings; openings come in few groups."""
    closings = sorted({span.closes for span in spans.values()})
    slots = len(closings)
    slot_hours = max(1, min(WEEK, 16 * WEEK // max(1, slots)))
    ahead = slots // OPENINGS
    places: dict[str, Place] = {}
    era, gathered_until = 0, -1
    for identity, span in sorted(spans.items(), key=lambda item: item[1].opens):
        natural = bisect_left(closings, span.opens)
        if natural > gathered_until:
            era, gathered_until = natural, natural + ahead
        slot = bisect_left(closings, span.closes) + 1
        places[identity] = Place(era, slot, (slot - era) * slot_hours)
    return Timeline(places=places, closings=tuple(closings), slot_hours=slot_hours)
