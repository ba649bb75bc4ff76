"""What is remembered of a series to explain it: its newest deviations, and how rare such scores are."""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.arrays import RowArrays
from sidecar.series import BoolArray, FloatArray, LabelSet, RowArray

REMEMBERED_STEPS = 64
SHAPE_STEPS = 24
LEAD_STEPS = 2
"""The shape of an event is its deviation so many steps before it began, and then for at most SHAPE_STEPS."""

UNUSUAL = 0.5
"""Scores from here up are the tail whose decay says how rare higher ones are."""

NARROWEST = 0.02
"""Of the band's height: nearer to an edge the centre says nothing of how wide that side is."""

CALM_STEPS = 3
"""After so many steps below UNUSUAL the next excess is another one; neighbours are one story."""

OWN_CLUSTERS = 5.0
"""So many excesses of its own outweigh what the query's other series say of a series' tail."""

POOL_SECONDS = 7 * 86400.0
LEAST_SECONDS = 86400.0
"""Less observation than this, of all series of a query together, says nothing of rarity."""

_CLUSTERS, _EXCESS, _PEAK, _CALM, _SECONDS = range(5)


class Chronicle(RowArrays):
    """The newest deviations and values of a query's series and the tail of their scores; 552 bytes a series.

    A deviation is signed, in half-widths of the band: beyond 1 or -1 lies outside.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "deviations": ((REMEMBERED_STEPS,), np.float32),
                "values": ((REMEMBERED_STEPS,), np.float32),
                "tail": ((5,), np.float64),
            }
        )
        self.n_steps = 0

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; of the steps before there is nothing to remember of new ones."""
        known = self.n_rows
        super().resize(n_rows)
        self._empty(np.arange(known, self.n_rows))

    def reset(self, rows: RowArray) -> None:
        """Forget what is remembered of these rows."""
        super().reset(rows)
        self._empty(rows)

    def _empty(self, rows: RowArray) -> None:
        # Zeros would be a past at 0, beside which a series at 100 is unusual for as long as it is young.
        for name in ("deviations", "values"):
            self.arrays[name][rows] = np.nan

    def observe(
        self, actual: FloatArray, deviation: FloatArray, score: FloatArray, elapsed_seconds: float
    ) -> None:
        """Take the newest column, (N,) each; NaN where a series has nothing."""
        at = self.n_steps % REMEMBERED_STEPS
        self.n_steps += 1
        with np.errstate(over="ignore", invalid="ignore"):  # Beyond float32 is infinite, and as far off.
            self.arrays["deviations"][:, at] = deviation
            self.arrays["values"][:, at] = actual
        tail = self.arrays["tail"]
        known = np.isfinite(score)
        tail[known, _SECONDS] += elapsed_seconds
        high = known & (score >= UNUSUAL)
        tail[:, _PEAK] = np.where(high, np.maximum(tail[:, _PEAK], score), tail[:, _PEAK])
        tail[:, _CALM] = np.where(high, 0.0, tail[:, _CALM] + 1.0)
        over = (tail[:, _PEAK] > 0) & (tail[:, _CALM] >= CALM_STEPS)
        tail[over, _CLUSTERS] += 1.0
        tail[over, _EXCESS] += tail[over, _PEAK] - UNUSUAL
        tail[over, _PEAK] = 0.0

    def recent(self, row: int) -> tuple[FloatArray, FloatArray]:
        """Deviations and values of one series, oldest first."""
        n = min(self.n_steps, REMEMBERED_STEPS)
        order = np.arange(self.n_steps - n, self.n_steps) % REMEMBERED_STEPS
        return (
            self.arrays["deviations"][row, order].astype(np.float64),
            self.arrays["values"][row, order].astype(np.float64),
        )

    def seconds(self, row: int) -> float:
        """How long the series has been judged."""
        return float(self.arrays["tail"][row, _SECONDS])

    def once_in_seconds(self, row: int, score: float) -> tuple[float, bool] | None:
        """About how often the series has such a score; True where it is rarer than can be told.

        The excesses beyond UNUSUAL are taken for exponential, their number and mean from the
        series itself, and the less it has of its own, the more from all of the query. None:
        too little was seen. Source: peaks over threshold with declustering, Davison & Smith (1990).
        """
        tail = self.arrays["tail"]
        own_n, own_excess, own_seconds = (float(tail[row, i]) for i in (_CLUSTERS, _EXCESS, _SECONDS))
        pool_n, pool_excess, pool_seconds = (float(tail[:, i].sum()) for i in (_CLUSTERS, _EXCESS, _SECONDS))
        if pool_seconds < LEAST_SECONDS or not pool_n:
            return None
        pool_mean = max(pool_excess / pool_n, 1e-3)
        mean = (own_excess + OWN_CLUSTERS * pool_mean) / (own_n + OWN_CLUSTERS)
        rate = (own_n + pool_n / pool_seconds * POOL_SECONDS) / (own_seconds + POOL_SECONDS)
        seconds = float(np.exp(min(max(score - UNUSUAL, 0.0) / mean, 500.0)) / rate)
        # A tail is believed to ten times what was seen of the query's series together.
        return min(seconds, 10.0 * pool_seconds), seconds > 10.0 * pool_seconds


