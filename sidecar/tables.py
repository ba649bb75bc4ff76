"""Series as CSV files, `timestamp,value`, read with every odd row named, and results written back.

Timestamps are Unix seconds or ISO 8601 (UTC where no zone is given). An empty
value is an absent sample. What cannot be understood refuses the file; rows
that come late or twice are named and set aside, as a scrape would do.
"""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sidecar.durable import write_named
from sidecar.errors import TableError
from sidecar.series import BoolArray, FloatArray, TimeArray

MAX_LATE_SHARE = 0.05
"""A file with more late or repeated rows than this is not a series in order of time: it is refused."""

PIECE_ROWS = 20_000
"""What is written at a time: a million rows as text take a gigabyte."""

CENTURY_SECONDS = 36_500 * 86400.0
"""Rows that stand further apart are no measurements; queries have no longer step either."""

LEAST_ODD_ROWS, ODD_SHARE = 10, 0.05
"""A distance of so many rows that is not the usual one is no accident."""

_MISSING = frozenset({"", "nan", "null", "none", "na"})
_OTHER_KINDS = {
    b"\x1f\x8b": "it is compressed; unpack it first (gunzip)",
    b"PK\x03\x04": "it is a zip archive or a workbook; unpack it, or save it as CSV",
    b"\xff\xfe": "it is UTF-16; save it as UTF-8",
    b"\xfe\xff": "it is UTF-16; save it as UTF-8",
}
_FAR_SECONDS = 1e10  # The year 2286.
_STALE_SECONDS_LIMIT = 1e11  # Seconds of the year 5138; larger numbers are milliseconds by mistake.


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that was set aside or looks odd; `row` counts as an editor does, the header being 1."""

    row: int
    reason: str


@dataclass(frozen=True)
class SeriesTable:
    """One series of a file, every row of it, in the order of the file.

    `timestamps` int64 ms (n,), `values` float64 (n,), NaN where absent.
    `in_order`: rows that are newer than all before them; only these are learnt from.
    """

    path: Path
    timestamps: TimeArray
    values: FloatArray
    in_order: BoolArray
    step_seconds: float
    problems: tuple[RowProblem, ...] = field(default=())

    @property
    def n_rows(self) -> int:
        """Rows of the file without its header."""
        return len(self.timestamps)


def read_table(path: Path) -> SeriesTable:
    """Read a file with the columns `timestamp` and `value`; other columns are ignored.

    Raises: TableError naming the row, what was found there and what is needed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(path, csv.reader(file))
    except OSError as error:
        raise TableError(path, None, f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(path, None, f"cannot be read as CSV: {_other_kind(path) or error}") from error


def _other_kind(path: Path) -> str | None:
    """What a file that is no text is by its first bytes, where those are well known."""
    with path.open("rb") as file:
        begin = file.read(4)
    return next((words for magic, words in _OTHER_KINDS.items() if begin.startswith(magic)), None)


def _parse(path: Path, rows: Iterator[list[str]]) -> SeriesTable:
    first = next(rows, None)
    if first is None:
        raise TableError(path, None, "is empty; a header `timestamp,value` and rows are needed")
    header = [name.strip().lower() for name in first]
    missing = [name for name in ("timestamp", "value") if name not in header]
    if missing:
        if len(first) == 1 and (apart := next((c for c in ";\t|" if c in first[0]), None)):
            raise TableError(path, 1, f"columns are parted by {apart!r}; need commas: timestamp,value")
        raise TableError(
            path, 1, f"no column {' and '.join(missing)} among {', '.join(header)}; need timestamp,value"
        )
    time_at, value_at = header.index("timestamp"), header.index("value")
    n_columns = max(time_at, value_at) + 1
    # Numbers as they come: the texts of a million rows take ten times their memory.
    timestamps, values, lines = array("q"), array("d"), array("q")
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) < n_columns:
            raise TableError(path, line, f"has {len(row)} columns, needs {n_columns}")
        timestamps.append(_milliseconds(path, line, row[time_at].strip()))
        values.append(_number(path, line, row[value_at].strip()))
        lines.append(line)
    if not lines:
        raise TableError(path, None, "has no rows after its header")
    return _checked(path, np.array(timestamps, dtype=np.int64), np.array(values), lines)


def table_pieces(columns: Mapping[str, Sequence[str] | FloatArray]) -> Iterator[str]:
    """Columns of equal length as CSV, some rows at a time, each line with its newline.

    NaN becomes an empty field.
    """
    yield ",".join(columns) + "\n"
    n_rows = max(map(len, columns.values()), default=0)
    for start in range(0, n_rows, PIECE_ROWS):
        texts = [_texts(column[start : start + PIECE_ROWS]) for column in columns.values()]
        yield "".join(",".join(row) + "\n" for row in zip(*texts, strict=True))


