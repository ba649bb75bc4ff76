"""Storms of counter resets: much of the platform restarted at once, and nobody said that it would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.config.fields import format_duration
from sidecar.series import SeriesBatch

LEAST_RESETS, LEAST_SHARE = 3, 0.3
"""What is a storm: three counters at least, and of all that there are three in ten."""

LEAST_WINDOW_SECONDS = 120.0


def resets_expr(counters: str, step_seconds: float) -> str:
    """PromQL for how many of these counters were reset lately, and of how many; `of` says which is which."""
    window = format_duration(max(2 * step_seconds, LEAST_WINDOW_SECONDS))
    parts = {"reset": f"count(resets({counters}[{window}]) > 0) or vector(0)", "all": f"count({counters})"}
    return " or ".join(f'label_replace({expr}, "of", "{name}", "", "")' for name, expr in parts.items())


@dataclass(frozen=True)
class Storm:
    """How many counters were reset, of how many."""

    n_resets: int
    n_counters: int


class ResetStorms:
    """Follows the resets among one query's counters."""

    def __init__(self) -> None:
        self._storming = False

    def observe(self, answer: SeriesBatch, *, expected: bool) -> Storm | None:
        """A storm when it begins; None while there is none, it lasts, or restarts were expected.

        `answer`: what `resets_expr` gave, the newest column counts. `expected`: something is being deployed.
        """
        counted = {
            labels.get("of"): int(np.nan_to_num(answer.values[row, -1]))
            for row, labels in enumerate(answer.labels)
        }
        storm = Storm(counted.get("reset", 0), counted.get("all", 0))
        storming = storm.n_resets >= max(LEAST_RESETS, LEAST_SHARE * storm.n_counters)
        news = storming and not self._storming and not expected
        # A restart that was expected is over when its resets leave the window; it is no news afterwards.
        self._storming = storming
        return storm if news else None
