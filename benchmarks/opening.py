"""Opening a voting: the same work for a hundred members and for a million."""

from __future__ import annotations

import statistics
import time
from uuid import UUID

from benchmarks.figure import Figure
from benchmarks.house import ALICE, House, policy
from forge_core.database import transaction
from forge_core.ids import uuid7
from forge_core.jobs.kinds import Job
from forge_core.proposals.creation import create
from forge_core.proposals.opening import activate
from forge_core.wiring import CATALOGUE

OPENINGS = 50
FEW = 100


def measure(house: House, *, members: int) -> list[Figure]:
    """The step of `proposals.activate`, one proposal a transaction, commit included; medians."""
    house.add_members(FEW)
    few = _opening(house)
    house.add_members(members)
    many = _opening(house)
    return [
        Figure(
            f"opening a voting at {members:,} members",
            many * 1000,
            "ms",
            "<=",
            10,
            {
                f"at {members:,} members": f"{many * 1000:.1f} ms",
                "before, with fewer": f"{few * 1000:.1f} ms",
            },
        )
    ]


def _opening(house: House) -> float:
    drafts = [_job("proposals.create", policy(n), uuid7()) for n in range(OPENINGS)]
    with transaction(house.engine) as session:
        made = create(session, drafts, catalogue=CATALOGUE)
    taken = []
    for outcome in made:
        job = _job("proposals.activate", {"proposal_id": outcome.result["proposal_id"]}, uuid7())
        began = time.perf_counter()
        with transaction(house.engine) as session:
            (opened,) = activate(session, [job], catalogue=CATALOGUE)
        taken.append(time.perf_counter() - began)
        assert opened.state == "done", opened.message  # noqa: S101
    return statistics.median(taken)


def _job(kind: str, payload: dict[str, object], command: UUID) -> Job:
    return Job(0, kind, str(command), payload, ALICE, "bench", command, 1)
