"""How a series moves now: the straight run that it is in, and how long such runs have lasted before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sidecar.series import BoolArray, FloatArray

BLOCKS = 8
MIN_POINTS = 3
MIN_RISE_NOISES = 6.0
"""A run's rise in units of the noise of one point; below, it is no run."""
BEND = 0.08
"""A run is straight where no block of it lies further from its line than this share of its rise."""
BELIEF_AGES = 6.0
"""A run that nothing is known of is as likely as not to last six times as long again as it has lasted."""
SAME_HEIGHT = 0.1
"""Moments within this share of the range of the past are at the same height."""
RATE_UNCERTAINTY = 0.15


@dataclass(frozen=True)
class Run:
    """A straight run up to the newest sample, in steps of the grid; rates in the series' unit a step.

    `level`: where its line stands at the newest sample, `newest`: the median of the newest three
    samples. `rate_error`: one standard
    error. `scatter`: of points about the line. `n_steps`: its age.
    """

    level: float
    newest: float
    rate: float
    rate_error: float
    scatter: float
    n_steps: int


def current_run(grid: FloatArray) -> Run | None:
    """The longest straight run that ends at the newest sample; None where the series does not move.

    `grid` (n,) NaN where no sample lies, its last entry a sample.
    """
    noise = point_noise(grid)
    found = None
    for n_steps in _windows(len(grid)):
        run = _fit(grid[-n_steps - 1 :], noise)
        if run is not None:
            found = run
    return found


def point_noise(grid: FloatArray, newest: int = 288) -> float:
    """Standard deviation of a point about its neighbours' line, robust; 0 for a smooth series."""
    tail = grid[-newest:]
    bends = tail[1:-1] - 0.5 * (tail[:-2] + tail[2:])
    bends = bends[np.isfinite(bends)]
    if not len(bends):
        return 0.0
    # The second difference halves as this has a variance of 1.5 times that of the point.
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(1.5))


def _windows(n: int) -> list[int]:
    """Ages to try, in steps, each a third longer than the one before."""
    found, age = [], float(MIN_POINTS)
    while age < n:
        found.append(int(age))
        age = max(age * 4 / 3, age + 1)
    return found


def _fit(part: FloatArray, noise: float) -> Run | None:
    """A robust line through the blocks of a window; None where that is flat, bent or mostly absent."""
    at = np.arange(len(part), dtype=np.float64)
    seen = np.isfinite(part)
    if seen.sum() < max(MIN_POINTS, 0.5 * len(part)):
        return None
    x, y = _blocks(at[seen], part[seen])
    i, j = np.triu_indices(len(x), 1)
    rate = float(np.median((y[j] - y[i]) / (x[j] - x[i])))
    age = len(part) - 1
    rise = abs(rate) * age
    level_at_start = float(np.median(y - rate * x))
    off = y - (level_at_start + rate * x)
    per_block = max(seen.sum() / len(x), 1.0)
    block_noise = noise / np.sqrt(per_block)
    if rise < MIN_RISE_NOISES * block_noise or rise <= 1e-9 * np.abs(y).max():
        return None
    if np.abs(off).max() > BEND * rise + 3.0 * block_noise:
        return None
    # A turn within the newest block is hidden by its median.
    last = seen.nonzero()[0][-3:]
    if abs(np.median(part[last] - level_at_start - rate * last)) > BEND * rise + 3.0 * noise:
        return None
    spread = max(float(off.std()), block_noise)
    rate_error = spread / (age * np.sqrt(len(x) / 12.0))
    newest = float(np.median(part[last]))
    return Run(level_at_start + rate * age, newest, rate, rate_error, max(noise, spread), age)


