"""From which past moments, and at which leads, rules are tried; and what came then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.forecast.past import Index, Past
from sidecar.series import FloatArray

ORIGINS = 120
SHORT_HORIZON_FACTOR = 3
LEADS = 40
REACH_DAYS = 21
LEAST_PART = 8
"""Moments in the first eighth of the past know too little to be tried from."""
ENOUGH_MOMENTS = 0.5
"""From fewer independent moments a lead counts as not tested: whatever rule was lucky there would be right,
and its interval as narrow as its luck. Twice as many do no better on the next week of 3 days or the next
four of one.
"""


@dataclass(frozen=True)
class Plan:
    """Past moments and leads: `origins` (B,) counts known values, `leads` (L,) steps from 1.

    `actual` (B, L): what came, relative to the past's centre; NaN where nothing did, or has yet.
    """

    origins: Index
    leads: Index
    actual: FloatArray


def plan(past: Past, horizon: int, n_origins: int = ORIGINS, n_leads: int = LEADS) -> Plan:
    """A test plan for a horizon of so many steps."""
    leads = pick_leads(horizon, n_leads)
    # Short horizons cost less each and are noisier each: try them more often.
    origins = pick_origins(past, horizon, n_origins * (SHORT_HORIZON_FACTOR if horizon <= n_leads else 1))
    return Plan(origins, leads, targets(past, origins, leads))


def pick_leads(horizon: int, n: int) -> Index:
    """At most about `n` leads: dense at first, then evenly to the horizon."""
    if horizon <= n:
        return np.arange(1, horizon + 1, dtype=np.int64)
    geometric = np.geomspace(1, horizon, n // 2)
    even = np.linspace(1, horizon, n - n // 2)
    return np.unique(np.rint(np.concatenate([geometric, even])).astype(np.int64))


def pick_origins(past: Past, horizon: int, n: int) -> Index:
    """Moments to test from: after enough history for the rules, each right after a sample."""
    first = min(2 * past.day + 1, past.n // 2) if past.day else max(past.n // 3, 3)
    first = min(first, max(past.n - horizon - 1, past.n // 2))
    last = past.n - 1
    if past.day:
        first = max(first, past.n - max(REACH_DAYS * past.day, 4 * horizon))
    first = max(first, 3)
    origins = np.unique(np.linspace(first, last, n).astype(np.int64))
    if last - first > 10 * n:
        # Off the even grid, so that not all moments fall on the same minutes of an hour.
        jitter = (np.arange(len(origins)) * 7919) % 5 - 2
        origins = np.unique(np.clip(origins + jitter, first, last))
    return after_samples(past, origins)


def after_samples(past: Past, moments: Index) -> Index:
    """Those of the moments that come right after a sample, never none.

    Of a series that is mostly gaps all of them may lie in one: then they are where its newest samples are.
    """
    found = moments[past.observed[moments - 1]]
    if len(found):
        return found
    after: Index = np.flatnonzero(past.observed[:-1]) + 1
    # Rules look a little back, and must not come out at the other end.
    late = after[after > past.n // LEAST_PART]
    return (late if len(late) else after[-1:])[-len(moments) :]


def independent_moments(past: Past, origins: Index, leads: Index) -> FloatArray:
    """From how many moments whose waits do not overlap each lead was tested, (L,); one may be part of one."""
    moments: FloatArray = np.maximum(past.n - leads - origins[0], 0) / leads
    return moments


def tested_leads(past: Past, origins: Index, leads: Index, evidence: FloatArray) -> Index:
    """Places of the leads that were tested from enough moments; `evidence` (L,): weight of what came."""
    some = evidence > 0
    enough = some & (independent_moments(past, origins, leads) >= ENOUGH_MOMENTS)
    return np.flatnonzero(enough if enough.any() else some)


def targets(past: Past, origins: Index, leads: Index) -> FloatArray:
    """The values that came `leads` steps after each origin, (B, L); NaN where there is none."""
    at = origins[:, None] + leads[None, :] - 1
    inside = at < past.n
    at = np.minimum(at, past.n - 1)
    return np.where(inside & past.observed[at], past.y[at], np.nan)
