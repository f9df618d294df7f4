"""The constitution that advice is measured by: seven principles, and the text that explains them.

The text in the package holds until a policy titled ``Constitution`` is adopted; then its text does,
and the one before again when that policy is repealed. The principles' names stay: scores of
different versions can be compared.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

TITLE: Final = "Constitution"


class Principle(StrEnum):
    """What a change is held against."""

    KNOWLEDGE_PRESERVATION = "knowledge_preservation"
    TRUST_INTEGRITY = "trust_integrity"
    TRANSPARENCY = "transparency"
    GRADUAL_CHANGE = "gradual_change"
    HUMAN_OVERSIGHT = "human_oversight"
    SECURITY = "security"
    FAIRNESS = "fairness"


PACKAGED_VERSION: Final = "package-1"
PACKAGED_TEXT: Final = """\
Knowledge preservation. What the platform has learned, and what it has stored for its members, is \
not lost by a change; what is taken away can be put back.
Trust integrity. Trust is earned step by step and taken for a stated cause. Nobody gains trust, \
weight or roles by a change that they propose for themselves.
Transparency. A proposal says what it changes and why; its text and its payload agree; nothing in \
it is hidden from those who vote.
Gradual change. A change is small enough to watch and to undo. What moves far moves in steps.
Human oversight. People decide, with time to look and a way to stop. Quorums, reviews, sign-offs \
and timelocks are weakened only for a stated reason, and never all at once.
Security. What runs has limits; what watches it is not switched off; nobody instructs the adviser \
or the voters by trick.
Fairness. No member, overlay or group gains at the cost of others without their say. Means held in \
common are spent in proportion, for a stated purpose.
"""


class Constitution(NamedTuple):
    """``version`` names the package's text, or the policy that has replaced it."""

    version: str
    text: str


PACKAGED: Final = Constitution(PACKAGED_VERSION, PACKAGED_TEXT)

_ADOPTED = text("""
    SELECT proposal_id, policy.body AS text FROM policies
    JOIN texts AS title ON title.commitment = policies.title
    JOIN texts AS policy ON policy.commitment = policies.text
    WHERE title.body = :title
    ORDER BY adopted_at DESC, proposal_id DESC LIMIT 1
""")


def constitution_in_force(session: Session) -> Constitution:
    """The latest adopted policy of that title whose text is still kept, else the package's."""
    row = session.execute(_ADOPTED, {"title": TITLE}).one_or_none()
    return PACKAGED if row is None else Constitution(row.proposal_id, row.text)
