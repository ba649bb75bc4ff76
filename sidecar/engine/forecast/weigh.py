"""Weights of rules at each lead, from how far off they were; and the mix as it would have been then."""

from __future__ import annotations

import numpy as np

from sidecar.engine.forecast.backtest import Plan, tested_leads
from sidecar.engine.forecast.interval import Tested
from sidecar.engine.forecast.past import DAY_SECONDS, Index, Past
from sidecar.series import FloatArray

SHARPNESS = 20.0
RECENCY_DAYS, RECENCY_STEPS = 7.0, 28
"""Half-life of a past moment's say, whichever is longer: at steps of days a week is hardly any moment."""
KERNEL_WIDTH = 0.6
HOPELESS = 4.0
"""Rules with so many times the error of the best have no say now, and had none in the mix that is tested."""


def lead_kernel(leads: Index, width: float = KERNEL_WIDTH) -> FloatArray:
    """How much the errors at one lead tell of another, (L, L): a triangle on the logarithm."""
    position = np.log(leads + 2.0)
    return np.maximum(1.0 - np.abs(position[:, None] - position[None, :]) / width, 0.0)


def weights_of(mae: FloatArray, sharpness: float) -> FloatArray:
    """Mean errors, (R, ...), to weights that sum to one over R."""
    floor = 1e-12 + 1e-9 * mae.max()
    w = ((mae.min(axis=0) + floor) / (mae + floor)) ** sharpness
    weights: FloatArray = w / w.sum(axis=0)
    return weights


def weigh(
    past: Past, plan: Plan, forecasts: FloatArray, sharpness: float = SHARPNESS
) -> tuple[FloatArray, Tested]:
    """Weights (R, L), and the mix from each past origin.

    `forecasts` (R, B, L). The mix at an origin is made with weights that leave
    out all origins within a horizon of it, whose targets overlap: its errors
    are those of a forecast that could not have known them.
    """
    n_leads = len(plan.leads)
    known = np.isfinite(plan.actual)
    half_life = max(RECENCY_DAYS * DAY_SECONDS / past.step_seconds, RECENCY_STEPS)
    w: FloatArray = (0.5 ** ((past.n - plan.origins) / half_life))[:, None] * known
    e = np.where(known, np.abs(forecasts - plan.actual), 0.0) * w
    kernel = lead_kernel(plan.leads)
    e_sums = np.concatenate([np.zeros((len(e), 1, n_leads)), np.cumsum(e, axis=1)], axis=1)
    w_sums = np.concatenate([np.zeros((1, n_leads)), np.cumsum(w, axis=0)])
    all_w = w_sums[-1] @ kernel
    mae = (e_sums[:, -1] @ kernel) / np.maximum(all_w, 1e-300)
    # Leads that lie beyond all that was tested take the evidence of the longest that was.
    tested = tested_leads(past, plan.origins, plan.leads, all_w)
    if len(tested):
        nearest = tested[np.abs(np.arange(n_leads)[:, None] - tested).argmin(axis=1)]
        mae, all_w = mae[:, nearest], all_w[nearest]
    reach = int(plan.leads[-1])
    low = np.searchsorted(plan.origins, plan.origins - reach, side="right")
    high = np.searchsorted(plan.origins, plan.origins + reach, side="left")
    left_e = (e_sums[:, -1][:, None] - (e_sums[:, high] - e_sums[:, low])) @ kernel
    left_w = (w_sums[-1][None] - (w_sums[high] - w_sums[low])) @ kernel
    enough = left_w > 0.1 * np.maximum(all_w, 1e-300)
    left = np.where(enough, left_e / np.maximum(left_w, 1e-300), mae[:, None])
    # A rule that failed nowhere but near an origin would be taken there for that very reason.
    left = np.where((mae > HOPELESS * mae.min(axis=0))[:, None], np.maximum(left, mae[:, None]), left)
    fitted = (weights_of(left, sharpness) * forecasts).sum(axis=0)
    tested_mix = Tested(plan.origins, plan.leads, fitted, plan.actual - fitted, w, kernel)
    return weights_of(mae, sharpness), tested_mix
