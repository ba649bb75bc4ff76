"""Answers that lack series because a part of the source was away: who is missing in one has not stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from sidecar.series import Evaluation

ABOUT_THE_QUERY = ("PromQL ", " native histogram ")
"""What warnings say that are about the expression, or about kinds of samples, and come with whole answers."""


def is_partial(warnings: Iterable[str]) -> bool:
    """Whether a source says that it could not reach all data: Thanos, VictoriaMetrics, remote storage."""
    return any(not any(words in one for words in ABOUT_THE_QUERY) for one in warnings)


def without_new_absences(
    evaluation: Evaluation, before: Evaluation | None, warnings: Iterable[str]
) -> Evaluation:
    """The evaluation; of a partial answer with those series absent only that were so `before` as well."""
    if evaluation.absent is None or not is_partial(warnings):
        return evaluation
    still = np.zeros_like(evaluation.absent)
    if before is not None and before.absent is not None:
        known = min(len(still), len(before.absent))
        still[:known] = evaluation.absent[:known] & before.absent[:known]
    return replace(evaluation, absent=still if still.any() else None)
