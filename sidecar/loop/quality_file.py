"""What the counts of a query's data know, on disk: weeks of profiles that no restart is to cost.

One file a query beside its model, written whole or not at all; its rows are found again by their labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sidecar.durable import UNREADABLE, replace_file, why_unreadable
from sidecar.errors import ModelError
from sidecar.series import LabelSet

if TYPE_CHECKING:
    from sidecar.engine.arrays import RowArrays

FORMAT = 1
ENDING = ".quality"


class Header(msgspec.Struct):
    """What is the same for all series; `clock` is `InputDrift.clock`."""

    labels: list[tuple[tuple[str, str], ...]]
    at_ms: int
    step_ms: int
    clock: list[int]
    format: int = FORMAT


Arrays = Mapping[str, NDArray[Any]]


def copied(parts: Mapping[str, RowArrays]) -> Arrays:
    """The arrays of all parts as they are now, by `part.name`, which no later step changes."""
    return {
        f"{part}.{name}": array.copy() for part, rows in parts.items() for name, array in rows.state().items()
    }


def write(path: Path, header: Header, arrays: Arrays) -> None:
    """Replace the file. Raises: OSError."""
    everything: dict[str, Any] = {
        "header": np.frombuffer(msgspec.json.encode(header), dtype=np.uint8),
        **arrays,
    }
    replace_file(path, lambda file: np.savez(file, **everything))


def read(path: Path, parts: Mapping[str, RowArrays], now: tuple[LabelSet, ...]) -> Header | None:
    """Fill `parts`, which have seen nothing, with what the file knows of the series that there are `now`.

    Each is put in the row that it has now; others have seen nothing. None where there is no file.
    Raises: ModelError where it cannot be used; parts are then as they were.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            header = msgspec.json.decode(file["header"].tobytes(), type=Header)
            arrays = {name: file[name] for name in file.files if name != "header"}
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise ModelError(f"{path}: cannot be read: {why_unreadable(error)}") from error
    known = [LabelSet.of_pairs(pairs) for pairs in header.labels]
    wanted = {
        f"{part}.{name}": (len(known), *array.shape[1:])
        for part, rows in parts.items()
        for name, array in rows.state().items()
    }
    if header.format != FORMAT or wanted != {name: array.shape for name, array in arrays.items()}:
        raise ModelError(f"{path}: it is of another version of pronoia")
    before = {labels: row for row, labels in enumerate(known)}
    pairs = [(row, before[labels]) for row, labels in enumerate(now) if labels in before]
    to, of = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    for part, rows in parts.items():
        rows.resize(len(now))
        for name, array in rows.state().items():
            array[to] = arrays[f"{part}.{name}"][of]
    return header
