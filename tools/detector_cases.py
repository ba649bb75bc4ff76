"""One case that each detector is right about and one that it is wrong about, made up and seeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.series import Expectation, FloatArray, LabelSet, Score, SeriesBatch, TimeArray
from tools.made_incidents import PER_DAY, START_MS, STEP_SECONDS, Rng

DAYS = 15
N_POINTS = DAYS * PER_DAY
SIBLINGS = 12
Outcome = Literal["found", "missed"]
FOUND: Outcome = "found"
MISSED: Outcome = "missed"
HOUR = PER_DAY // 24


@dataclass(frozen=True)
class DetectorCase:
    """A series, the first row of `values` (N, T), and the stretch of it that matters, `begin` to `end`."""

    what: str
    outcome: Outcome
    """What becomes of the stretch."""
    values: FloatArray
    begin: int
    end: int


@dataclass(frozen=True)
class Judgement:
    """What a detector said of a case's first series; all arrays (T,)."""

    timestamps: TimeArray
    expectation: Expectation
    score: Score

    def flags(self, case: DetectorCase) -> int:
        """How many points of the case's stretch were flagged."""
        inside = self.score.anomaly_score[0, case.begin : case.end + 1]
        return int((np.nan_to_num(inside) > 1).sum())


def judged(detector: str, case: DetectorCase) -> Judgement:
    """The case as the detector judges it, online, with the defaults of a query."""
    query = QueryConfig(
        name="case",
        expr="case",
        step=STEP_SECONDS,
        forecast_horizons=(),
        detector=detector,
        council=("matrix_profile", "kmeans"),  # Two of them show it as well as six, in a third of the time.
    )
    labels = tuple(LabelSet({"job": "a", "pod": f"p{row}"}) for row in range(len(case.values)))
    times = START_MS + np.arange(N_POINTS, dtype=np.int64) * STEP_SECONDS * 1000
    _, expectation, score = QueryModel(query).score(SeriesBatch("case", labels, times, case.values))
    return Judgement(times, expectation, score)


def came_true(case: DetectorCase, judgement: Judgement) -> bool:
    """Whether the detector did what the case says of it."""
    return (judgement.flags(case) > 0) == (case.outcome != MISSED)


def _course(rng: Rng, swing: float = 0.5, noise: float = 0.03) -> FloatArray:
    """A level of 100 with a daily cycle and noise, as shares of the level."""
    t = np.arange(N_POINTS)
    return np.asarray(
        100 * (1 + swing * np.sin(2 * np.pi * t / PER_DAY)) * (1 + noise * rng.normal(size=N_POINTS))
    )


def _at(day: int, hour: float) -> int:
    return day * PER_DAY + round(hour * HOUR)


def _changed(
    what: str,
    outcome: Outcome,
    values: FloatArray,
    begin: int,
    rows: int,
    change: Callable[[FloatArray], FloatArray],
) -> DetectorCase:
    values = values.copy()
    values[begin : begin + rows] = change(values[begin : begin + rows])
    return DetectorCase(what, outcome, values[None, :], begin, begin + rows - 1)


def _flat(rng: Rng, noise: float = 0.03) -> FloatArray:
    return _course(rng, swing=0.0, noise=noise)


def _batch_runs(rng: Rng) -> FloatArray:
    """Idle, but for runs of an hour that begin at any minute of every third hour."""
    values = 5 + np.abs(rng.normal(0, 0.5, N_POINTS))
    for begin in range(0, N_POINTS - 3 * HOUR, 3 * HOUR):
        start = begin + int(rng.integers(0, 2 * HOUR))
        values[start : start + HOUR] += 80 + rng.normal(0, 4, HOUR)
    return np.asarray(values)


def _fleet(rng: Rng) -> FloatArray:
    """Pods that share a course, each with a share of its own."""
    course = _course(rng, noise=0.0) * np.exp(np.cumsum(rng.normal(0, 0.01, N_POINTS)))
    noise = 1 + 0.03 * rng.normal(size=(SIBLINGS, N_POINTS))
    return np.asarray(course * (1 + 0.1 * rng.normal(size=(SIBLINGS, 1))) * noise)


