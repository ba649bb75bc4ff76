"""The history of watched series on disk: read from the source once, kept over restarts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.durable import UNREADABLE, replace_file, why_unreadable
from sidecar.engine.forecast.watched import WatchedSeries
from sidecar.errors import ModelError
from sidecar.series import LabelSet

ENDING = ".history"


def history_path(directory: Path, expr: str, step_seconds: float) -> Path:
    """Where the history of an expression on this grid is kept."""
    meaning = f"{step_seconds:g}\n{expr}".encode()
    return directory / f"{hashlib.sha256(meaning).hexdigest()[:24]}{ENDING}"


def save(watched: WatchedSeries, path: Path) -> None:
    """Write the history whole or not at all.

    Raises: OSError.
    """
    labels, arrays = watched.state()
    header = json.dumps([label_set.pairs for label_set in labels]).encode()
    everything: dict[str, Any] = {"labels": np.frombuffer(header, dtype=np.uint8), **arrays}
    replace_file(path, lambda file: np.savez(file, **everything))


def load(watched: WatchedSeries, path: Path) -> None:
    """Give `watched` the history saved at `path`.

    Raises: ModelError where it cannot be used.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        pairs = json.loads(arrays.pop("labels").tobytes())
        labels = tuple(LabelSet((str(k), str(v)) for k, v in one) for one in pairs)
        watched.restore(labels, arrays)
    except (*UNREADABLE, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as saved history: {why_unreadable(error)}") from error
