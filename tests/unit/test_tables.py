"""Files of series: what is read, what is set aside, what is refused, with the row."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sidecar import tables
from sidecar.errors import TableError
from sidecar.tables import iso_times, read_table, write_table


def _write(folder: Path, text: str) -> Path:
    path = folder / "series.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,value\n1700000000,1\n1700000060,2\n",
        "timestamp,value\n2023-11-14T22:13:20Z,1\n2023-11-14T22:14:20Z,2\n",
        "timestamp,value\n2023-11-14 22:13:20,1\n2023-11-14 22:14:20,2\n",
        "value,label,timestamp\n1,0,2023-11-14T23:13:20+01:00\n2,0,1700000060.0\n",
        "\ufefftimestamp,value\r\n1700000000,1\r\n\r\n1700000060,2\r\n",
    ],
    ids=["unix", "iso", "iso-naive", "other-columns-and-zone", "bom-crlf-blank-line"],
)
def test_forms_of_time(tmp_path: Path, text: str) -> None:
    table = read_table(_write(tmp_path, text))
    assert table.timestamps.tolist() == [1_700_000_000_000, 1_700_000_060_000]
    assert table.values.tolist() == [1.0, 2.0]
    assert table.step_seconds == 60.0
    assert table.problems == ()


@pytest.mark.parametrize(
    ("text", "row", "words"),
    [
        ("", None, "empty"),
        ("timestamp,value\n", None, "no rows"),
        ("time,value\n1,2\n", 1, "no column timestamp among time, value"),
        ("timestamp,value\n1,2\n61,many\n", 3, "'many' is not a number"),
        ("timestamp,value\nyesterday,2\n", 2, "neither Unix seconds nor ISO 8601"),
        ("timestamp,value\n1700000000000,2\n", 2, "divide milliseconds by 1,000"),
        ("timestamp,value\n1700000000000000,2\n", 2, "divide microseconds by 1,000,000"),
        ("timestamp,value\nnan,2\n", 2, "timestamp nan is no time in seconds$"),
        ("timestamp;value\n1;2\n", 1, "parted by ';'; need commas"),
        ("timestamp,value\n1\n", 2, "has 1 columns, needs 2"),
        ("timestamp,value\n300,1\n240,1\n180,1\n120,1\n", 3, "sort the file"),
        ("timestamp,value\n-99999999999,1\n99999999999,2\n", None, "more than a century apart"),
    ],
    ids=[
        "empty",
        "header-only",
        "no-column",
        "word",
        "no-time",
        "milliseconds",
        "microseconds",
        "no-number",
        "semicolons",
        "short-row",
        "descending",
        "no-step",
    ],
)
def test_refused_with_row_and_reason(tmp_path: Path, text: str, row: int | None, words: str) -> None:
    with pytest.raises(TableError, match=words) as caught:
        read_table(_write(tmp_path, text))
    assert caught.value.row == row


@pytest.mark.parametrize(
    ("content", "words"),
    [(gzip.compress(b"timestamp,value\n0,1\n"), "gunzip"), ("timestamp,value\n".encode("utf-16"), "UTF-16")],
    ids=["gzip", "utf-16"],
)
def test_a_file_that_is_no_text_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=words):
        read_table(path)


def test_late_and_repeated_rows_are_named_and_set_aside(tmp_path: Path) -> None:
    rows = [f"{60 * i},{i}" for i in range(100)]
    rows[50:50] = ["2940,7"]  # The time of row 49 again.
    rows.append("30,9")
    table = read_table(_write(tmp_path, "timestamp,value\n" + "\n".join(rows) + "\n"))
    assert np.flatnonzero(~table.in_order).tolist() == [50, 101]
    assert [problem.row for problem in table.problems] == [52, 103]
    assert "repeats" in table.problems[0].reason
    assert "older" in table.problems[1].reason


def test_mixed_intervals_are_named(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "timestamp,value\n0,1\n60,1\n120,1\n145,1\n205,1\n"))
    assert table.problems[0].row == 5
    assert "25 s" in table.problems[0].reason


def test_a_coarser_end_is_named_though_it_is_on_the_grid_and_gaps_are_not(tmp_path: Path) -> None:
    gaps = [60 * i for i in range(200) if i % 30]
    coarse = [60 * 200 + 300 * i for i in range(40)]
    path = tmp_path / "a.csv"
    path.write_text("timestamp,value\n" + "".join(f"{at},1\n" for at in gaps))
    assert read_table(path).problems == ()
    path.write_text("timestamp,value\n" + "".join(f"{at},1\n" for at in gaps + coarse))
    (problem,) = read_table(path).problems
    assert (problem.row, problem.reason[:21]) == (len(gaps) + 3, "comes 300 s after the")


def test_absent_and_infinite_values_are_absent(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "timestamp,value\n0,\n60,NaN\n120,inf\n180,null\n240,1e308\n"))
    assert np.isnan(table.values).tolist() == [True, True, True, True, False]


def test_a_table_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIECE_ROWS", 3)
    times = (1_790_000_000_000 + 60_000 * np.arange(7)).astype(np.int64)
    write_table(tmp_path / "a.csv", {"timestamp": iso_times(times), "value": np.arange(7.0)})
    found = read_table(tmp_path / "a.csv")
    assert found.timestamps.tolist() == times.tolist()
    assert found.values.tolist() == list(range(7))


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    values = np.array([0.1, np.nan, 1e-310, -1 / 3])
    times = np.array([0, 60_000, 120_500, 180_000], dtype=np.int64)
    write_table(tmp_path / "out.csv", {"timestamp": iso_times(times), "value": values})
    table = read_table(tmp_path / "out.csv")
    np.testing.assert_array_equal(table.values, values)
    assert table.timestamps.tolist() == times.tolist()
