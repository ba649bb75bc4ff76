"""A linear rule for each lead time, fitted to absolute errors on what the other rules look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.forecast.backtest import after_samples, targets
from sidecar.engine.forecast.past import Index, Past, same_time_mean, smooth
from sidecar.engine.forecast.rules import DAY, HOUR, Profile, View
from sidecar.series import FloatArray

PENALTY = 0.02
ROUNDS = 3
TRAIN_ORIGINS = 400
FITTED_LEADS = 24
BLOCKS = 5
RECENCY_DAYS = 14.0


def _widths(past: Past) -> list[int]:
    hours = (past.steps(seconds) for seconds in (HOUR / 4, HOUR, 3 * HOUR, 8 * HOUR))
    return sorted({2, *hours, past.steps(3 * DAY)})


def _knows_weeks(past: Past) -> bool:
    return bool(past.week) and past.n >= 2 * past.week


def n_features(past: Past) -> int:
    """F of `Features.at`: more once the past is long enough for same times of days, and of weeks."""
    n_profiles = 0 if not past.day else 4 if _knows_weeks(past) else 3
    return 3 + len(_widths(past)) + n_profiles + (2 if n_profiles else 0) + 1


class Features:
    """What a linear rule may look at, each relative to the recent level so that shifts do not matter."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self._widths = _widths(past)
        self._profiles: list[Profile] = []
        if past.day:
            half = past.steps(HOUR / 2) if past.step_seconds <= HOUR / 2 else 0
            smoothed = smooth(past.y, half)
            self._profiles = [
                Profile(past, past.day, lambda: past.y),
                Profile(past, past.day, lambda: smoothed, half),
                Profile(past, past.day, lambda: same_time_mean(smoothed, past.day, 0.25), half),
            ]
            # Most rows to fit on must have a last week, or its coefficient is that of yesterday.
            if _knows_weeks(past):
                self._profiles.append(Profile(past, past.week, lambda: smoothed, half))

    def base(self, view: View) -> FloatArray:
        """The level that features and targets are relative to, (B, 1)."""
        return self.past.window_mean(view.origins, self.past.day or self.past.steps(DAY))

    def at(self, view: View) -> FloatArray:
        """Features, (L, B, F)."""
        y, o = self.past.y, view.origins
        base = self.base(view)
        columns = [view.flat(y[o - back] - base) for back in (1, 2, 3)]
        columns += [view.flat(self.past.window_mean(o, width) - base) for width in self._widths]
        for profile in self._profiles:
            columns.append(profile.at(view) - base)
        for profile in self._profiles[1:3]:
            columns.append(view.flat(profile.level(view, 2 * HOUR)))
        columns.append(np.ones((len(o), view.leads.shape[1])))
        return np.stack(columns, axis=-1).transpose(1, 0, 2)


@dataclass(frozen=True)
class Fit:
    """Coefficients by lead, on standardised features: `coef` (L, F), `scale` (L, F)."""

    coef: FloatArray
    scale: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """(L, B, F) to (B, L)."""
        out: FloatArray = np.matmul(features / self.scale[:, None, :], self.coef[:, :, None])[..., 0].T
        return out


def fit(features: FloatArray, targets: FloatArray, weights: FloatArray) -> Fit:
    """Least absolute deviations with a ridge, by reweighted least squares.

    `features` (L, B, F); `targets` (L, B), NaN where there is none; `weights` (B,).
    """
    known = np.isfinite(targets)
    w = np.where(known, weights, 0.0)
    y = np.where(known, targets, 0.0)
    total = np.maximum(w.sum(axis=1), 1e-12)
    scale = np.sqrt((w[..., None] * features**2).sum(axis=1) / total[:, None])
    scale = np.maximum(scale, 1e-9 * scale.max() + 1e-12)
    x = features / scale[:, None, :]
    n_known = known.sum(axis=1)
    # A ridge worth a few pseudo-observations holds short histories near the level.
    ridge = (PENALTY + 5.0 / np.maximum(n_known, 1))[:, None, None] * np.eye(x.shape[2])
    importance = np.ones_like(y)
    coef = np.zeros((len(x), x.shape[2]))
    for _ in range(ROUNDS):
        wi = w * importance
        wi /= np.maximum(wi.sum(axis=1, keepdims=True), 1e-12)
        xw = (x * wi[..., None]).transpose(0, 2, 1)
        coef = np.linalg.solve(xw @ x + ridge, xw @ y[..., None])[..., 0]
        off = np.abs(y - np.matmul(x, coef[..., None])[..., 0])
        typical = (w * off).sum(axis=1, keepdims=True) / total[:, None]
        importance = 1.0 / (off + 0.1 * typical + 1e-12)
    return Fit(coef, scale)


