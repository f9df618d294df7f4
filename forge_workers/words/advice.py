"""Advice in sentences: what is recommended, by whom, what it took, and what came of the like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from forge_workers.words.values import shown

Json = Mapping[str, Any]

ADVISORY: Final = "advisory: it decides nothing"
NONE_YET: Final = "There is no advice yet: it is given when voting opens."
RISKS_SHOWN: Final = 3


def head(newest: Json) -> str:
    """What is recommended, how surely, and by whom."""
    return (
        f"{newest['recommendation'].upper()}, confidence {newest['confidence']}, "
        f"by {newest['source']} ({newest['analyser']}), constitution {newest['constitution']}"
    )


def in_short(analysis: Json) -> list[Json]:
    """The risks that everybody sees: all that are critical, of the rest what weighs most."""
    critical = sum(risk["severity"] == "critical" for risk in analysis["risks"])
    return list(analysis["risks"][: max(RISKS_SHOWN, critical)])


def point(given: Json) -> str:
    """A risk or a benefit, without its quote."""
    return f"{given['severity'].upper()} ({principle(given)}): {shown(given['explanation'])}"


def principle(given: Json) -> str:
    """The principle that a point or a score is about."""
    return str(given["principle"]).replace("_", " ")


def precedent(one: Json) -> str:
    """An earlier proposal and what came of it."""
    because = "" if one["because"] is None else f" ({shown(one['because'])})"
    return f"{one['outcome']}{because}, {one['likeness']:.0%} alike: {shown(one['title'])}"


def signal(one: Json) -> str:
    """Something in a text that speaks to the adviser, or that nobody sees."""
    return f"{one['kind']} in the {one['where']}: “{shown(one['quote'])}”"


def opinion(one: Json) -> str:
    """What a member of a council, or a reading of the proposal, came to; word for word."""
    sure = f"{one['recommendation'].upper()}, confidence {one['confidence']}"
    return f"{shown(one['of'])}: {sure}. {shown(one['summary'])}"


def effort(analysis: Json) -> str | None:
    """What a model's advice took; None where no model was asked."""
    if analysis["model"] is None:
        return None
    usage = analysis["usage"]
    tokens = sum(number for name, number in usage.items() if name.endswith("tokens"))
    dropped = analysis["dropped_quotes"]
    quotes = f"; {dropped} quotes were dropped: they are not in the proposal" if dropped else ""
    return (
        f"{shown(analysis['model'])}, {shown(analysis['prompt'])}: {usage['calls']} calls, "
        f"{tokens:,} tokens, {usage['latency_ms'] / 1_000:.1f} s{quotes}"
    )


def earlier(given: Json | None) -> str:
    """What came of earlier advice like it."""
    if given is None:
        return "No other proposal that was so advised is decided yet."
    return (
        f"Of other proposals that are decided, {given['source']} said {given['recommendation']} of "
        f"{given['given']}; approved {given['approved']}, executed {given['executed']}, rolled "
        f"back {given['rolled_back']}."
    )


def asking(terms: Json) -> str:
    """Whether a model is asked, and how."""
    if terms["mode"] == "off":
        return "No model is asked: advice.model has mode off. Rules advise."
    who = {"single": "one adviser", "council": "a council in one call"}
    members = who.get(terms["mode"], "a council with a call for each member")
    return (
        f"Where a worker has a key, {terms['model']} is asked as {members}, effort "
        f"{terms['effort']}, {terms['seconds']} s a call."
    )


def standing(status: Json) -> Iterator[str]:
    """How asking stands now."""
    terms, now = status["terms"], status["now"]
    yield (
        f"{now['under_way']} of {terms['at_once']} turns are taken; of today's tokens "
        f"{now['spent']:,} of {terms['tokens_a_day']:,}."
    )
    if now["paused_seconds"] is not None:
        yield f"The service fails: nobody is asked for {now['paused_seconds']} s."


def fallbacks(status: Json) -> Iterator[str]:
    """Why models gave no advice, the most frequent first."""
    for reason, times in status["failures"].items():
        yield f"{times} fell back: {shown(reason)}"


def scores(status: Json) -> Iterator[str]:
    """How well each source foretold votes."""
    for source, score in status["brier"].items():
        yield f"Brier score of {source}: {score} (0 is always right, 0.25 knows nothing)"


def seconds(milliseconds: int | None) -> str:
    """How long calls took; nothing where none ended."""
    return "" if milliseconds is None else f"{milliseconds / 1_000:.1f} s"


def cost(day: Json) -> str:
    """What a day cost, where prices are set."""
    return day["cost"] or "no price set"
