"""Helpers for steps: one decision a job, refusals as answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forge_core.errors import Refused
from forge_core.jobs.kinds import Job, Outcome


def each(jobs: Sequence[Job], decide: Callable[[Job], Outcome]) -> list[Outcome]:
    """One outcome a job, in order; a refusal is that job's answer and touches no other.

    ``decide`` checks everything before it writes anything, so that a refusal leaves no trace.
    """
    outcomes = []
    for job in jobs:
        try:
            outcomes.append(decide(job))
        except Refused as refusal:
            outcomes.append(Outcome.refused(refusal))
    return outcomes


def alone(jobs: Sequence[Job], decide: Callable[[Job], Outcome]) -> list[Outcome]:
    """For steps that take one job a transaction: its refusal is its answer."""
    (job,) = jobs
    return each([job], decide)
