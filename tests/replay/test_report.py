"""What a replay reports: differences by name, and everything that makes it less than perfect."""

from __future__ import annotations

import pytest

from forge_workers.replay.expected import Expected
from forge_workers.replay.observe import Result
from forge_workers.replay.report import Report, explained_by_threshold, report
from forge_workers.replay.rows import RowError
from forge_workers.replay.run import Refusal, Run
from forge_workers.replay.source import Counts, Source, SourceProposal


def source(
    *identities: str, outcome: str | None = None, errors: tuple[RowError, ...] = ()
) -> Source:
    proposals = {
        identity: SourceProposal(
            line=line,
            id=identity,
            text=identity,
            kind="poll",
            author=None,
            opened_at=None,
            closed_at=None,
            outcome=outcome,
            threshold="2",
            published=None,
        )
        for line, identity in enumerate(identities, start=2)
    }
    return Source(name="set", digest="d", proposals=proposals, votes=[], errors=errors)


def result(*counts: str, outcome: str = "approved", status: str = "executed") -> Result:
    return Result(status=status, outcome=outcome, counts=Counts(*counts))


def finished(**results: Result) -> Run:
    return Run(
        results=results, ballots_sent=4, ballot_entries=4, ballot_entry_commands=4, seconds=2
    )


def reported(run: Run, **changed: object) -> Report:
    return report(
        source("a", "b", **changed),  # type: ignore[arg-type]
        {
            "a": Expected(Counts("3", "1", "0"), "published"),
            "b": Expected(Counts("0.5", "0", "0"), "re-tally of the file"),
        },
        run,
    )


PERFECT = {"a": result("3", "1", "0"), "b": result("0.5", "0", "0")}


def test_perfect_replay_has_no_problems() -> None:
    made = reported(finished(**PERFECT))

    assert made.problems() == []
    assert made.proposals_matching == 2
    assert made.ballots_per_second == 2.0


def test_each_differing_side_is_a_difference_and_one_proposal_less() -> None:
    made = reported(finished(a=result("2", "2", "0"), b=PERFECT["b"]))

    assert [str(one) for one in made.differences] == [
        "a: for is 2; the published gives 3",
        "a: against is 2; the published gives 1",
    ]
    assert made.proposals_matching == 1
    assert made.problems() == ["1 proposals differ from what was expected"]


def test_proposal_that_never_opened_is_a_difference_even_with_nothing_to_count() -> None:
    made = report(
        source("a"),
        {"a": Expected(Counts("0", "0", "0"), "published")},
        Run(refusals=[Refusal("proposals", 2, "TRUST_TOO_LOW", "no")]),
    )

    assert made.proposals_matching == 0
    assert [one.side for one in made.differences] == ["outcome"]
    assert made.problems()[0] == "1 rows were refused"


@pytest.mark.parametrize(
    ("entries", "commands", "problem"),
    [
        (5, 4, "5 ballot entries stand for 4 commands only"),
        (3, 3, "4 ballots were sent, and the ledger holds 3 ballot entries"),
    ],
)
def test_ledger_that_does_not_hold_each_ballot_once_is_a_problem(
    entries: int, commands: int, problem: str
) -> None:
    run = finished(**PERFECT)
    run.ballot_entries, run.ballot_entry_commands = entries, commands

    assert problem in reported(run).problems()


def test_approved_proposal_that_was_not_executed_is_a_problem() -> None:
    run = finished(a=result("3", "1", "0", status="expired"), b=PERFECT["b"])

    assert reported(run).problems() == ["1 approved proposals were not executed; they are expired"]


def test_malformed_rows_are_a_problem() -> None:
    made = reported(finished(**PERFECT), errors=(RowError("votes.csv", 7, "is bad"),))

    assert made.problems() == ["1 malformed rows were left out"]


def test_outcomes_are_crossed_with_the_published_ones() -> None:
    run = finished(
        a=result("3", "1", "0"), b=result("0.5", "0", "0", outcome="rejected", status="rejected")
    )
    made = reported(run, outcome="PASSED")

    assert made.outcomes() == {("approved", "PASSED"): 1, ("rejected", "PASSED"): 1}
    assert explained_by_threshold(made.source, run) == (2, 1)


def test_object_for_machines_has_decimals_as_strings() -> None:
    shown = reported(finished(**PERFECT)).to_json()

    assert shown["proposals"] == [
        {"id": "a", "for": "3", "against": "1", "abstain": "0", "outcome": "approved"},
        {"id": "b", "for": "0.5", "against": "0", "abstain": "0", "outcome": "approved"},
    ]
    assert shown["differences"] == []
