"""Reading one CSV table of a dataset, row by row, whatever is wrong with single rows.

A bad row becomes a `RowError` that names file, line and problem, and the rest goes on. Only a
table that cannot be used at all (absent, empty, without a required column) raises.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, ClassVar

from forge_core.errors import ForgeError

# A record may span lines, but no line needs more than this; a file without line ends must not
# be read into memory whole.
_LINE_LIMIT = 1_000_000


class DatasetError(ForgeError):
    """The directory holds no usable dataset: wrong usage, exit status 2 of the CLI."""

    code: ClassVar[str] = "NOT_A_DATASET"
    http_status: ClassVar[int] = 400


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that was left out: the line (from 1) on which it begins, and what is wrong."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one record and the line (from 1) on which it begins."""

    line: int
    cells: list[str]


class Table:
    """One CSV table with a header line; iterating gives each row, or why it was left out."""

    def __init__(self, directory: Path, stem: str, *, required: Sequence[str]) -> None:
        """Find ``<stem>.csv.gz`` or ``<stem>.csv``; raise `DatasetError` when neither exists."""
        candidates = [directory / f"{stem}.csv.gz", directory / f"{stem}.csv"]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise DatasetError(f"{directory} holds neither {stem}.csv.gz nor {stem}.csv")
        self.path = path
        self._required = tuple(required)
        self.columns: dict[str, int] = {}
        self.columns = self._header()

    def cell(self, row: Row, column: str) -> str:
        """Return the stripped cell of ``column``; empty when the table lacks that column."""
        at = self.columns.get(column)
        return "" if at is None else row.cells[at].strip()

    def __iter__(self) -> Iterator[Row | RowError]:
        with _text_of(self.path) as text:
            reader = csv.reader(iter(partial(text.readline, _LINE_LIMIT), ""))
            next(reader)
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield RowError(self.path.name, line, f"not readable as CSV: {error}")
                    continue
                except (OSError, EOFError, zlib.error) as error:
                    yield RowError(self.path.name, line, f"the file breaks off here: {error}")
                    return
                problem = self._problem(cells)
                if problem is not None:
                    yield RowError(self.path.name, line, problem)
                elif cells:
                    yield Row(line, cells)

    def _problem(self, cells: list[str]) -> str | None:
        if cells and len(cells) != len(self.columns):
            return f"has {len(cells)} fields; the header has {len(self.columns)}"
        joined = "".join(cells)
        if "\0" in joined:
            return "contains a NUL character"
        if not joined.isascii() and any("\ud800" <= letter <= "\udfff" for letter in joined):
            return "is not valid UTF-8"
        return None

    def _header(self) -> dict[str, int]:
        try:
            with _text_of(self.path) as text:
                names = next(csv.reader(iter(partial(text.readline, _LINE_LIMIT), "")), [])
        except (OSError, EOFError, zlib.error, csv.Error) as error:
            raise DatasetError(f"{self.path.name} cannot be read: {error}") from error
        columns = {name.strip(): at for at, name in enumerate(names)}
        if len(columns) != len(names):
            raise DatasetError(f"{self.path.name} names a column twice in its header")
        missing = [name for name in self._required if name not in columns]
        if missing:
            raise DatasetError(f"{self.path.name} lacks the column {', '.join(missing)}")
        return columns


@contextmanager
def _text_of(path: Path) -> Iterator[IO[str]]:
    # surrogateescape keeps a bad byte visible in its own row instead of ending the whole file.
    with path.open("rb") as raw:
        plain = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(
            plain, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as text:
            yield text
