"""Made-up operations series with made-up incidents, seeded and labelled: what any detector may be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sidecar.series import FloatArray, TimeArray
from tests.benchmarks.ops_series import KINDS

START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000
STEP_SECONDS, DAYS = 300, 21
VISIBLE = 0.5
"""An incident that changes nothing by so many spreads is none: a queue that is empty cannot drop."""

PER_DAY = 86400 // STEP_SECONDS

Rng = np.random.Generator
Damage = Callable[[FloatArray, float, float, Rng], FloatArray]
"""Values during the incident, the spread of the series, how many spreads; the values that come of it."""


@dataclass(frozen=True)
class Labelled:
    """A series and the one incident in it, rows `begin` to `end`; values and times (T,)."""

    kind: str
    incident: str
    size: float
    timestamps: TimeArray
    values: FloatArray
    begin: int
    end: int


def _shift(part: FloatArray, spread: float, size: float, _: Rng) -> FloatArray:
    return part + size * spread


def _drop(part: FloatArray, _: float, size: float, __: Rng) -> FloatArray:
    return part * max(1.0 - size / 6.0, 0.0)


def _stuck(part: FloatArray, _: float, __: float, ___: Rng) -> FloatArray:
    return np.full(len(part), part[0])


def _burst(part: FloatArray, spread: float, size: float, rng: Rng) -> FloatArray:
    return part + size * spread * rng.normal(size=len(part))


def _leak(part: FloatArray, spread: float, size: float, _: Rng) -> FloatArray:
    return part + size * spread * np.linspace(0, 1, len(part))


INCIDENTS: dict[str, tuple[Damage, int]] = {
    "a spike": (_shift, 2),
    "a shift": (_shift, 36),
    "a drop": (_drop, 24),
    "stands still": (_stuck, 24),
    "noise": (_burst, 24),
    "a leak": (_leak, 3 * PER_DAY),
}
"""What happens, and for how many rows."""

SIZES = (2.0, 4.0, 8.0)
"""In spreads of the series: some incidents are small, as incidents are."""


def made(seed: int = 0) -> Iterator[Labelled]:
    """Each kind of series with each incident in each size."""
    n = DAYS * PER_DAY
    times = START_MS + np.arange(n, dtype=np.int64) * STEP_SECONDS * 1000
    for k, (kind, make) in enumerate(KINDS.items()):
        for i, (incident, (damage, rows)) in enumerate(INCIDENTS.items()):
            for s, size in enumerate(SIZES):
                rng = np.random.default_rng((seed, k, i, s))
                values = make(n, PER_DAY, rng)
                begin = int(rng.integers(14 * PER_DAY, n - rows - PER_DAY))
                spread = float(np.percentile(values, 75) - np.percentile(values, 25)) or float(values.std())
                inside = slice(begin, begin + rows)
                before = values[inside].copy()
                values[inside] = damage(before, spread, size, rng)
                if np.abs(values[inside] - before).max() < VISIBLE * spread:
                    continue
                yield Labelled(kind, incident, size, times, values, begin, begin + rows - 1)
