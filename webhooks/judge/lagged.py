"""Which metric moves before which: Granger's test over all pairs of a few series at once.

A series leads another where its past tells of the other's next step what the other's own past
does not. Source: Granger (1969), Investigating Causal Relations by Econometric Models and
Cross-spectral Methods; the F form, as `grangercausalitytests` of statsmodels has it.
"""

from __future__ import annotations

import msgspec
import numpy as np

from sidecar.series import FloatArray

LAGS = 5
"""So many steps of the past are looked at."""

NEAREST = 2
"""The first of them: what one step separates may be but the time of a scrape."""

LEAST_STEPS = 40
CLIP = 8.0
"""Steps beyond so many spreads count as that: one jump is evidence, and not all of it."""

CERTAIN = 0.001
"""Probability of seeing any lead at all among series that have nothing to do with each other."""

CLEARER = 100.0
"""How much less probable by chance one direction must be than the other: feedback has no direction."""


class Lead(msgspec.Struct, frozen=True):
    """Row `leader` moves `lag_steps` before row `follower`; `chance`: probability of that by chance."""

    leader: int
    follower: int
    lag_steps: int
    chance: float


def leads(values: FloatArray) -> list[Lead]:
    """The pairs of rows of which one moves before the other, the clearest first.

    `values`: shape (N, T), any units, at equal steps, the newest last; NaN marks a gap. Rows that
    do not move, and all of them where there are fewer than forty steps, lead nobody.
    """
    moves = _moves(values)
    alive = np.flatnonzero(moves.any(axis=1))
    n_steps = moves.shape[1] - LAGS - NEAREST
    if len(alive) < 2 or n_steps < LEAST_STEPS:
        return []
    chance = chances(moves[alive])
    n_pairs = len(alive) * (len(alive) - 1)
    found = [
        Lead(
            int(alive[one]),
            int(alive[other]),
            _lag(moves[alive[one]], moves[alive[other]]),
            chance[one, other],
        )
        for one in range(len(alive))
        for other in range(len(alive))
        if one != other
        and chance[one, other] * n_pairs < CERTAIN
        and chance[one, other] * CLEARER < chance[other, one]
    ]
    return sorted(found, key=lambda lead: lead.chance)


def chances(moves: FloatArray, *, nearest: int = NEAREST, lags: int = LAGS) -> FloatArray:
    """Probability that row i tells nothing of row j, shape (N, N); 1 on the diagonal.

    Of the other row the steps `nearest` to `nearest + lags - 1` back count; of its own, 1 to `lags`.
    """
    from scipy.special import fdtrc

    n_rows, n_columns = moves.shape
    reach = lags + nearest - 1
    n_steps = n_columns - reach
    past = np.stack([moves[:, reach - lag : n_columns - lag] for lag in range(1, reach + 1)], axis=-1)
    ones = np.ones((n_steps, 1))
    result = np.ones((n_rows, n_rows))
    freedom = n_steps - 2 * lags - 1
    for follower in range(n_rows):
        target = moves[follower, reach:]
        own = np.hstack([ones, past[follower, :, :lags]])
        alone = _residue(own, target)
        for leader in range(n_rows):
            if leader != follower:
                both = _residue(np.hstack([own, past[leader, :, nearest - 1 :]]), target)
                gain = (alone - both) / lags / max(both / freedom, 1e-12)
                result[leader, follower] = fdtrc(lags, freedom, max(gain, 0.0))
    return result


def sampled_every(values: FloatArray) -> int:
    """In how many columns a value changes at most once: a metric scraped each minute, asked for each 15 s, 4.

    The slowest of the rows that move decides; what moves seldom, but then at each scrape, is not slow.
    """
    slowest = 1
    for row in values:
        changes = np.flatnonzero(np.diff(row[np.isfinite(row)]))
        if len(changes) > 2:
            slowest = max(slowest, int(np.quantile(np.diff(changes), 0.25)))
    return slowest


def _moves(values: FloatArray) -> FloatArray:
    """Steps between neighbours in spreads of the row, clipped; rows that hardly move are 0 throughout."""
    filled = np.array(values, dtype=np.float64)
    for column in range(1, filled.shape[1]):
        gaps = ~np.isfinite(filled[:, column])
        filled[gaps, column] = filled[gaps, column - 1]
    steps = np.nan_to_num(np.diff(filled, axis=1))
    spread = 1.4826 * np.median(np.abs(steps), axis=1)
    # Where most steps are none, what the others are like tells the spread.
    spread = np.where(spread > 0.0, spread, steps.std(axis=1))
    moving = spread > 1e-12 * np.abs(np.nan_to_num(filled)).max(axis=1, initial=1e-300)
    scaled = np.where(moving[:, None], steps / np.where(moving, spread, 1.0)[:, None], 0.0)
    clipped: FloatArray = np.clip(scaled, -CLIP, CLIP)
    return clipped


def _residue(design: FloatArray, target: FloatArray) -> float:
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    return float(((target - design @ solution) ** 2).sum())


def _lag(leader: FloatArray, follower: FloatArray) -> int:
    """By how many steps the follower is most like the leader."""
    likeness = {lag: abs(float(leader[:-lag] @ follower[lag:])) for lag in range(NEAREST, NEAREST + LAGS)}
    return max(likeness, key=lambda lag: likeness[lag])
