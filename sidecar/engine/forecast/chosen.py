"""What was selected for each row, as one array of bytes that is saved with the model, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sidecar import __version__
from sidecar.engine.forecast.interval import IntervalPlan
from sidecar.engine.forecast.past import Index
from sidecar.engine.forecast.pool import Selection
from sidecar.engine.forecast.ridge import Fit, LinearRule
from sidecar.engine.versions import libraries
from sidecar.errors import ModelError
from sidecar.series import FloatArray

Blob = NDArray[np.uint8]

MOST_BYTES = 32 * 2**20
"""About 5,500 selections of 6 KB; what is beyond is selected anew after a restart."""


@dataclass(frozen=True)
class Chosen:
    """A row's selection, when it was made (in the caller's unit), and the widths of its intervals then."""

    selection: Selection
    made_at: int
    width: FloatArray


class _Grid(msgspec.Struct, array_like=True, frozen=True):
    """What selections must have in common with who takes them over."""

    step_seconds: float
    horizon: int
    level: float


class _Linear(msgspec.Struct, array_like=True):
    name: int
    leads: bytes
    as_log: bool
    coef: bytes


class _Row(msgspec.Struct, array_like=True):
    row: int
    made_at: int
    width: bytes
    periods: list[int]
    names: list[int]
    leads: bytes
    weights: bytes
    linear: list[_Linear]
    knots: bytes
    quantiles: bytes
    mix: bytes
    few: bytes
    growth: float
    usual_spread: bytes


class _File(msgspec.Struct, array_like=True):
    made_by: dict[str, str]
    grid: _Grid
    names: list[str]
    rows: list[_Row]


def _made_by() -> dict[str, str]:
    """What rules mean depends on: the version of pronoia, and of what computes them but for patches."""
    return {"pronoia": __version__, **libraries()}


def packed(chosen: Mapping[int, Chosen], most_bytes: int = MOST_BYTES) -> Blob:
    """The newest selections, as many as `most_bytes` hold; all are of one step, horizon and level."""
    names: dict[str, int] = {}
    rows: list[_Row] = []
    room = most_bytes
    for row in sorted(chosen, key=lambda row: -chosen[row].made_at):
        one = _row(row, chosen[row], names)
        room -= _bytes(one)
        if room < 0:
            break
        rows.append(one)
    first = next(iter(chosen.values())).selection if chosen else None
    grid = _Grid(first.step_seconds, first.horizon, first.level) if first else _Grid(0.0, 0, 0.0)
    encoded = msgspec.msgpack.encode(_File(_made_by(), grid, list(names), rows))
    return np.frombuffer(encoded, dtype=np.uint8)


def unpacked(blob: Blob, *, step_seconds: float, horizon: int, level: float) -> dict[int, Chosen]:
    """What `packed` was given, to single precision.

    Raises: ModelError, with the reason, where it was made by other versions or for another step or
    horizon, and where it is damaged.
    """
    try:
        file = msgspec.msgpack.decode(blob.tobytes(), type=_File)
    except msgspec.DecodeError as error:
        raise ModelError(f"saved selections cannot be read: {error}") from error
    if file.made_by != _made_by():
        theirs, ours = (", ".join(f"{k} {v}" for k, v in by.items()) for by in (file.made_by, _made_by()))
        raise ModelError(f"selections were made by {theirs or 'unknown versions'}; here is {ours}")
    if not file.rows:
        return {}
    wanted = _Grid(step_seconds, horizon, level)
    if file.grid != wanted:
        raise ModelError(
            f"selections were made for {file.grid.horizon} steps of {file.grid.step_seconds:g} s; "
            f"wanted are {horizon} of {step_seconds:g} s"
        )
    try:
        return {one.row: _chosen(one, file.names, file.grid) for one in file.rows}
    except (ValueError, IndexError) as error:
        raise ModelError(f"saved selections do not fit together: {error}") from error


def _row(row: int, chosen: Chosen, names: dict[str, int]) -> _Row:
    selection = chosen.selection
    interval = selection.interval
    return _Row(
        row,
        chosen.made_at,
        _floats(chosen.width),
        selection.periods,
        [names.setdefault(name, len(names)) for name in selection.names],
        _whole(selection.leads),
        _floats(selection.weights),
        [
            _Linear(
                names.setdefault(name, len(names)),
                _floats(rule.leads),
                rule.as_log,
                _floats(rule.fitted.coef / rule.fitted.scale),
            )
            for name, rule in selection.linear.items()
        ],
        _whole(interval.knots),
        _floats(interval.quantiles),
        _floats(interval.mix),
        _floats(interval.few),
        interval.growth,
        _floats(selection.usual_spread),
    )


def _chosen(one: _Row, names: list[str], grid: _Grid) -> Chosen:
    leads = _index(one.leads)
    if not len(leads) or not len(one.knots):
        raise ValueError("no leads")
    knots = _index(one.knots)
    linear = {}
    for rule in one.linear:
        at = _array(rule.leads)
        coef = _array(rule.coef).reshape(len(at), -1)
        linear[names[rule.name]] = LinearRule(Fit(coef, np.ones_like(coef)), at, rule.as_log)
    interval = IntervalPlan(
        grid.level,
        leads,
        knots,
        _array(one.quantiles).reshape(-1, 2, len(knots)),
        _array(one.mix).reshape(-1, len(leads)),
        _array(one.few).reshape(len(leads)),
        one.growth,
    )
    selection = Selection(
        grid.step_seconds,
        grid.horizon,
        grid.level,
        one.periods,
        tuple(names[at] for at in one.names),
        leads,
        _array(one.weights).reshape(len(one.names), len(leads)),
        linear,
        interval,
        _array(one.usual_spread).reshape(len(leads)),
    )
    return Chosen(selection, one.made_at, _array(one.width))


def _bytes(one: _Row) -> int:
    """About what a row takes."""
    parts = (one.width, one.leads, one.weights, one.knots, one.quantiles, one.mix, one.few, one.usual_spread)
    return sum(map(len, parts)) + sum(len(rule.coef) + len(rule.leads) for rule in one.linear) + 200


def _floats(values: NDArray[Any]) -> bytes:
    return values.astype(np.float32).tobytes()


def _whole(values: Index) -> bytes:
    return values.astype(np.int32).tobytes()


def _array(raw: bytes) -> FloatArray:
    return np.frombuffer(raw, dtype=np.float32).astype(np.float64)


def _index(raw: bytes) -> Index:
    return np.frombuffer(raw, dtype=np.int32).astype(np.int64)
