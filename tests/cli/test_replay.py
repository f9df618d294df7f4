"""`forge replay` end to end: real rows through a real database, and what it says about them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from forge_workers.replay.session import SAMPLE
from tests.cli.conftest import Forge, working
from tests.core.factories import House, found_house

WEIGHTED = {
    "proposals.csv": """proposal_id,title,kind,outcome,threshold,opened_at,closed_at
parks,More parks,town,PASSED,2,2024-01-01T00:00:00Z,2024-01-08T00:00:00Z
roads,,town,REJECTED,0,2024-01-02T00:00:00Z,2024-01-09T00:00:00Z
""",
    "votes.csv": """proposal_id,voter,decision,weight,cast_at
parks,ann,FOR,0.000000000000000001,2024-01-03T00:00:00Z
parks,bob,AGAINST,1,2024-01-03T00:00:01Z
roads,ann,ABSTAIN,36893488147419103233,2024-01-03T00:00:02Z
parks,bob,FOR,1,2024-01-04T00:00:00Z
parks,cy,AGAINST,0,2024-01-04T00:00:00Z
""",
}


@pytest.fixture
def worked(house: House) -> House:
    """An empty database with a worker; the replay founds its sandbox."""
    with working(house):
        yield house


def dataset(at: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (at / name).write_text(content, encoding="utf-8")
    return at


def slice_of_sample(at: Path, size: int) -> Path:
    """The first statements of the sample with all their votes."""

    def rows(name: str) -> list[dict[str, str]]:
        with gzip.open(SAMPLE / name, "rt", encoding="utf-8", newline="") as text:
            return list(csv.DictReader(text))

    def written(chosen: Sequence[dict[str, str]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, chosen[0])
        writer.writeheader()
        writer.writerows(chosen)
        return text.getvalue()

    proposals = rows("proposals.csv.gz")[:size]
    kept = {row["proposal_id"] for row in proposals}
    votes = [row for row in rows("votes.csv.gz") if row["proposal_id"] in kept]
    return dataset(at, {"proposals.csv": written(proposals), "votes.csv": written(votes)})


@pytest.mark.usefixtures("worked")
def test_sample_comes_out_with_exactly_the_published_totals(forge: Forge, tmp_path: Path) -> None:
    directory = slice_of_sample(tmp_path, 12)

    said = forge("replay", directory, "--json")

    assert said.status == 0, said.err
    found = said.json
    assert set(found) == {
        "proposals_total",
        "proposals_matching",
        "ballots_sent",
        "ballot_entries",
        "duplicates_suppressed",
        "seconds",
        "ballots_per_second",
        "differences",
        "proposals",
    }
    assert found["proposals_total"] == found["proposals_matching"] == 12
    assert found["ballots_sent"] == found["ballot_entries"] > 500
    assert found["duplicates_suppressed"] == 0
    assert found["differences"] == []
    published = csv.DictReader(
        io.StringIO((directory / "proposals.csv").read_text(encoding="utf-8"))
    )
    assert {
        (row["id"], row["for"], row["against"], row["abstain"]) for row in found["proposals"]
    } == {
        (row["proposal_id"], row["for_total"], row["against_total"], row["abstain_total"])
        for row in published
    }


def test_repeated_replay_changes_nothing_and_counts_the_duplicates(
    forge: Forge, worked: House, tmp_path: Path
) -> None:
    directory = slice_of_sample(tmp_path, 3)
    first = forge("replay", directory, "--json").json
    entries = worked.one("SELECT count(*) FROM ledger_entries WHERE kind <> 'clock.advanced'")

    second = forge("replay", directory, "--json").json

    assert second["duplicates_suppressed"] == second["ballots_sent"] == first["ballots_sent"]
    assert second["ballot_entries"] == first["ballot_entries"]
    assert second["proposals"] == first["proposals"]
    assert worked.one(
        "SELECT count(*) FROM ledger_entries WHERE kind <> 'clock.advanced'"
    ) == entries  # fmt: skip


@pytest.mark.usefixtures("worked")
def test_interrupted_replay_goes_on_where_it_stopped(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = slice_of_sample(tmp_path, 3)
    monkeypatch.setattr("forge_workers.replay.run.MOST_AT_ONCE", 40)
    sent: list[int] = []

    def interrupt(count: int) -> None:
        sent.append(count)
        if len(sent) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(
            "forge_workers.replay.progress._Lines.sent", lambda _, count: interrupt(count)
        )
        assert forge("replay", directory, "--json").status == 130

    found = forge("replay", directory, "--json").json
    assert found["proposals_matching"] == 3
    assert found["duplicates_suppressed"] == 80
    assert found["ballot_entries"] == found["ballots_sent"] > 80


@pytest.mark.usefixtures("worked")
def test_weights_of_any_size_are_summed_exactly_and_outcomes_compared(
    forge: Forge, tmp_path: Path
) -> None:
    directory = dataset(tmp_path, WEIGHTED)

    found = forge("replay", directory, "--json").json
    assert found["proposals"] == [
        {
            "id": "parks",
            "for": "1.000000000000000001",
            "against": "0",
            "abstain": "0",
            "outcome": "approved",
        },
        {
            "id": "roads",
            "for": "0",
            "against": "0",
            "abstain": "36893488147419103233",
            "outcome": "rejected",
        },
    ]
    assert found["ballot_entries"] == 5
    shown = forge("replay", directory)
    assert shown.status == 0
    assert "2 of 2" in shown.out
    assert "Our rule: approved when at least 30 % of the eligible weight" in shown.out
    assert "it gives 1 of their 2 outcomes" in shown.out


@pytest.mark.usefixtures("worked")
def test_bad_rows_are_named_the_rest_goes_on_and_the_status_says_so(
    forge: Forge, tmp_path: Path
) -> None:
    directory = dataset(tmp_path, WEIGHTED)
    with (directory / "votes.csv").open("a", encoding="utf-8") as votes:
        votes.write("parks,dan,FOR,NaN,2024-01-04T00:00:00Z\n")

    said = forge("replay", directory, "--json")

    assert said.status == 1
    assert said.json["proposals_matching"] == 2
    assert "votes.csv:7: weight is 'NaN', which is not a finite decimal" in said.err
    assert "1 malformed rows were left out" in said.err


@pytest.mark.usefixtures("worked")
def test_difference_to_the_published_totals_is_named(forge: Forge, tmp_path: Path) -> None:
    header = "proposal_id,title,for_total,against_total,abstain_total"
    files = {
        "proposals.csv": f"{header}\nparks,More,2,0,0\n",
        "votes.csv": "proposal_id,voter,decision\nparks,ann,FOR\nparks,bob,AGAINST\n",
    }

    said = forge("replay", dataset(tmp_path, files), "--json")

    assert said.status == 1
    assert said.json["proposals_matching"] == 0
    assert said.json["differences"] == [
        {"id": "parks", "side": "for", "expected": "2", "found": "1", "origin": "published"},
        {"id": "parks", "side": "against", "expected": "0", "found": "1", "origin": "published"},
    ]
    assert "1 proposals differ" in said.err


def test_refused_ballots_are_named_by_their_row(
    forge: Forge, worked: House, tmp_path: Path
) -> None:
    directory = dataset(tmp_path, WEIGHTED)
    found_house(worked)
    for level, member in (("STANDARD", "ann"), ("STANDARD", "bob")):
        worked.submit("members.admit", "cora", {"members": [{"id": member, "level": level}],
                      "source": "test"})  # fmt: skip
    restrict = ["member", "restrict", "bob", "--as", "otto", "--reason", "held"]
    assert forge(*restrict).status == 0

    said = forge("replay", directory, "--json")

    assert said.status == 1
    assert "votes:3: MEMBER_RESTRICTED" in said.err
    assert "votes:5: MEMBER_RESTRICTED" in said.err
    assert "2 rows were refused" in said.err
    assert said.json["ballot_entries"] == 3


def test_production_database_is_never_replayed_into(
    forge: Forge, house: House, tmp_path: Path
) -> None:
    found_house(house, sandbox=False)

    said = forge("replay", dataset(tmp_path, WEIGHTED))

    assert said.status == 1
    assert "NOT_A_SANDBOX" in said.err
    assert house.one("SELECT count(*) FROM commands") == 0
