"""A linear rule for each lead time, fitted to absolute errors on what the other rules look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.forecast.past import Past, same_time_mean, smooth
from sidecar.engine.forecast.rules import DAY, HOUR, Profile, View
from sidecar.series import FloatArray

PENALTY = 0.02
ROUNDS = 3


class Features:
    """What a linear rule may look at, each relative to the recent level so that shifts do not matter."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self._widths = sorted(
            {2, *(past.steps(s) for s in (HOUR / 4, HOUR, 3 * HOUR, 8 * HOUR)), past.steps(3 * DAY)}
        )
        self._profiles: list[Profile] = []
        if past.day:
            half = past.steps(HOUR / 2) if past.step_seconds <= HOUR / 2 else 0
            smoothed = smooth(past.y, half)
            self._profiles = [
                Profile(past, past.day, past.y),
                Profile(past, past.day, smoothed, half),
                Profile(past, past.day, same_time_mean(smoothed, past.day, 0.25), half),
            ]
            if past.week:
                self._profiles.append(Profile(past, past.week, smoothed, half))

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
