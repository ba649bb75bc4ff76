"""Models side by side on the newest part of series, by rolling origins, the hopeless ones dropped early."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sidecar.engine.forecast.interval import winkler
from sidecar.engine.forecast.library import run
from sidecar.engine.forecast.past import Past
from sidecar.errors import ModelError
from sidecar.series import FloatArray

NEWEST_SHARE = 0.25
YARDSTICK = "seasonal_naive"
ALWAYS = ("pool", YARDSTICK)
"""Never dropped: the default, and what all are measured by."""


@dataclass
class Standing:
    """What is known of one model so far; the lists hold one entry a forecast.

    `mase`, `msis`: in units of the history's mean "yesterday again" error.
    `ratio`: of its error to that of the seasonal naive forecast from the same moment.
    """

    name: str
    ratio: list[float] = field(default_factory=list)
    mase: list[float] = field(default_factory=list)
    msis: list[float] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    dropped_after: int | None = None

    @property
    def rank(self) -> float:
        """Geometric mean of `ratio`, a failure counting as ten; fair to models that saw fewer moments."""
        ratios = [*self.ratio, *([10.0] * sum(self.failures.values()))]
        return float(np.exp(np.mean(np.log(np.clip(ratios, 0.1, 10.0))))) if ratios else np.inf


@dataclass(frozen=True)
class Case:
    """One series to compare on: its grid, step, and name."""

    name: str
    grid: FloatArray
    step_seconds: float


def _origins(grid: FloatArray, horizon: int, n: int) -> list[int]:
    """Up to `n` moments in the newest part, each after a sample and with a whole horizon to come."""
    last = len(grid) - horizon
    first = min(max(int(len(grid) * (1 - NEWEST_SHARE)) - horizon, 16), last)
    if last < 16:
        return []
    known = np.flatnonzero(np.isfinite(grid[:last])) + 1
    spread = np.linspace(first, last, n)
    found = {int(known[max(np.searchsorted(known, o, side="right") - 1, 0)]) for o in spread}
    # Newest first: a budget that ends early has then seen what matters most.
    return sorted((o for o in found if o >= 8), reverse=True)


def compare(
    cases: Sequence[Case],
    models: Sequence[str],
    *,
    horizon_of: Callable[[float], int],
    level: float = 0.95,
    n_origins: int = 6,
    budget_seconds: float = 60.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[list[Standing]]:
    """Standings after each round, until all origins were tried or time is over.

    A round tries every model that is left at the same origin of every series;
    after each, the worse half goes (successive halving), but for the pool and
    the seasonal naive. Stop taking rounds to pause; what was yielded stands.
    """
    standings = {name: Standing(name) for name in models}
    naive = Standing(YARDSTICK)
    until = clock() + budget_seconds
    plans = [(case, _origins(case.grid, horizon_of(case.step_seconds), n_origins)) for case in cases]
    rounds = max((len(origins) for _, origins in plans), default=0)
    for number in range(rounds):
        left = [s for s in standings.values() if s.dropped_after is None]
        for case, origins in plans:
            if number >= len(origins):
                continue
            at = (case, origins[number], horizon_of(case.step_seconds), level, clock)
            if clock() >= until or not _try(naive, *at):
                continue
            for standing in left:
                if clock() < until and _try(standing, *at):
                    standing.ratio.append((standing.mase[-1] + 1e-5) / (naive.mase[-1] + 1e-5))
        yield sorted(standings.values(), key=lambda s: s.rank)
        if clock() >= until:
            return
        # Half after the first, half of the rest after the second, fourth, ... round.
        if number + 1 in (1, 2, 4, 8, 16):
            droppable = sorted((s for s in left if s.name not in ALWAYS), key=lambda s: s.rank)
            for standing in droppable[-(-len(droppable) // 2) :]:
                standing.dropped_after = number + 1


def _try(
    standing: Standing, case: Case, origin: int, horizon: int, level: float, clock: Callable[[], float]
) -> bool:
    history, actual = case.grid[:origin], case.grid[origin : origin + horizon]
    known = np.isfinite(actual)
    if not known.any():
        return False
    past = Past(history, case.step_seconds)
    period = past.day or 1
    scale = float(np.abs(past.y[period:] - past.y[:-period]).mean())
    scale = max(scale, 1e-4 * float(np.ptp(past.y)), 1e-300)
    began = clock()
    try:
        found = run(standing.name, history, case.step_seconds, horizon, level)
    except ModelError as error:
        reason = str(error)
        standing.failures[reason] = standing.failures.get(reason, 0) + 1
        return False
    standing.seconds.append(clock() - began)
    y, yhat, lower, upper = (a[known] for a in (actual, found.yhat, found.lower, found.upper))
    standing.mase.append(float(np.abs(y - yhat).mean()) / scale)
    standing.msis.append(float(winkler(y, lower, upper, level).mean()) / scale)
    standing.covered.append(float(((y >= lower) & (y <= upper)).mean()))
    return True
