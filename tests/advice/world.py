"""The world of the golden set: who proposes there, what runs, what is under way and was before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forge_core.advisory.analysis import Analysis, Severity
from forge_core.advisory.constitution import PACKAGED, Principle
from forge_core.advisory.matter import Matter
from forge_core.advisory.reading import read_matters
from forge_core.advisory.rules import analyse
from forge_core.database import transaction
from forge_core.members.genesis import Founder
from forge_core.members.levels import Role, TrustLevel
from tests.core.factories import House

GOLDEN = Path(__file__).parent / "golden"
FOUNDERS = (
    Founder("cora", TrustLevel.CORE, (Role.ADMIN,)),
    Founder("colin", TrustLevel.CORE),
    Founder("tara", TrustLevel.TRUSTED),
    Founder("theo", TrustLevel.TRUSTED),
    Founder("tess", TrustLevel.TRUSTED),
    Founder("mallory", TrustLevel.TRUSTED),
    Founder("gus", TrustLevel.TRUSTED, (Role.GUARDIAN,)),
    *(Founder(name, TrustLevel.TRUSTED, (Role.REVIEWER,)) for name in ("rae", "ray", "rex", "ria")),
    *(Founder(name, TrustLevel.TRUSTED, (Role.REVIEWER,)) for name in ("rob", "ron")),
    Founder("stan", TrustLevel.STANDARD),
    Founder("sue", TrustLevel.STANDARD),
    Founder("sam", TrustLevel.SANDBOX),
)


class Case(NamedTuple):
    """A labelled proposal and what the adviser says of it."""

    name: str
    recommendation: str
    critical: frozenset[str]
    analysis: Analysis

    @property
    def found(self) -> frozenset[Principle]:
        """The principles at critical risk, as the adviser sees it."""
        return frozenset(
            risk.principle for risk in self.analysis.risks if risk.severity is Severity.CRITICAL
        )


def furnish(house: House) -> None:
    """Everything at its default, and what is told of the world."""
    for overlay in ("search", "mail"):
        manifest = {
            "overlay": overlay,
            "name": overlay.title(),
            "version": "1.0.0",
            "max_execution_ms": 500,
            "max_fuel": 100_000,
            "max_memory": 2**26,
            "provides": [overlay],
        }
        house.executed("stan", type="overlay_registration", payload=manifest, title=overlay)
    house.do("treasury.deposit", "cora", source="sales", amount="10000")
    house.executed("tara", title="Conduct", payload={"text": "Speak to others as to friends."})
    _record_of_mallory(house)
    house.open(
        "theo",
        type="configuration",
        payload={"key": "difficulty", "new_value": 5},
        title="Raise the difficulty to 5",
        description="Blocks have come in too fast since spring: 41 seconds on average where 60 are "
        "meant. A difficulty of 5 instead of 4 brings them back near to 60.",
    )


def _record_of_mallory(house: House) -> None:
    for new, what in ((1_900, "fewer"), (2_500, "more")):
        value = {"key": "rate_limit.TRUSTED", "new_value": new}
        title = f"Give trusted members {what} requests"
        made = house.executed("mallory", type="configuration", payload=value, title=title)
        house.executed("cora", type="rollback", payload={"proposal": made}, title="Undo it")
    refused = house.open("mallory", title="Close the forum", payload={"text": "It is closed."})
    for member in ("cora", "tara", "theo", "tess"):
        assert house.vote(refused, member, "against").code is None
    house.close_now()
    assert house.status(refused) == "rejected"


def cases(house: House, file: Path) -> list[Case]:
    """Each case of a file made a draft, read, and judged."""
    given: Sequence[Mapping[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    drafts = {}
    for case in given:
        fields = {key: case[key] for key in ("type", "title", "description", "reason", "payload")}
        drafts[case["name"]] = house.propose(case["proposer"], **fields)
    with transaction(house.app) as session:
        found = read_matters(session, house.catalogue, list(drafts.values()))
    matters: Mapping[str, Matter] = {matter.id: matter for matter in found}
    return [
        Case(
            case["name"],
            case["label"]["recommendation"],
            frozenset(case["label"]["critical"]),
            analyse(matters[drafts[case["name"]]], PACKAGED),
        )
        for case in given
    ]


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Cohen's kappa of two raters' labels: agreement beyond chance, 1 at most."""
    many = len(pairs)
    agreed = sum(one == other for one, other in pairs) / many
    labels = {label for pair in pairs for label in pair}
    chance = sum(
        sum(one == label for one, _ in pairs) * sum(other == label for _, other in pairs)
        for label in labels
    ) / (many * many)
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)