def _blocks(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    if len(x) <= BLOCKS:
        return x, y
    edges = np.linspace(0, len(x), BLOCKS + 1).astype(np.int64)
    both = np.array([(x[a:b].mean(), np.median(y[a:b])) for a, b in pairwise(edges)])
    return both[:, 0], both[:, 1]


def chance_of_rise(
    grid: FloatArray, run: Run, needed: float, leads: FloatArray, if_straight: FloatArray
) -> FloatArray:
    """The probability that the run rises by `needed` (falls, where it falls) within each lead, (h,).

    `if_straight`: the same if the run surely went on. A run of which nothing is known is believed by
    its age. Where the series made similar runs before (at least half as steep over the same time),
    it counts how many of them came so far (scaled to this one's rate, if it is where the series
    never was): sawtooths and daily ramps are known to turn, a disk that always grew to grow.
    """
    belief = _belief(run, leads, if_straight)
    before = grid[: max(len(grid) - run.n_steps, 0)]
    age_steps = run.n_steps
    starts = _similar(before, run, age_steps)
    if not len(starts) and _was_here(before, run, room=0.0):
        # A run as long as a whole tooth has no like that ends there; the later half of one has. Above
        # all that was, it is a new one.
        age_steps = max(age_steps // 2, 1)
        starts = _similar(before, run, age_steps)
    if not len(starts):
        return belief
    signed = np.sign(run.rate) * before
    reached = _highest_after(signed, starts, leads.astype(np.int64))
    if _was_here(before, run):
        wanted = np.full(len(starts), np.sign(run.rate) * run.level + needed)
    else:
        own_rate = (signed[starts] - signed[starts - age_steps]) / age_steps
        wanted = signed[starts] + needed * own_rate / abs(run.rate)
    known = np.isfinite(reached)
    n_known = known.sum(axis=0)
    came = (known & (reached >= wanted[:, None])).sum(axis=0)
    # So far ahead that the past holds few likes, what became of them before that is what is known.
    held = np.minimum(np.arange(len(leads)), max(int((2 * n_known >= n_known.max()).sum()) - 1, 0))
    return (came[held] + belief) / (n_known[held] + 1.0)


def _belief(run: Run, leads: FloatArray, if_straight: FloatArray) -> FloatArray:
    """The probability that the run has come so far by each lead, it being believed by its age alone, (h,).

    It must go on until it is there, and no longer: what came by a lead may have ended before it.
    """
    age = BELIEF_AGES * run.n_steps
    arrives = np.diff(np.maximum.accumulate(if_straight), prepend=0.0)
    goes_on = age / (age + leads)
    return np.cumsum(goes_on * arrives)


def _similar(before: FloatArray, run: Run, age: int) -> np.ndarray:
    """Past moments at which a run of the same sign, that age and at least half the rate stood; far apart.

    Where the series was as high before, only moments at about this height count: a ramp
    that has just begun rises further than one that is nearly done.
    """
    if len(before) <= age:
        return np.empty(0, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        rise = np.sign(run.rate) * (before[age:] - before[:-age])
        alike: BoolArray = rise >= 0.5 * abs(run.rate) * age
        if _was_here(before, run):
            alike &= np.abs(before[age:] - run.newest) <= SAME_HEIGHT * (
                np.nanmax(before) - np.nanmin(before)
            )
    found: list[int] = []
    for moment in (np.flatnonzero(alike) + age).tolist():
        if not found or moment - found[-1] >= max(age // 2, 1):
            found.append(moment)
    return np.array(found, dtype=np.int64)


def _was_here(before: FloatArray, run: Run, room: float = SAME_HEIGHT) -> bool:
    """Whether the series stood at the run's height before, or as near as `room` of its range."""
    low, high = float(np.nanmin(before)), float(np.nanmax(before))
    margin = room * (high - low)
    return low - margin <= run.newest <= high + margin


def _highest_after(signed: FloatArray, starts: np.ndarray, leads: np.ndarray) -> FloatArray:
    """Running maximum after each start at each lead, (S, h); NaN where the lead lies beyond the end."""
    out = np.full((len(starts), len(leads)), np.nan)
    for row, start in enumerate(starts.tolist()):
        after = signed[start + 1 :]
        if not len(after):
            continue
        highest = np.fmax.accumulate(after)
        inside = leads <= len(after)
        out[row, inside] = highest[leads[inside] - 1]
    return out
