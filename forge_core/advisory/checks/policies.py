"""Policies: what a text would take away once it is in force, whatever it calls it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from forge_core.advisory.analysis import Point, Severity
from forge_core.advisory.constitution import Principle
from forge_core.advisory.matter import Matter

_RECORDS: Final = (
    r"(?:records?|archives?|proposals?|comments?|logs?|ledger|minutes|histor(?:y|ies)|ballots?"
    r"|evidence|reports?|backups?|reviews?|post-?mortems?|documents?|notes)"
)
_GONE: Final = (
    r"(?:delet\w+|destroy\w*|eras\w+|purg\w+|wip(?:e|ed|es|ing)|removed? from (?:public )?view"
    r"|burn\w*|shred\w*|discard\w*|(?:throw|thrown|threw) (?:out|away)|dispos\w+ of)"
)
_TAKEN: Final = {
    Principle.KNOWLEDGE_PRESERVATION: re.compile(
        rf"\b{_RECORDS}\b[^.\n]{{0,120}}\b{_GONE}\b|\b{_GONE}\b[^.\n]{{0,60}}\b{_RECORDS}\b",
        re.IGNORECASE,
    ),
    Principle.TRANSPARENCY: re.compile(
        r"\b(?:not|never|no longer)\s+(?:be\s+)?(?:published|recorded|disclosed|laid open|made "
        r"public|minuted)\b|\bbehind closed doors\b|\b(?:kept|remain\w*|stay\w*) (?:secret"
        r"|confidential|private)\b|\bamong themselves\b|\bwithout (?:minutes|publication)\b",
        re.IGNORECASE,
    ),
    Principle.HUMAN_OVERSIGHT: re.compile(
        r"\bwithout (?:a |any |further )?(?:vote|voting|review|consultation|appeal)\b|\brefrain "
        r"from (?:public )?(?:questions?|criticism|objections?|comment\w*)\b|\b(?:may|can|shall) "
        r"not (?:be )?(?:question\w*|criticis\w*|criticiz\w*|appeal\w*|challeng\w*|overrul\w*)\b"
        r"|\b(?:final and binding|no appeal)\b|\b(?:takes?|make) (?:all |the |any )?(?:\w+ )?"
        r"decisions? (?:alone|among themselves|on (?:its|their) own)\b|\bloses? the right to\b"
        r"|\b(?:counts?|treated|deemed|considered)(?: as)? (?:reviewed|approved|signed|accepted"
        r"|an? (?:yes|approval|review|sign-?off))\b|\b(?:approv\w+|sign-?offs?|decid\w+|accept\w+) "
        r"(?:is |are |be )?(?:automatic\w*|generated)\b|\bautomatic\w* (?:approv|accept|sign|decid)"
        r"\w+|\bnot subject to (?:any )?(?:manual |human )?(?:override|review|appeal|veto)\b"
        r"|\bdecisions? (?:is|are) final\b"
        r"|\bguardians? (?:abstain|refrain|(?:may|must|shall) not)\b",
        re.IGNORECASE,
    ),
}
_WOULD: Final = {
    Principle.KNOWLEDGE_PRESERVATION: "by this rule records would be gone for good",
    Principle.TRANSPARENCY: "by this rule members would not see what is done and decided",
    Principle.HUMAN_OVERSIGHT: "by this rule members could not look, ask or stop it as now",
}
_KEPT: Final = re.compile(
    r"\b(?:scann\w+|cop(?:y|ies)|backups?|hash\w*|kept (?:on|for (?:good|ever)|in|without limit)"
    r"|can be restored|exported|personal data|at (?:his|her|their) own request)\b",
    re.IGNORECASE,
)
_BACKUPS_TOO: Final = re.compile(
    r"\b(?:includ\w+ (?:all |the |any |every )?(?:backups?|cop(?:y|ies))|(?:backups?|copies) (?:too"
    r"|alike|as well|included)|no (?:archives?|backups?|cop(?:y|ies)))\b",
    re.IGNORECASE,
)


def taken_away(matter: Matter) -> Iterator[Point]:
    """Records that would go, decisions nobody sees, voices that would be silent."""
    if matter.type != "policy":
        return
    text = "\n".join(matter.texts.values())
    for principle, pattern in _TAKEN.items():
        found = pattern.search(text)
        if found is None:
            continue
        if principle is Principle.KNOWLEDGE_PRESERVATION and _stays(text):
            continue
        yield Point(
            principle=principle,
            severity=Severity.CRITICAL,
            explanation=_WOULD[principle],
            quote=found[0][:400],
            code="taken_away",
        )


def _stays(text: str) -> bool:
    """Whether something of what goes is kept, and that is not taken back."""
    return bool(_KEPT.search(text)) and not _BACKUPS_TOO.search(text)
