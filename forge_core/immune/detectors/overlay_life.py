"""What an overlay's history and its peers say of it: falling behind, flapping, gone silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from statistics import median
from typing import Final

from forge_core.immune.detectors.finding import (
    Finding,
    Measures,
    Rule,
    RuleTerms,
    Seen,
    Severity,
    Subject,
    Terms,
    Verdict,
    percent,
)

MILLION: Final = 1_000_000
"""Rates are kept as whole parts of a million, so that they are exact in evidence."""
NORMAL: Final = Fraction(6_745, 10_000)
"""The median deviation of a normal distribution, in standard deviations."""
SPREAD_LEAST: Final = MILLION // 100
"""Peers that are all alike would make any difference an outlier: one percent is none."""
FLAPPING: Final = timedelta(hours=24)


def _outlier(measures: Measures, terms: Terms) -> Verdict | None:
    if measures["calls"] < terms["least_calls"] or measures["peers"] < terms["least_peers"]:
        return None
    spread = max(measures["spread"], SPREAD_LEAST)
    behind = measures["rate"] - measures["median"]
    if NORMAL * behind <= terms["deviations"] * spread:
        return None
    return Verdict(
        Severity.NOTICE,
        f"{percent(measures['rate'], MILLION)} of its calls fail; of {measures['peers']} others "
        f"half fail at {percent(measures['median'], MILLION)} or less",
    )


def _flapping(measures: Measures, terms: Terms) -> Verdict | None:
    if measures["quarantines"] < terms["quarantines"]:
        return None
    return Verdict(
        Severity.CRITICAL, f"it was quarantined {measures['quarantines']} times within 24 hours"
    )


def _silence(measures: Measures, terms: Terms) -> Verdict | None:
    # Calls that come by chance are as rare as e^-expected to stay away altogether.
    if measures["calls"] or measures["expected"] < terms["expected"]:
        return None
    return Verdict(
        Severity.WARNING,
        f"nobody called it for {measures['minutes']} minutes, in which "
        f"{measures['expected']} calls are usual",
    )


OUTLIER = Rule("overlay.outlier", 1, _outlier)
FLAPS = Rule("overlay.flapping", 1, _flapping)
SILENCE = Rule("overlay.silence", 1, _silence)


def judge_peers(
    calls: Mapping[str, tuple[int, int]], since: datetime, until: datetime, terms: RuleTerms
) -> list[Finding]:
    """Overlays that fail far more than the others; ``calls``: (all, failed) of each, by id.

    The median and the median deviation from it are not moved by the outliers themselves, as a mean
    and a standard deviation are.
    """
    own = terms.get(OUTLIER.name)
    if own is None:
        return []
    least = max(own["least_calls"], Fraction(1))
    enough = {id_: MILLION * failed // of for id_, (of, failed) in calls.items() if of >= least}
    found = []
    for id_, rate in sorted(enough.items()):
        others = [other for name, other in enough.items() if name != id_]
        if not others:
            continue
        middle = int(median(others))
        seen = Seen(
            measures={
                "calls": calls[id_][0],
                "failed": calls[id_][1],
                "rate": rate,
                "peers": len(others),
                "median": middle,
                "spread": int(median(abs(other - middle) for other in others)),
            },
            since=since,
            until=until,
        )
        finding = OUTLIER.find(Subject("overlay", id_), seen, terms)
        if finding is not None:
            found.append(finding)
    return found


def judge_quarantines(
    overlay: str, began_at: Sequence[datetime], now: datetime, terms: RuleTerms
) -> Finding | None:
    """Whether it was quarantined too often within a day."""
    recent = sorted(at for at in began_at if now - at <= FLAPPING)
    if not recent:
        return None
    seen = Seen({"quarantines": len(recent)}, recent[0], now)
    return FLAPS.find(Subject("overlay", overlay), seen, terms)


def judge_silence(
    overlay: str, usual: Fraction, since: datetime, until: datetime, terms: RuleTerms
) -> Finding | None:
    """``usual``: calls a minute at other times; there was none between ``since`` and ``until``."""
    minutes = max((until - since) // timedelta(minutes=1), 0)
    seen = Seen({"calls": 0, "minutes": minutes, "expected": int(usual * minutes)}, since, until)
    return SILENCE.find(Subject("overlay", overlay), seen, terms)
