"""Reading a dataset: every row is checked, a bad one is named with its line, the rest goes on."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from forge_workers.replay.rows import DatasetError, RowError
from forge_workers.replay.source import Counts, Source, read

PROPOSALS = "proposal_id,title\nroads,Mend the roads\n"
VOTES = "proposal_id,voter,decision,weight,cast_at\n"


def dataset(at: Path, *, proposals: str | bytes = PROPOSALS, votes: str | bytes = VOTES) -> Path:
    for name, content in (("proposals.csv", proposals), ("votes.csv", votes)):
        (at / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return at


def read_votes(at: Path, *rows: str | bytes) -> Source:
    encoded = [row if isinstance(row, bytes) else row.encode() for row in rows]
    return read(dataset(at, votes=VOTES.encode() + b"\n".join(encoded) + b"\n"))


def test_plain_and_compressed_files_read_alike(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.mkdir()
    packed.mkdir()
    votes = VOTES + "roads,ann,FOR,,\n"
    dataset(plain, votes=votes)
    (packed / "proposals.csv.gz").write_bytes(gzip.compress(PROPOSALS.encode()))
    (packed / "votes.csv.gz").write_bytes(gzip.compress(votes.encode()))

    assert read(plain).votes == read(packed).votes
    assert read(plain).proposals == read(packed).proposals


def test_decision_is_read_whatever_its_case(tmp_path: Path) -> None:
    source = read_votes(tmp_path, "roads,a,for,,", "roads,b,Against,,", "roads,c,ABSTAIN,,")

    assert [vote.choice for vote in source.votes] == ["for", "against", "abstain"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("roads,ann", "has 2 fields; the header has 5"),
        ("roads,ann,FOR,,,,", "has 7 fields; the header has 5"),
        ("roads,,FOR,,", "voter has 0 characters"),
        ("roads,ann lee,FOR,,", "no spaces"),
        ("roads,ann,MAYBE,,", "decision 'MAYBE' is not FOR, AGAINST or ABSTAIN"),
        ("roads,ann,,,", "decision '' is not FOR"),
        ("bridges,ann,FOR,,", "unknown proposal 'bridges'"),
        (",ann,FOR,,", "unknown proposal ''"),
        ("roads,ann,FOR,NaN,", "not a finite decimal"),
        ("roads,ann,FOR,Infinity,", "not a finite decimal"),
        ("roads,ann,FOR,-1,", "must be 0 or more"),
        ("roads,ann,FOR,1e999999,", "not a finite decimal"),
        ("roads,ann,FOR,1e1e1,", "not a finite decimal"),
        ("roads,ann,FOR,1e500,", "more than 100 digits"),
        ("roads,ann,FOR,1 000,", "not a finite decimal"),
        ("roads,ann,FOR,٣,", "not a finite decimal"),
        (f"roads,ann,FOR,{'9' * 101},", "more than 100 digits"),
        ("roads,ann,FOR,,yesterday", "cast_at is 'yesterday', which is not an ISO 8601 time"),
        (b"roads,a\x00nn,FOR,,", "contains a NUL character"),
        (b"roads,\xff\xfe,FOR,,", "is not valid UTF-8"),
        (b"roads,\xed\xa0\x80,FOR,,", "is not valid UTF-8"),
        (f"roads,{'a' * 201},FOR,,", "voter has 201 characters"),
        ("roads," + "a" * 140_000 + ",FOR,,", "field larger than field limit"),
    ],
)
def test_bad_row_is_named_with_its_line_and_the_rest_goes_on(
    tmp_path: Path, row: str | bytes, problem: str
) -> None:
    source = read_votes(tmp_path, "roads,first,FOR,,", row, "roads,last,FOR,,")

    assert [vote.voter for vote in source.votes] == ["first", "last"]
    [error] = source.errors
    assert (error.file, error.line) == ("votes.csv", 3)
    assert problem in error.problem


def test_line_numbers_count_line_breaks_inside_fields(tmp_path: Path) -> None:
    proposals = 'proposal_id,title\nroads,"Mend\nthe ""old""\nroads"\n,\nbridges,Build\n'
    source = read(dataset(tmp_path, proposals=proposals))

    assert source.proposals["roads"].text == 'Mend\nthe "old"\nroads'
    assert [error.line for error in source.errors] == [5]
    assert list(source.proposals) == ["roads", "bridges"]


def test_blank_title_becomes_the_source_id(tmp_path: Path) -> None:
    source = read(dataset(tmp_path, proposals="proposal_id,title\nroads,\nbridges,\u200b\n"))

    assert [proposal.text for proposal in source.proposals.values()] == ["roads", "bridges"]


def test_long_title_is_kept_whole_as_text(tmp_path: Path) -> None:
    source = read(dataset(tmp_path, proposals=f"proposal_id,title\nroads,{'m' * 10_000}\n"))

    assert source.proposals["roads"].text == "m" * 10_000


def test_text_beyond_ten_thousand_characters_is_refused(tmp_path: Path) -> None:
    source = read(dataset(tmp_path, proposals=f"proposal_id,title\nroads,{'m' * 10_001}\n"))

    assert not source.proposals
    assert "10,001 characters" in source.errors[0].problem


def test_second_row_with_one_proposal_id_is_refused(tmp_path: Path) -> None:
    source = read(dataset(tmp_path, proposals=PROPOSALS + "roads,Again\n"))

    assert source.proposals["roads"].text == "Mend the roads"
    assert source.errors == (
        RowError("proposals.csv", 3, "proposal_id 'roads' was used in line 2 already"),
    )


def test_votes_of_a_refused_proposal_are_refused_by_name(tmp_path: Path) -> None:
    proposals = "proposal_id,title,opened_at\nroads,Mend,never\n"
    source = read(dataset(tmp_path, proposals=proposals, votes=VOTES + "roads,ann,FOR,,\n"))

    assert [str(error) for error in source.errors] == [
        "proposals.csv:2: opened_at is 'never', which is not an ISO 8601 time",
        "votes.csv:2: unknown proposal 'roads'",
    ]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("0", "0"),
        ("007.50", "7.5"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("36893488147419103233", "36893488147419103233"),
        ("9" * 60 + "." + "1" * 40, "9" * 60 + "." + "1" * 40),
    ],
)
def test_weight_is_kept_exactly(tmp_path: Path, written: str, canonical: str) -> None:
    source = read_votes(tmp_path, f"roads,ann,FOR,{written},")

    assert source.votes[0].weight == canonical


def test_row_without_weight_beside_weighted_ones_is_refused(tmp_path: Path) -> None:
    source = read_votes(tmp_path, "roads,ann,FOR,2,", "roads,bob,FOR,,")

    assert [vote.voter for vote in source.votes] == ["ann"]
    assert source.errors[0].line == 3
    assert "has no weight" in source.errors[0].problem


def test_times_are_utc_microseconds_whatever_their_zone(tmp_path: Path) -> None:
    rows = ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2024-01-01 00:00:00", "")
    source = read_votes(tmp_path, *(f"roads,v{at},FOR,,{row}" for at, row in enumerate(rows)))

    assert [vote.cast_at for vote in source.votes] == [1_704_067_200_000_000] * 3 + [None]


def test_unknown_columns_order_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    proposals = "\ufeffcolour,title,proposal_id,abstain_total,against_total,for_total\n"
    source = read(dataset(tmp_path, proposals=proposals + "red,Mend,roads,1,2.0,3\n"))

    assert source.proposals["roads"].published == Counts("3", "2", "1")


@pytest.mark.parametrize("cut", [20, 40])
def test_truncated_gzip_gives_the_rows_before_and_one_error(tmp_path: Path, cut: int) -> None:
    rows = "".join(f"roads,voter-{at},FOR,,\n" for at in range(5_000))
    whole = gzip.compress((VOTES + rows).encode())
    dataset(tmp_path)
    (tmp_path / "votes.csv.gz").write_bytes(whole[:-cut])

    source = read(tmp_path)

    [error] = source.errors
    assert 4_000 < len(source.votes) < 5_000
    assert error.line == len(source.votes) + 2
    assert "breaks off here" in error.problem


def test_damaged_gzip_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    rows = "".join(f"roads,voter-{at},FOR,,\n" for at in range(5_000))
    packed = bytearray(gzip.compress((VOTES + rows).encode()))
    packed[len(packed) // 2] ^= 0xFF
    dataset(tmp_path)
    (tmp_path / "votes.csv.gz").write_bytes(packed)

    source = read(tmp_path)

    assert source.errors


def test_line_without_end_does_not_fill_memory(tmp_path: Path) -> None:
    source = read_votes(tmp_path, "x" * 3_000_000, "roads,ann,FOR,,")

    assert [vote.voter for vote in source.votes] == ["ann"]
    assert source.errors


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "holds neither proposals.csv.gz nor proposals.csv"),
        ({"proposals.csv": PROPOSALS}, "holds neither votes.csv.gz nor votes.csv"),
        ({"proposals.csv": "title\nx\n", "votes.csv": VOTES}, "lacks the column proposal_id"),
        (
            {"proposals.csv": PROPOSALS, "votes.csv": "proposal_id\n"},
            "lacks the column voter, decision",
        ),
        ({"proposals.csv": "", "votes.csv": VOTES}, "lacks the column proposal_id, title"),
        ({"proposals.csv.gz": "plain", "votes.csv": VOTES}, "proposals.csv.gz cannot be read"),
        (
            {"proposals.csv": "proposal_id,title,title\n", "votes.csv": VOTES},
            "names a column twice",
        ),
    ],
)
def test_directory_without_usable_tables_is_no_dataset(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")

    with pytest.raises(DatasetError, match=problem):
        read(tmp_path)


def test_absent_directory_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a directory"):
        read(tmp_path / "absent")
