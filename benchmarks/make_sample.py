"""Cut whole conversations out of the Polis dataset: how the sample that `make run` shows was made.

    python benchmarks/make_sample.py DATASET forge_workers/replay/sample

DATASET is a directory with the normalised ``proposals.csv.gz`` and ``votes.csv.gz`` of all
conversations. Rows are copied unchanged, so the published totals of the sample still hold.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from pathlib import Path

CONVERSATIONS = ("15-per-hour-seattle", "scoop-hivemind.freshwater")


def cut(dataset: Path, target: Path, conversations: tuple[str, ...]) -> None:
    """Copy the rows of some conversations; the same input gives the same bytes."""
    kept: set[str] = set()
    header, rows = _read(dataset / "proposals.csv.gz")
    identity, kind = header.index("proposal_id"), header.index("kind")
    chosen = [row for row in rows if row[kind] in conversations]
    kept.update(row[identity] for row in chosen)
    _write(target / "proposals.csv.gz", header, chosen)
    header, rows = _read(dataset / "votes.csv.gz")
    identity = header.index("proposal_id")
    chosen_votes = [row for row in rows if row[identity] in kept]
    _write(target / "votes.csv.gz", header, chosen_votes)
    print(f"{len(chosen)} statements and {len(chosen_votes)} votes")


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        header, *rows = csv.reader(text)
    return header, rows


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    cut(arguments.dataset, arguments.target, CONVERSATIONS)
