"""Models side by side on the newest part of series, by rolling origins, the hopeless ones dropped early."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sidecar.engine.forecast.interval import winkler
from sidecar.engine.forecast.library import GLOBAL, OfflineModel, run
from sidecar.engine.forecast.past import Past
from sidecar.engine.forecast.pool import PoolForecast
from sidecar.engine.forecast.together import TogetherModel, train
from sidecar.errors import ModelError
from sidecar.series import FloatArray

NEWEST_SHARE = 0.25
TRAINING_SHARE = 0.1
"""Part of the whole time that training one model of all series may take, at each moment."""
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
    after the first, and whenever twice as many are done, the worse half goes (successive halving),
    but for the pool and the seasonal naive. Stop taking rounds to pause; what was yielded stands.
    """
    standings = {name: Standing(name) for name in models}
    naive = Standing(YARDSTICK)
    until = clock() + budget_seconds
    plans = [(case, _origins(case.grid, horizon_of(case.step_seconds), n_origins)) for case in cases]
    rounds = max((len(origins) for _, origins in plans), default=0)
    for number in range(rounds):
        left = [s for s in standings.values() if s.dropped_after is None]
        here = [
            _Moment(case, origins[number], horizon_of(case.step_seconds), level)
            for case, origins in plans
            if number < len(origins)
        ]
        of_all = (
            _Together(here, clock, TRAINING_SHARE * budget_seconds)
            if any(standing.name == GLOBAL for standing in left)
            else None
        )
        for moment in here:
            if clock() >= until or not _try(naive, moment, clock):
                continue
            for standing in left:
                together = of_all if standing.name == GLOBAL else None
                if clock() < until and _try(standing, moment, clock, together):
                    standing.ratio.append((standing.mase[-1] + 1e-5) / (naive.mase[-1] + 1e-5))
        yield sorted(standings.values(), key=lambda s: s.rank)
        if clock() >= until:
            return
        # Half after the first, half of the rest after the second, fourth, ... round.
        if number + 1 in (1, 2, 4, 8, 16):
            droppable = sorted((s for s in left if s.name not in ALWAYS), key=lambda s: s.rank)
            for standing in droppable[-(-len(droppable) // 2) :]:
                standing.dropped_after = number + 1


@dataclass(frozen=True)
class _Moment:
    """One series at one past moment."""

    case: Case
    origin: int
    horizon: int
    level: float

    @property
    def history(self) -> FloatArray:
        return self.case.grid[: self.origin]


class _Together:
    """The model of all series at one moment, trained when it is first asked for a series of that step."""

    def __init__(self, moments: Sequence[_Moment], clock: Callable[[], float], budget_seconds: float) -> None:
        self._moments = moments
        self._clock = clock
        self._budget_seconds = budget_seconds
        self._models: dict[float, TogetherModel] = {}

    def __call__(self, grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
        if step_seconds not in self._models:
            alike = [one for one in self._moments if one.case.step_seconds == step_seconds]
            histories = [one.history for one in alike]
            self._models[step_seconds] = train(histories, step_seconds, horizon, level, clock=self._clock)
        return self._models[step_seconds].forecast(grid, step_seconds, horizon)


def _scale(past: Past, period: int) -> float:
    """The unit of errors: how far the series usually is from yesterday, or a part of what it is.

    A series that never changes has no such distance: what a model is off there by rounding is not infinitely
    much, and would be all that a mean over series tells.
    """
    usual = float(np.abs(past.y[period:] - past.y[:-period]).mean())
    scale = max(usual, 1e-4 * float(np.ptp(past.y)), 1e-9 * float(np.abs(past.y + past.centre).max()))
    return scale if scale > 1e-200 else 1.0


def _try(
    standing: Standing, moment: _Moment, clock: Callable[[], float], model: OfflineModel | None = None
) -> bool:
    case, history = moment.case, moment.history
    actual = case.grid[moment.origin : moment.origin + moment.horizon]
    known = np.isfinite(actual)
    if not known.any():
        return False
    past = Past(history, case.step_seconds)
    period = past.day or 1
    scale = _scale(past, period)
    began = clock()
    try:
        found = run(standing.name, history, case.step_seconds, moment.horizon, moment.level, model)
    except ModelError as error:
        reason = str(error)
        standing.failures[reason] = standing.failures.get(reason, 0) + 1
        return False
    standing.seconds.append(clock() - began)
    y, yhat, lower, upper = (a[known] for a in (actual, found.yhat, found.lower, found.upper))
    standing.mase.append(float(np.abs(y - yhat).mean()) / scale)
    standing.msis.append(float(winkler(y, lower, upper, moment.level).mean()) / scale)
    standing.covered.append(float(((y >= lower) & (y <= upper)).mean()))
    return True
