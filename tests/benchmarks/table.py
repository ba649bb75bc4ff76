"""The row of a benchmark table, and how the table is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One claim: our figure, the other's, measured in the same run, and the budget it is held to."""

    what: str
    ours: str
    theirs: str
    ratio: float | None
    budget: str
    ok: bool


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("what", "pronoia", "beside it", "ratio", "budget", ""):
        table.add_column(column)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.1f}×"
        table.add_row(row.what, row.ours, row.theirs, ratio, row.budget, "ok" if row.ok else "MISSED")
    Console(width=140).print(table)
