"""Model state on disk: one file, written whole or not at all, restored whole or not at all.

The file is a zip of arrays (numpy's npz, uncompressed) with a JSON header that
names the format, the query's meaning and the labels of the rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sidecar import __version__
from sidecar.config.load import config_hash
from sidecar.config.model import QueryConfig
from sidecar.durable import UNREADABLE, open_once, replace_file, why_unreadable
from sidecar.engine.model import Counts, QueryModel
from sidecar.engine.versions import libraries
from sidecar.errors import ModelError
from sidecar.series import LabelSet

FORMAT = 8
Pairs = tuple[tuple[tuple[str, str], ...], ...]
PARTS = ("detector", "calibrator", "forecaster", "known", "newcomers", "level_before")
SURROUNDINGS = {"absence", "counters", "min_duration", "traffic", "band_factors", "importance"}
NOT_MEANING = {"rule", "rule_for", "severity", "max_series", "history", "offset", *SURROUNDINGS}
"""Keys of a query that do not change what its state means, so that editing them costs no history."""


def meaning(query: QueryConfig) -> str:
    """Hash of what the state depends on: another expression or step is another model."""
    fields = QueryConfig.model_fields
    usual = {name: fields[name].get_default(call_default_factory=True) for name in NOT_MEANING}
    return config_hash(query.model_copy(update=usual))


def _meant(query: QueryConfig) -> dict[str, Any]:
    """The keys that `meaning` is the hash of, to tell later which of them is another one."""
    kept: dict[str, Any] = query.model_dump(mode="json", exclude=NOT_MEANING)
    return kept


def _changed(header: dict[str, Any], query: QueryConfig) -> str:
    saved, now = header.get("meant", {}), _meant(query)
    keys = [key for key in now if key in saved and saved[key] != now[key]]
    return " and another ".join(keys) or "configuration"


def save(model: QueryModel, path: Path) -> None:
    """Write the model's state to `path` atomically: temporary file, fsync, rename.

    Raises: OSError where it cannot be written; the old file is then untouched.
    """
    header = {
        "format": FORMAT,
        "query": model.query.name,
        "tenant": model.tenant,
        "meaning": meaning(model.query),
        "meant": _meant(model.query),
        "detector": model.detector_name,
        "forecaster": model.forecaster_name,
        "first_timestamp_ms": model.first_timestamp_ms,
        "last_timestamp_ms": model.last_timestamp_ms,
        "pronoia": __version__,
        "libraries": libraries(),
        "most_lately": model.index.most_lately,
        "labels": [label_set.pairs for label_set in model.index.labels],
    }
    arrays: dict[str, Any] = {
        "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        "last_seen_ms": model.index.last_seen_ms,
        "seen_points": model.seen_points,
        "ever_negative": model.ever_negative,
    }
    for part in PARTS:
        for name, array in getattr(model, part).state().items():
            arrays[f"{part}.{name}"] = array
    replace_file(path, lambda file: np.savez(file, **arrays))


def load(path: Path, query: QueryConfig) -> QueryModel:
    """The model saved at `path`, if it is of this query.

    Raises: ModelError where the file is of another format, another query or damaged.
    """
    try:
        # np.load leaves a file that it was given by path open when it is damaged.
        with open_once(path) as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        written = msgspec.json.decode(arrays.pop("header").data, type=dict[str, msgspec.Raw])
        label_pairs = written.pop("labels", msgspec.Raw(b"null"))
        header = {name: msgspec.json.decode(value) for name, value in written.items()}
    except UNREADABLE as error:
        raise ModelError(f"{path}: cannot be read as a saved model: {why_unreadable(error)}") from error
    if header.get("format") != FORMAT:
        raise ModelError(f"{path}: not of format {FORMAT}, which this version reads")
    if header.get("meaning") != meaning(query):
        raise ModelError(f"{path}: was learnt with another {_changed(header, query)} of query {query.name!r}")
    saved_by = {name: ".".join(str(v).split(".")[:2]) for name, v in header.get("libraries", {}).items()}
    if saved_by != libraries():
        theirs, ours = (", ".join(f"{k} {v}" for k, v in one.items()) for one in (saved_by, libraries()))
        raise ModelError(f"{path}: was learnt with {theirs or 'unknown libraries'}; here is {ours}")
    try:
        model = QueryModel(
            query, tenant=header["tenant"], detector=header["detector"], forecaster=header["forecaster"]
        )
        # Decoded straight to what is kept: millions of short-lived lists would cost more than all arrays.
        labels = tuple(map(LabelSet.of_pairs, msgspec.json.decode(label_pairs, type=Pairs)))
        model.index.restore(labels, arrays["last_seen_ms"])
        model.index.most_lately = float(header.get("most_lately", model.index.most_lately))
        model.seen_points = arrays["seen_points"]
        model.ever_negative = arrays["ever_negative"]
        model.known.resize(len(labels))
        for part in PARTS:
            prefix = f"{part}."
            state = {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
            getattr(model, part).restore(state)
        model.first_timestamp_ms = header.get("first_timestamp_ms")
        model.last_timestamp_ms = header["last_timestamp_ms"]
        model.counts = Counts()
    except (ModelError, KeyError, IndexError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: incomplete: {error}") from error
    rows = {len(model.index.last_seen_ms), len(model.seen_points), len(model.ever_negative)}
    rows |= {getattr(model, part).n_rows for part in PARTS}
    # Compiled loops do not check bounds: a part with fewer rows would read foreign memory.
    if rows != {len(labels)}:
        raise ModelError(f"{path}: labels and arrays differ in rows")
    return model
