"""Series that behave alike, found by how they spend a day; and those that no longer do as their family does.

A day is the mean of each of its 24 hours, relative to the series' own level, so that a large and a
small shard of the same load are alike. BehaviourFamilies are groups by k-means; their number is the largest
that comes out the same from other halves of the series. Sources: Lloyd (1982), Least squares
quantization in PCM; Ben-Hur, Elisseeff, Guyon (2002), A stability based method for discovering
structure in clustered data; Hubert, Arabie (1985), Comparing partitions, for the adjusted index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.arrays import measurements
from sidecar.series import BoolArray, FloatArray, RowArray, TimeArray

HOURS = 24
JITTER = 0.01  # Of the level.
LEAST_SERIES = 8
LEAST_HOURS = 18
"""A day with fewer hours of samples says nothing of a behaviour."""

MOST_FAMILIES = 8
HALVES = 6
STABLE = 0.8
"""Mean adjusted Rand index of partitions by different halves, from which on a number is believed."""

LEFT = 3.0
"""In usual distances of the family's members from its middle: who is further off, and was not, has left."""

LEAST_DISTANCE = 0.15
"""Of the level, root mean square over the hours: differences below this do not matter."""


@dataclass(frozen=True)
class BehaviourFamilies:
    """Which family each series is of, (N,), -1 for one that cannot be told; the families' middles, (k, 24).

    `stability`: how much the same families come out of other halves of the series, 1 is always.
    """

    of_row: RowArray
    middles: FloatArray
    stability: float

    @property
    def n_families(self) -> int:
        """How many there are."""
        return len(self.middles)


@dataclass(frozen=True)
class Leaver:
    """A series that was near the middle of its family, and no longer is.

    `family` is where it was, `like` which one it is nearest to now; distances are shares of the level.
    """

    row: int
    family: int
    like: int
    distance: float
    usual_distance: float