def tails_of(score: FloatArray, confidence: FloatArray, step_seconds: float) -> FloatArray:
    """The tails that `Chronicle.observe` would have made of past scores, (N, 5), of (N, T) each.

    Only scores of full confidence count: while a series is young its model is, too.
    """
    tails = np.zeros((len(score), 5))
    trusted = np.where(confidence >= 1.0, score, np.nan)
    _follow(np.ascontiguousarray(trusted), step_seconds, tails)
    return tails


@njit(cache=True, nogil=True)
def _follow(score, step_seconds, tails):
    for row in range(len(score)):
        tail = tails[row]
        for s in score[row]:
            if np.isfinite(s):
                tail[_SECONDS] += step_seconds
            if s >= UNUSUAL:
                tail[_PEAK], tail[_CALM] = max(tail[_PEAK], s), 0.0
            else:
                tail[_CALM] += 1.0
            if tail[_PEAK] > 0.0 and tail[_CALM] >= CALM_STEPS:
                tail[_CLUSTERS] += 1.0
                tail[_EXCESS] += tail[_PEAK] - UNUSUAL
                tail[_PEAK] = 0.0


def changed_rows(before: tuple[LabelSet, ...], now: tuple[LabelSet, ...]) -> list[int]:
    """Rows that stand for another series than before; rows that came since are not among them."""
    return [row for row, (old, new) in enumerate(zip(before, now, strict=False)) if old != new]


def deviations(actual: FloatArray, expected: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """How far each value is from the expected, in half-widths of the band on its side, signed; (N,).

    An edge of the band is 1 or -1 away, also where the centre has come upon it: it counts as at least
    NARROWEST of the band's height, or of the edge's own value, inside.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        height = upper - lower
        room = NARROWEST * np.where(np.isfinite(height), height, np.fmax(np.abs(upper), np.abs(lower)))
        centre = np.where(expected > upper - room, upper - room, expected)
        centre = np.where(centre < lower + room, lower + room, centre)
        width = np.where(actual >= centre, upper - centre, centre - lower)
        other = np.where(actual >= centre, centre - lower, upper - centre)
        # A side that the query does not ask about has the width of the other.
        width = np.where(np.isfinite(width), width, other)
        return np.asarray((actual - centre) / np.maximum(width, 1e-12))


def shape_of(recent: FloatArray, age: int) -> FloatArray:
    """The shape of an event that began `age` steps ago (0: now), on a logarithmic scale.

    `recent`: deviations, oldest first. Shorter than LEAD_STEPS + SHAPE_STEPS while the event is young.
    """
    first = max(len(recent) - 1 - age - LEAD_STEPS, 0)
    part = np.nan_to_num(recent[first : first + LEAD_STEPS + SHAPE_STEPS], posinf=1e6, neginf=-1e6)
    return np.asarray(np.sign(part) * np.log1p(np.abs(part)))


def shape_distance(one: FloatArray, other: FloatArray) -> float:
    """How unlike two events are, over the time that both lasted: 0 the same, about 1 nothing in common.

    >>> shape_distance(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0, 5.0]))
    0.0
    """
    n = min(len(one), len(other))
    a, b = one[:n], other[:n]
    size = np.sqrt((a * a).sum()) + np.sqrt((b * b).sum())
    return float(np.sqrt(((a - b) ** 2).sum()) / size) if size > 0 else 0.0


def witnesses(recent: FloatArray, values: FloatArray, others: FloatArray) -> dict[str, float]:
    """Who sees something unusual at the newest point, each with its answer: beyond 1 is unusual.

    `point`, `mean_of_5`, `mean_of_15`: deviations from the expected, in half-widths of the band, a mean being
    steadier than a point by the square root of its length. `own_past`: robust z of the value in its last
    hour or so, by 5. `siblings`: robust z among `others`, the query's other series now, by 5.
    """
    found = {}
    if len(recent) and np.isfinite(recent[-1]):
        found["point"] = abs(float(recent[-1]))
    for n in (5, 15):
        part = recent[-n:]
        if len(part) == n and np.isfinite(part).all():
            found[f"mean_of_{n}"] = abs(float(part.mean())) * float(np.sqrt(n))
    newest = float(values[-1]) if len(values) else np.nan
    for name, sample in (("own_past", values[:-1]), ("siblings", others)):
        z = _robust_z(newest, sample[np.isfinite(sample)])
        if z is not None:
            found[name] = z / 5.0
    return found


def _robust_z(value: float, sample: FloatArray) -> float | None:
    """Distance from the median in robust standard deviations; None where five samples are not there."""
    if len(sample) < 5 or not np.isfinite(value):
        return None
    centre = float(np.median(sample))
    scale = 1.4826 * float(np.median(np.abs(sample - centre)))
    scale = max(scale, 1e-3 * abs(centre), 1e-12)
    return min(abs(value - centre) / scale, 1e6)


def flagged(score: FloatArray) -> BoolArray:
    """Where a score is beyond the edge."""
    return np.asarray(np.nan_to_num(score, nan=0.0) > 1.0)