def _texts(column: Sequence[str] | FloatArray) -> Sequence[str]:
    if isinstance(column, np.ndarray):
        # repr, because a rounded bound and a rounded value could contradict the score beside them.
        return ["" if value != value else repr(value) for value in column.tolist()]
    return column


def write_table(path: Path, columns: Mapping[str, Sequence[str] | FloatArray]) -> None:
    """Write the columns as CSV, atomically.

    Raises: OSError.
    """

    def write(file: BinaryIO) -> None:
        for piece in table_pieces(columns):
            file.write(piece.encode())

    write_named(path, write)


def is_same_file(one: Path, other: Path) -> bool:
    """Whether both names are there and stand for the same file or folder."""
    return one.exists() and other.exists() and os.path.samefile(one, other)


def iso_times(timestamps: TimeArray) -> list[str]:
    """Milliseconds as RFC 3339 texts in UTC, to the second where that is exact."""
    moments = timestamps.astype("datetime64[ms]")
    whole = not (timestamps % 1000).any()
    texts: list[str] = np.datetime_as_string(moments, unit="s" if whole else "ms").tolist()
    return [text + "Z" for text in texts]


def typical_step_seconds(timestamps: TimeArray) -> float:
    """The most frequent distance of neighbours in seconds; 60 where there is none."""
    distances = np.diff(timestamps)
    distances = distances[distances > 0]
    if not len(distances):
        return 60.0
    found, counts = np.unique(distances, return_counts=True)
    return float(found[counts.argmax()]) / 1000.0


def _milliseconds(path: Path, line: int, text: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise TableError(
                path, line, f"timestamp {text!r} is neither Unix seconds nor ISO 8601 (2026-01-31T12:00:00Z)"
            ) from None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return round(moment.timestamp() * 1000)
    if not abs(seconds) < _STALE_SECONDS_LIMIT:
        raise TableError(path, line, f"timestamp {text} is no time in seconds{_finer(seconds)}")
    return round(seconds * 1000)


def _finer(seconds: float) -> str:
    """What to do about a number that is a time of these years in a smaller unit; empty for any other."""
    for unit, in_one in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        if abs(seconds) / in_one < _FAR_SECONDS:
            return f"; divide {unit} by {in_one:,.0f}"
    return ""


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        if text.lower() in _MISSING:
            return np.nan
        raise TableError(
            path, line, f"value {text!r} is not a number; leave the field empty where a sample is absent"
        ) from None
    return value if np.isfinite(value) else np.nan


def _is_odd(distances: TimeArray, step_ms: int) -> BoolArray:
    """Distances off the grid of the step, and those so frequent that they are another step and no gaps."""
    found, at, counts = np.unique(distances, return_inverse=True, return_counts=True)
    another = (found != step_ms) & (counts >= max(LEAST_ODD_ROWS, ODD_SHARE * len(distances)))
    return np.asarray((distances % max(step_ms, 1) != 0) | another[at])


def _checked(path: Path, timestamps: TimeArray, values: FloatArray, lines: Sequence[int]) -> SeriesTable:
    newest = np.maximum.accumulate(timestamps)
    in_order = np.ones(len(timestamps), dtype=np.bool_)
    in_order[1:] = timestamps[1:] > newest[:-1]
    problems = []
    late = np.flatnonzero(~in_order)
    for at in late.tolist():
        word = "repeats the time of" if timestamps[at] == newest[at - 1] else "is older than"
        problems.append(RowProblem(lines[at], f"{word} a row before it; set aside"))
    if len(late) > max(MAX_LATE_SHARE * len(timestamps), 50 if len(timestamps) > 200 else 1):
        first = problems[0]
        raise TableError(
            path, first.row, f"{first.reason} and so do {len(late) - 1} more rows; sort the file by timestamp"
        )
    step = typical_step_seconds(timestamps[in_order])
    if step > CENTURY_SECONDS:
        raise TableError(path, None, "has rows that are more than a century apart; write times in seconds")
    distances = np.diff(timestamps[in_order])
    odd = np.flatnonzero(_is_odd(distances, round(step * 1000)))
    if len(odd):
        kept = np.flatnonzero(in_order)
        at = int(kept[odd[0] + 1])
        distance = distances[odd[0]] / 1000
        problems.append(
            RowProblem(
                lines[at],
                f"comes {distance:g} s after the row before it where {step:g} s is usual "
                f"({len(odd)} such rows); times are used as they are",
            )
        )
    return SeriesTable(path, timestamps, values, in_order, step, tuple(problems))
