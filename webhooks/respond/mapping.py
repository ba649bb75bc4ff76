"""Mapping tables: what a file says of a service, a namespace, a customer; and who owns it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from sidecar import plain_yaml
from sidecar.config.enrichment import TableConfig
from sidecar.errors import SidecarError

MAX_ROWS, MAX_CELL = 100_000, 500

Row = Mapping[str, str]


class MappingError(SidecarError):
    """A table that cannot be used; the message says where and why."""

    reason = "mapping"


class MappingTable:
    """One table. Of several rows that fit, that with the most cells that say so, then the first."""

    def __init__(self, config: TableConfig, rows: Sequence[Row]) -> None:
        self._config = config
        self._exact: dict[tuple[str, ...], Row] = {}
        for row in rows:
            self._exact.setdefault(tuple(row.get(key, "") for key in config.keys), row)
        # Which keys rows leave empty: few patterns, however many rows; the fullest are tried first.
        patterns = {tuple(bool(cell) for cell in cells) for cells in self._exact}
        self._patterns = sorted(patterns, key=lambda pattern: (-sum(pattern), pattern), reverse=False)

    def find(self, labels: Mapping[str, str]) -> Row:
        """The facts of the row that fits, without keys and empty cells; empty where none does."""
        for pattern in self._patterns:
            wanted = [
                labels.get(key, "") if used else ""
                for key, used in zip(self._config.keys, pattern, strict=True)
            ]
            # A label that is absent equals no cell, so only a row that leaves it empty fits.
            if any(used and not cell for cell, used in zip(wanted, pattern, strict=True)):
                continue
            row = self._exact.get(tuple(wanted))
            if row is not None:
                return {n: cell for n, cell in row.items() if cell and n not in self._config.keys}
        return {}

    def team(self, labels: Mapping[str, str]) -> str:
        """The owning team; empty where the table says none."""
        return self.find(labels).get(self._config.team, "") if self._config.team else ""


def read_table(config: TableConfig) -> MappingTable:
    """A table from its file.

    Raises: MappingError for one that cannot be read or lacks a column.
    """
    try:
        rows = _csv(config.file) if config.file.suffix == ".csv" else _yaml(config.file)
    except (OSError, UnicodeDecodeError, csv.Error, yaml.YAMLError, MappingError) as error:
        raise MappingError(f"{config.file}: {' '.join(str(error).split())}") from error
    named = {name for row in rows for name in row}
    for column in (*config.keys, *((config.team,) if config.team else ())):
        if rows and column not in named:
            raise MappingError(f"{config.file}: no column {column!r}; there are {', '.join(sorted(named))}")
    return MappingTable(config, rows)


def _csv(file: Path) -> list[Row]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return [_clean(row) for _, row in zip(range(MAX_ROWS), csv.DictReader(lines), strict=False)]


def _yaml(file: Path) -> list[Row]:
    entries = plain_yaml.load_data(file.read_text(encoding="utf-8")) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MappingError("is no list of mappings")
    return [_clean(entry) for entry in entries[:MAX_ROWS]]


def _clean(row: Mapping[object, object]) -> Row:
    return {
        str(name).strip(): " ".join(str(cell).split())[:MAX_CELL]
        for name, cell in row.items()
        if name is not None and cell is not None
    }
