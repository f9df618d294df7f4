"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Discrepancy:
    """Something that is not as the ledger says: where, at which position, and what it means."""

    where: str
    position: int | None
    meaning: str

    def __str__(self) -> str:
        at = "" if self.position is None else f" at position {self.position}"
        return f"{self.where}{at}: {self.meaning}"
