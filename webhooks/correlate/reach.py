"""From which distance in time on two incidents without a common entity cannot be one, whatever else binds."""

from __future__ import annotations

from functools import lru_cache

from webhooks.correlate.weights import Weights

FAR_SECONDS = 900.0
"""So far apart in time, only an entity that both know can still bind."""

STEP_SECONDS = 15.0


@lru_cache(maxsize=64)
def far_seconds(weights: Weights, enough: float) -> float:
    """Beyond this distance everything that fades with time and needs no common entity is below `enough`.

    Most incidents that are compared are strangers; so it shows without a look at their alerts.
    """
    far = weights.dense_seconds + STEP_SECONDS
    while far < FAR_SECONDS and _most(weights, far) > enough:
        far += STEP_SECONDS
    return min(far, FAR_SECONDS)


def _most(weights: Weights, apart_seconds: float) -> float:
    """The strongest bond that is possible at this distance, 0..1."""
    against = 1.0
    for most, half in (
        (max(weights.edge, weights.callee), weights.half_edge),
        (weights.hosted, weights.half_edge),
        (weights.companion, weights.half_edge),
        (weights.namespace, weights.half_edge),
        (weights.words, weights.half_mention),
        (weights.same_name, weights.dense_seconds),
    ):
        against *= 1.0 - most * 0.5 ** (apart_seconds / half)
    return 1.0 - against