def _of_fleet(what: str, outcome: Outcome, rng: Rng, rows: slice, factor: float) -> DetectorCase:
    values = _fleet(rng)
    begin, end = _at(13, 3), _at(13, 5)
    values[rows, begin:end] *= factor
    return DetectorCase(what, outcome, values, begin, end - 1)


def _times(factor: float) -> Callable[[FloatArray], FloatArray]:
    return lambda part: part * factor


def _plus(amount: float) -> Callable[[FloatArray], FloatArray]:
    return lambda part: part + amount


def _still(part: FloatArray) -> FloatArray:
    return np.full(len(part), part[0])


def _ramp(to: float) -> Callable[[FloatArray], FloatArray]:
    return lambda part: part * np.linspace(1, to, len(part))


def _saw(rng: Rng) -> FloatArray:
    """It rises for an hour and falls at once, again and again."""
    t = np.arange(N_POINTS)
    return np.asarray(90 + 20 * (t % HOUR) / HOUR + rng.normal(0, 0.6, N_POINTS))


def _mirrored(part: FloatArray) -> FloatArray:
    return 200 - part


def _calm(part: FloatArray) -> FloatArray:
    return 100 + 0.1 * (part - 100)


Pair = tuple[DetectorCase, DetectorCase]

CASES: Mapping[str, Callable[[Rng], Pair]] = {
    "ensemble": lambda rng: (
        _changed(
            "40 % less at the peak, inside the daily range",
            FOUND,
            _course(rng),
            _at(13, 5),
            2 * HOUR,
            _times(0.6),
        ),
        _changed(
            "a failed run between runs at any minute",
            MISSED,
            _batch_runs(rng),
            _at(13, 6),
            HOUR // 2,
            _plus(15),
        ),
    ),
    "council": lambda rng: CASES["ensemble"](rng),
    "point": lambda rng: (
        _changed("two points half as high again", FOUND, _course(rng), _at(13, 12), 2, _times(1.5)),
        _changed("two hours of 8 % more", MISSED, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.08)),
    ),
    "windows": lambda rng: (
        _changed("an hour of 12 % more", FOUND, _flat(rng), _at(13, 12), HOUR, _times(1.12)),
        _changed("one point of twice the level", MISSED, _flat(rng), _at(13, 12), 1, _times(2)),
    ),
    "slow": lambda rng: (
        _changed("it doubles within six hours", FOUND, _flat(rng), _at(13, 6), 6 * HOUR, _ramp(2.0)),
        _changed("two hours of 12 % more", MISSED, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.12)),
    ),
    "shape": lambda rng: (
        _changed("it stands still", FOUND, _flat(rng), _at(13, 12), 2 * HOUR, _still),
        _changed("two hours of twice the level", MISSED, _flat(rng), _at(13, 12), 2 * HOUR, _times(2)),
    ),
    "seasonal": lambda rng: (
        _changed(
            "the evening's load in the morning", FOUND, _course(rng), _at(13, 18), 2 * HOUR, _times(1.8)
        ),
        _changed("a leak of a tenth a day", MISSED, _course(rng), _at(10, 0), 3 * PER_DAY, _ramp(1.3)),
    ),
    "smoothing": lambda rng: (
        _changed("two points half as high again", FOUND, _course(rng), _at(13, 12), 2, _times(1.5)),
        _changed("two hours of 12 % more", MISSED, _course(rng), _at(13, 12), 2 * HOUR, _times(1.12)),
    ),
    "hampel": lambda rng: (
        _changed("one point a quarter higher", FOUND, _flat(rng), _at(13, 12), 1, _times(1.25)),
        _changed("it doubles within twelve hours", MISSED, _flat(rng), _at(13, 6), 12 * HOUR, _ramp(2.0)),
    ),
    "esd": lambda rng: (
        _changed("five outliers in a row", FOUND, _flat(rng), _at(13, 12), 5, _times(1.3)),
        _changed(
            "40 % less at the peak, inside the daily range",
            MISSED,
            _course(rng),
            _at(13, 5),
            2 * HOUR,
            _times(0.6),
        ),
    ),
    "quantile": lambda rng: (
        _changed(
            "the evening's load in the morning", FOUND, _course(rng), _at(13, 18), 2 * HOUR, _times(1.8)
        ),
        _changed("a leak of a tenth a day", MISSED, _flat(rng), _at(10, 0), 3 * PER_DAY, _ramp(1.3)),
    ),
    "cusum": lambda rng: (
        _changed("two hours of 6 % more", FOUND, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.06)),
        _changed(
            "40 % less at the peak, inside the daily range",
            MISSED,
            _course(rng),
            _at(13, 5),
            2 * HOUR,
            _times(0.6),
        ),
    ),
    "bocpd": lambda rng: (
        _changed("two hours of 12 % more", FOUND, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.12)),
        _changed(
            "the evening's load in the morning", MISSED, _course(rng), _at(13, 18), 2 * HOUR, _times(1.8)
        ),
    ),
    "siblings": lambda rng: (
        _of_fleet("one pod is 30 % above its share", FOUND, rng, slice(0, 1), 1.3),
        _of_fleet("all pods double", MISSED, rng, slice(None), 2.0),
    ),
    "spectral_residual": lambda rng: (
        _changed("one point a quarter higher", FOUND, _flat(rng), _at(13, 12), 1, _times(1.25)),
        _changed("it doubles within twelve hours", MISSED, _flat(rng), _at(13, 6), 12 * HOUR, _ramp(2.0)),
    ),
    "multivariate": lambda rng: (
        _of_fleet("one pod is 30 % above its share", FOUND, rng, slice(0, 1), 1.3),
        _changed(
            "a series alone: two hours of 30 % more", MISSED, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.3)
        ),
    ),
    "matrix_profile": lambda rng: (
        _changed(
            "what rises slowly and falls at once does the reverse",
            FOUND,
            _saw(rng),
            _at(13, 12),
            2 * HOUR,
            _mirrored,
        ),
        _changed("two hours of 8 % more", MISSED, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.08)),
    ),
    "isolation_forest": lambda rng: (
        _changed("two hours of 12 % more", FOUND, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.12)),
        _changed("one point of twice the level", MISSED, _flat(rng), _at(13, 12), 1, _times(2)),
    ),
    "kmeans": lambda rng: (
        _changed("three hours with a tenth of the noise", FOUND, _flat(rng), _at(13, 12), 3 * HOUR, _calm),
        _changed(
            "a leak of a tenth in three days", MISSED, _course(rng), _at(10, 0), 3 * PER_DAY, _ramp(1.1)
        ),
    ),
    "gaussian_mixture": lambda rng: (
        _changed("three hours with a tenth of the noise", FOUND, _flat(rng), _at(13, 12), 3 * HOUR, _calm),
        _changed(
            "a leak of a tenth in three days", MISSED, _course(rng), _at(10, 0), 3 * PER_DAY, _ramp(1.1)
        ),
    ),
    "dbscan": lambda rng: (
        _changed("two hours of 12 % more", FOUND, _flat(rng), _at(13, 12), 2 * HOUR, _times(1.12)),
        _changed("one point a quarter higher", MISSED, _flat(rng), _at(13, 12), 1, _times(1.25)),
    ),
    "spectral_clusters": lambda rng: (
        _changed(
            "the evening's load in the morning", FOUND, _course(rng), _at(13, 18), 2 * HOUR, _times(1.8)
        ),
        _changed(
            "a leak of a tenth in three days", MISSED, _course(rng), _at(10, 0), 3 * PER_DAY, _ramp(1.1)
        ),
    ),
    "autoencoder": lambda rng: (
        _changed(
            "what rises slowly and falls at once does the reverse",
            FOUND,
            _saw(rng),
            _at(13, 12),
            2 * HOUR,
            _mirrored,
        ),
        _changed("three hours with a tenth of the noise", MISSED, _flat(rng), _at(13, 12), 3 * HOUR, _calm),
    ),
}
"""Right first, wrong second."""


def cases(detector: str) -> Pair:
    """The detector's two cases; every run makes the same."""
    return CASES[detector](np.random.default_rng(sum(detector.encode())))
