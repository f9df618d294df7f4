"""What a proposal still waits for, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from forge_workers.words.values import names, shown, when

Json = Mapping[str, Any]

INSTANTS: Final = {
    "created_at": "created",
    "opened_at": "voting opened",
    "closes_at": "voting closes",
    "decided_at": "decided",
    "eta": "may be executed from",
    "expires_at": "and before",
    "lapses_at": "lapses",
    "ended_at": "ended",
}
"""The times of a proposal, by their column."""


def standing_lines(standing: Json) -> Iterator[tuple[int, str]]:
    """Gates and windows: lines, each with its indentation."""
    before = standing["predecessor"]
    if before is not None:
        yield 0, f"Comes after {before['proposal']} ({before['status']})"
    yield from _gates(standing["gates"])
    for window in standing["windows"]:
        yield 0, f"Held by the {window['kind']} {window['window']}"
        yield 2, f"from {when(window['from'])} until {when(window['until'])}"


def problem_line(problem: Json) -> str:
    """Why something is not done, or what is missing for it."""
    return f"{problem['code']}: {shown(problem['message'])}"


def set_aside_line(decision: Json) -> str | None:
    """What became of the ballots of quarantined members; None where there are none."""
    aside = decision.get("set_aside")
    if not aside:
        return None
    return (
        f"{len(aside['ballots'])} ballots of members at level QUARANTINE were set aside; "
        f"with them it would be {aside['outcome_with_them']}"
    )


def _gates(gates: Json | None) -> Iterator[tuple[int, str]]:
    if gates is None:
        return
    reviews, signed = gates["reviews"], gates["sign_offs"]
    if reviews["needed"] is not None:
        approving = f"weight {reviews['approving_weight']} of {reviews['weight']} approves"
        yield 0, f"Reviews: {len(reviews['given'])}, {reviews['needed']} needed; {approving}"
        for review in reviews["given"]:
            word = "approves" if review["approves"] else "rejects"
            comment = "(erased)" if review["comment"] is None else review["comment"]
            yield 2, f"{review['member']} {word}, weight {review['weight']}: {shown(comment)}"
        if not gates["complete"]:
            yield 2, f"may still approve: {names(reviews['open'])}"
    if signed["needed"]:
        given = f" ({names(signed['given'])})" if signed["given"] else ""
        yield 0, f"Sign-offs: {len(signed['given'])}{given}, {signed['needed']} needed"
        if not gates["complete"]:
            yield 2, f"may still sign off: {names(signed['open'])}"