def days(timestamps: TimeArray, values: FloatArray) -> FloatArray:
    """The mean of each hour of the day, less the level and relative to it, (N, 24); NaN rows where unknown.

    `timestamps` int64 ms (T,), `values` (N, T).
    """
    hours = (timestamps // 3_600_000 % HOURS).astype(np.int64)
    values = measurements(values)
    seen = np.isfinite(values)
    sums, counts = np.zeros((len(values), HOURS)), np.zeros((len(values), HOURS))
    for hour in range(HOURS):
        at = hours == hour
        sums[:, hour] = np.where(seen[:, at], values[:, at], 0.0).sum(axis=1)
        counts[:, hour] = seen[:, at].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts
        known = (counts > 0).sum(axis=1) >= LEAST_HOURS
        means[~known] = np.nan
        means[known] = np.where(
            counts[known] > 0, means[known], np.nanmean(means[known], axis=1, keepdims=True)
        )
        level = means.mean(axis=1, keepdims=True)
        size = np.abs(means).mean(axis=1, keepdims=True)
        return np.asarray(np.where(size > 0, (means - level) / np.where(size > 0, size, 1.0), 0.0 * means))


def find_families(course: FloatArray, seed: int = 7) -> BehaviourFamilies:
    """The families among days, (N, 24); one where no number of them is stable."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    known = np.flatnonzero(np.isfinite(course).all(axis=1))
    of_row = np.full(len(course), -1, dtype=np.int64)
    of_row[known] = 0
    rng = np.random.default_rng(seed)
    # Noise that does not matter, so that series that are equal are still as many points.
    seen = course[known] + rng.normal(0.0, JITTER, (len(known), HOURS))
    one = BehaviourFamilies(
        of_row, np.median(seen, axis=0)[None, :] if len(seen) else np.zeros((0, HOURS)), 1.0
    )
    if len(seen) < LEAST_SERIES:
        return one
    halves = [rng.permutation(len(seen))[: -(-len(seen) // 2)] for _ in range(2 * HALVES)]
    best = one
    for n in range(2, min(MOST_FAMILIES, len(seen) // 4) + 1):
        told = [KMeans(n, n_init=4, random_state=seed).fit(seen[half]).predict(seen) for half in halves]
        pairs = zip(told[::2], told[1::2], strict=True)
        stability = float(np.mean([adjusted_rand_score(a, b) for a, b in pairs]))
        if stability < STABLE:
            continue
        model = KMeans(n, n_init=8, random_state=seed).fit(seen)
        if not _apart(seen, model.labels_):
            continue
        groups = of_row.copy()
        groups[known] = model.labels_
        best = BehaviourFamilies(groups, _middles(seen, model.labels_), stability)
    return best


def _apart(course: FloatArray, groups: RowArray) -> bool:
    """Whether any two families differ by more than matters, and by more than their members do."""
    middles = _middles(course, groups)
    inside = _distance(course, middles[groups])
    spread = max(LEAST_DISTANCE, 2.0 * float(np.median(inside)))
    between = _distance(middles[:, None, :], middles[None, :, :]) + np.where(
        np.eye(len(middles)), np.inf, 0.0
    )
    return bool(between.min() > spread)


def _middles(course: FloatArray, groups: RowArray) -> FloatArray:
    return np.stack([np.median(course[groups == k], axis=0) for k in range(groups.max() + 1)])


def _distance(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(((one - other) ** 2).mean(axis=-1)))


def middles_of(families: BehaviourFamilies, course: FloatArray) -> FloatArray:
    """Where each family's middle is on another day, (k, 24): as it was where no member is known."""
    middles = families.middles.copy()
    known = np.isfinite(course).all(axis=1)
    for family in range(families.n_families):
        members = np.flatnonzero((families.of_row == family) & known)
        if len(members):
            middles[family] = np.median(course[members], axis=0)
    return middles


def distances_of(families: BehaviourFamilies, course: FloatArray) -> FloatArray:
    """How far each series is from where its family is that day, (N,), shares of the level; NaN: unknown."""
    inside = families.of_row >= 0
    found = np.full(len(course), np.nan)
    found[inside] = _distance(course[inside], middles_of(families, course)[families.of_row[inside]])
    return found


def leavers(before: BehaviourFamilies, earlier: FloatArray, now: FloatArray) -> list[Leaver]:
    """Who has left its family since: `earlier` and `now` are days of the same series, (N, 24).

    A family that changes as a whole is left by nobody: distances are from its middle of the same day.
    """
    found = []
    both = np.isfinite(earlier).all(axis=1) & np.isfinite(now).all(axis=1)
    middles = middles_of(before, now)
    for family in range(before.n_families):
        members = np.flatnonzero((before.of_row == family) & both)
        if len(members) < LEAST_SERIES // 2:
            continue
        was = _distance(earlier[members], before.middles[family])
        usual = float(np.median(was))
        limit = max(LEFT * usual, LEAST_DISTANCE)
        off = _distance(now[members], middles[family])
        left: BoolArray = (off > limit) & (was <= limit)
        for row, distance in zip(members[left].tolist(), off[left].tolist(), strict=True):
            like = int(_distance(now[row], middles).argmin())
            found.append(Leaver(row, family, like, float(distance), usual))
    return found


def tree(found: BehaviourFamilies) -> list[tuple[list[int], float]]:
    """How families join into larger ones, the most alike first: who is joined, and how far apart.

    Ward's linkage of the families' middles (Ward 1963), each weighed alike.
    """
    if found.n_families < 2:
        return []
    from scipy.cluster.hierarchy import linkage

    joined: list[list[int]] = [[family] for family in range(found.n_families)]
    steps = []
    for left, right, distance, _ in linkage(found.middles, "ward"):
        joined.append(sorted(joined[int(left)] + joined[int(right)]))
        steps.append((joined[-1], float(distance / np.sqrt(HOURS))))
    return steps
