"""Registered values: how far they move, and whether what protects the platform is weakened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Change, Matter, number_of

Document = Mapping[str, Any]

FAR_SHARE: Final = Fraction(1, 2)
SOME_SHARE: Final = Fraction(1, 5)
FARTHER_FACTOR: Final = Fraction(5)
FAR_FACTOR: Final = Fraction(3)
SOME_FACTOR: Final = Fraction(3, 2)

# Of these less protects less.
_SHIELDS: Final = frozenset({
    "quorum", "approval", "min_yes_voters", "reviewers", "review_approval", "sign_off",
    "timelock_hours", "timelock_parameter_hours", "voting_hours", "voting_hours_least",
})  # fmt: skip
# Of these more protects less.
_CAPS: Final = frozenset({"max_yes_share"})
_ALSO_CAPS: Final = frozenset({"emergency.adjustment", "immune.responses.blast_share"})
_MODES: Final = ("off", "observe", "enforce")


def how_far(matter: Matter) -> Iterator[Point]:
    """Numbers that move far at once, by their bounds and by what they were."""
    for change in _settings(matter):
        numbers = change.numbers
        if numbers is None or change.klass == "rule":
            continue
        before, after = numbers
        severity = _distance(change, before, after)
        if severity is not None and change.after == change.default:
            severity = Severity.LOW
        if severity is not None:
            yield Point(
                principle=Principle.GRADUAL_CHANGE,
                severity=severity,
                explanation=f"{change.key} moves from {change.before} to {change.after} at once"
                + _by(before, after),
                code="large_step",
            )
        elif change.lowest is not None and not change.lowest <= after <= (change.highest or after):
            yield Point(
                principle=Principle.GRADUAL_CHANGE,
                severity=Severity.LOW,
                explanation=f"{change.key} was never {change.after} before",
                code="never_before",
            )


def at_the_edge(matter: Matter) -> Iterator[Point]:
    """Numbers that end at a bound: there is no way further, and often no effect left."""
    for change in _settings(matter):
        numbers = change.numbers
        if numbers is None or change.bounds is None or change.klass == "rule":
            continue
        if numbers[1] in (change.bounds.least, change.bounds.most):
            yield Point(
                principle=Principle.GRADUAL_CHANGE,
                severity=Severity.MEDIUM,
                explanation=f"{change.key} would be {change.after}, the utmost that is allowed",
                code="at_bound",
            )


def oversight(matter: Matter) -> Iterator[Point]:
    """Thresholds of voting, review and time that would protect less, or ask for more."""
    weakened: list[str] = []
    for change in _settings(matter):
        key, numbers = str(change.key), change.numbers
        threshold = key.rpartition(".")[2]
        if key.startswith("fiat_unlock.") and numbers is not None:
            threshold = {"approval": "approval", "min_yes_voters": "min_yes_voters"}.get(
                threshold, ""
            )
        if key.endswith("tie_passes") and change.after is True:
            weakened.append(key)
            yield _weaker(change, Severity.MEDIUM, "a tie would be enough")
        elif key.startswith("electorate.") and change.after is True:
            weakened.append(key)
            yield _weaker(change, Severity.HIGH, "proposers could choose who votes")
        elif numbers is not None and _is_shield(key, threshold):
            before, after = numbers
            less = after > before if _is_cap(key, threshold) else after < before
            if less:
                weakened.append(key)
                yield _weaker(change, _loss(change, before, after), "it would protect less")
            else:
                yield Point(
                    principle=Principle.HUMAN_OVERSIGHT,
                    severity=_burden(change, before, after),
                    explanation=f"{key} from {change.before} to {change.after}: deciding becomes "
                    "harder, for good proposals as well",
                    code="harder",
                )
    if len(weakened) > 1:
        yield Point(
            principle=Principle.HUMAN_OVERSIGHT,
            severity=Severity.CRITICAL,
            explanation=f"{len(weakened)} safeguards would be weakened at once: "
            + ", ".join(weakened[:5]),
            code="safeguards_at_once",
        )


def weights(matter: Matter) -> Iterator[Point]:
    """What a ballot weighs: whoever gains, others lose."""
    for change in _settings(matter):
        numbers, key = change.numbers, str(change.key)
        if numbers is None or not (key.startswith("trust.weight.") or key == "balance.coin_share"):
            continue
        before, after = numbers
        factor = _factor(before, after)
        far = factor is None or factor >= 2
        if factor is None or factor >= FARTHER_FACTOR:
            yield Point(
                principle=Principle.GRADUAL_CHANGE,
                severity=Severity.CRITICAL,
                explanation=f"{key} moves from {change.before} to {change.after} at once",
                code="large_step",
            )
        yield Point(
            principle=Principle.FAIRNESS,
            severity=Severity.CRITICAL if far else Severity.HIGH,
            explanation=f"{key} from {change.before} to {change.after} moves power between the "
            "members who vote",
            code="voting_weight",
        )


def watching(matter: Matter) -> Iterator[Point]:
    """Rules of the immune system that would see or do less."""
    for change in _settings(matter):
        key = str(change.key)
        if not key.startswith("immune."):
            continue
        before, after = _document(change.before), _document(change.after)
        if "mode" in after and before.get("mode") != after["mode"]:
            yield from _mode(key, str(before.get("mode", "enforce")), str(after["mode"]))
        elif key == "immune.allowlist":
            yield from _untouchable(matter, before, after)
        else:
            changed = [name for name in after if before.get(name) != after[name]]
            slight = changed and all(_slight(before.get(name), after[name]) for name in changed)
            yield Point(
                principle=Principle.SECURITY,
                severity=Severity.LOW if slight else Severity.MEDIUM,
                explanation=f"{key} changes: {', '.join(changed) or 'its terms'}; `forge immune "
                "replay` tells what that would have done",
                code="immune_terms",
            )


def _untouchable(matter: Matter, before: Document, after: Document) -> Iterator[Point]:
    yield Point(
        principle=Principle.SECURITY,
        severity=Severity.HIGH,
        explanation="whom the immune system may not touch changes: look at every name",
        code="allowlist",
    )
    known = before.get("allowed", ())
    added = [entry for entry in after.get("allowed", ()) if entry not in known]
    if any(matter.proposer in _document(entry).values() for entry in added):
        for principle in (Principle.FAIRNESS, Principle.SECURITY):
            yield Point(
                principle=principle,
                severity=Severity.CRITICAL,
                explanation=f"{matter.proposer} would be exempt from what everybody else is under",
                code="own_exemption",
            )


def _slight(before: Any, after: Any) -> bool:
    """A number that moves by a quarter of what it was, at most."""
    numbers = number_of(before), number_of(after)
    if numbers[0] is None or numbers[1] is None:
        return False
    return 4 * abs(numbers[1] - numbers[0]) <= abs(numbers[0])


def common_limits(matter: Matter) -> Iterator[Point]:
    """Limits that every member of a level feels."""
    for change in _settings(matter):
        numbers = change.numbers
        if numbers is None or not str(change.key).startswith("rate_limit."):
            continue
        if numbers[1] * 2 < numbers[0]:
            yield Point(
                principle=Principle.FAIRNESS,
                severity=Severity.MEDIUM,
                explanation=f"every member of that level would have less than half of {change.key}",
                code="members_limited",
            )


def _settings(matter: Matter) -> Iterator[Change]:
    return (change for change in matter.changes if change.key is not None)


def _distance(change: Change, before: Fraction, after: Fraction) -> Severity | None:
    share = Fraction(0)
    if change.bounds is not None and change.bounds.most > change.bounds.least:
        share = abs(after - before) / (change.bounds.most - change.bounds.least)
    factor = _factor(before, after)
    if share >= FAR_SHARE or factor is None or factor >= FARTHER_FACTOR:
        return Severity.CRITICAL
    if factor >= FAR_FACTOR:
        return Severity.HIGH
    if share >= SOME_SHARE or factor >= SOME_FACTOR:
        return Severity.MEDIUM
    return None


def _factor(before: Fraction, after: Fraction) -> Fraction | None:
    """How many times the one is of the other; None where one of them is nothing."""
    low, high = sorted((abs(before), abs(after)))
    return None if low == 0 else high / low


def _by(before: Fraction, after: Fraction) -> str:
    factor = _factor(before, after)
    if factor is None:
        return ""
    return (
        f", by a factor of {float(factor):,.0f}"
        if factor >= 100
        else (f", by a factor of {float(factor):.3g}")
    )


def _is_shield(key: str, threshold: str) -> bool:
    return (
        key.startswith(("track.", "fiat_unlock.")) and (threshold in _SHIELDS or threshold in _CAPS)
    ) or key in _ALSO_CAPS


def _is_cap(key: str, threshold: str) -> bool:
    return threshold in _CAPS or key in _ALSO_CAPS


def _loss(change: Change, before: Fraction, after: Fraction) -> Severity:
    factor = _factor(before, after)
    at_bound = change.bounds is not None and after in (change.bounds.least, change.bounds.most)
    if factor is None or at_bound or factor >= Fraction(4, 3):
        return Severity.CRITICAL
    return Severity.HIGH


def _burden(change: Change, before: Fraction, after: Fraction) -> Severity:
    factor = _factor(before, after)
    at_bound = change.bounds is not None and after in (change.bounds.least, change.bounds.most)
    one_more = before.denominator == 1 and after == before + 1  # of people: the least that is more
    if at_bound or factor is None or (factor >= 2 and not one_more):
        return Severity.HIGH
    return Severity.LOW


def _weaker(change: Change, severity: Severity, what: str) -> Point:
    return Point(
        principle=Principle.HUMAN_OVERSIGHT,
        severity=severity,
        explanation=f"{change.key} from {change.before} to {change.after}: {what}",
        code="weaker_safeguard",
    )


def _mode(key: str, before: str, after: str) -> Iterator[Point]:
    if _MODES.index(after) < _MODES.index(before):
        yield Point(
            principle=Principle.SECURITY,
            severity=Severity.CRITICAL,
            explanation=f"{key} would be {after} instead of {before}: what it finds is "
            + ("not even seen" if after == "off" else "seen, and nothing done about it"),
            code="watch_switched_off",
        )
    else:
        yield Point(
            principle=Principle.FAIRNESS,
            severity=Severity.LOW,
            explanation=f"{key} would be {after} instead of {before}: it touches more",
            code="watch_switched_on",
        )


def _document(value: Any) -> Document:
    return value if isinstance(value, dict) else {}