def interpolate(fit: Fit, known_leads: FloatArray, leads: FloatArray) -> Fit:
    """The fit at other leads, linearly between those that were fitted."""
    raw = fit.coef / fit.scale
    high = (
        np.clip(np.searchsorted(known_leads, leads), 1, len(known_leads) - 1)
        if len(known_leads) > 1
        else None
    )
    if high is None:
        coef = np.repeat(raw, len(leads), axis=0)
    else:
        low = high - 1
        share = (leads - known_leads[low]) / (known_leads[high] - known_leads[low])
        share = np.clip(share, 0.0, 1.0)[:, None]
        coef = (1.0 - share) * raw[low] + share * raw[high]
    return Fit(coef, np.ones_like(coef))


@dataclass(frozen=True)
class LinearRule:
    """The linear rule of one series, fitted at some leads; on logarithms where `as_log`."""

    fitted: Fit
    leads: FloatArray
    as_log: bool

    def fits(self, past: Past) -> bool:
        """Whether the past is still one with the features that it was fitted on; it may have grown since."""
        return n_features(past) == self.fitted.coef.shape[1]

    def predict(self, past: Past, grid: FloatArray, view: View) -> FloatArray:
        """Forecasts of a view of the past, (B, L), relative to its centre."""
        if not self.as_log:
            return _predict(Features(past), self.fitted, self.leads, view)
        logs = _logarithm(grid, past.step_seconds)
        said = _predict(Features(logs), self.fitted, self.leads, View(logs, view.origins, view.leads))
        return _from_log(past, logs, said)


def _logarithm(grid: FloatArray, step_seconds: float) -> Past:
    # A refresh may meet the first zero after a selection that saw none.
    smallest = np.nanmin(grid[grid > 0]) if (grid > 0).any() else 1.0
    return Past(np.log(np.maximum(grid, smallest)), step_seconds)


def _from_log(past: Past, logs: Past, said: FloatArray) -> FloatArray:
    top = float(logs.y.max()) + 1.0
    plain: FloatArray = np.exp(np.minimum(said, top) + logs.centre) - past.centre
    return plain


def _predict(features: Features, fitted: Fit, leads: FloatArray, view: View) -> FloatArray:
    here = interpolate(fitted, leads, view.leads[0].astype(float))
    return here.predict(features.at(view)) + features.base(view)


def test_linear(
    past: Past, grid: FloatArray, origins: Index, leads: Index, *, as_log: bool
) -> tuple[FloatArray, LinearRule]:
    """What the rule says from past origins (B, L), fitted on what was known then; and the rule now."""
    work = _logarithm(grid, past.step_seconds) if as_log else past
    features = Features(work)
    first = work.day + 1 if work.day else 4
    train = np.unique(np.linspace(min(first, work.n - 1), work.n - 1, TRAIN_ORIGINS).astype(np.int64))
    train = after_samples(work, train)
    few = leads[np.unique(np.linspace(0, len(leads) - 1, min(FITTED_LEADS, len(leads))).astype(int))]
    view = View(work, train[:, None], few[None, :])
    x = features.at(view)
    wanted = (targets(work, train, few) - features.base(view)).T
    age_days = (work.n - train) * work.step_seconds / 86400.0
    weights = np.broadcast_to(0.5 ** (age_days / RECENCY_DAYS), wanted.shape)
    ends = train[None, :] + few[:, None]  # One past the target.
    said = np.empty((len(origins), len(leads)))
    for block in np.array_split(np.arange(len(origins)), BLOCKS):
        if not len(block):
            continue
        # Refitting before each origin would cost a hundred fits; before each block, a few.
        known = fit(x, np.where(ends <= origins[block[0]], wanted, np.nan), weights)
        here = View(work, origins[block][:, None], leads[None, :])
        said[block] = _predict(features, known, few.astype(float), here)
    if as_log:
        said = _from_log(past, work, said)
    return said, LinearRule(fit(x, wanted, weights), few.astype(float), as_log)
