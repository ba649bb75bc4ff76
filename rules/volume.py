"""How often alerts began to fire, from what Prometheus remembers of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rules.backtest.firing import firings
from rules.incidents import KnownIncident
from sidecar.errors import PullError, TooManySeries
from sidecar.ports import Source
from sidecar.prometheus.selector import selector_of
from sidecar.series import SeriesBatch

SLACK = 3.0
"""So many firings more than expected prove nothing yet, however short the time was."""

MAX_SERIES = 10_000


async def n_firings(
    source: Source,
    matchers: Mapping[str, str],
    seconds: float,
    now_seconds: float,
    *,
    together: bool = False,
    besides: Iterable[KnownIncident] = (),
) -> int:
    """Firings that began in the last so many seconds; what fired before that counts as none.

    `together`: series of one alert that fire at the same time are one firing.
    `besides`: firings that begin in these windows are not counted.
    Raises: PullError where waiting may help; a server that knows no ALERTS has had none.
    """
    wanted = {**matchers, "alertstate": "firing"}
    expr = "ALERTS" + selector_of([(name, "=", value) for name, value in wanted.items()])
    step_ms = 15_000 if seconds < 86_400 else 60_000
    end_ms = int(now_seconds * 1000)
    try:
        batch = await source.range(
            f"max by (alertname) ({expr})" if together else expr,
            start_ms=end_ms - int(seconds * 1000) - 2 * step_ms,
            end_ms=end_ms,
            step_ms=step_ms,
            name="watch",
            max_series=MAX_SERIES,
        )
    except TooManySeries as error:
        return error.matched  # Each fired at least once.
    except PullError as error:
        if error.retryable:
            raise
        return 0
    return _begun(batch, [(one.start_ms, one.end_ms) for one in besides])


def told_by_others(incidents: Iterable[KnownIncident], alert: str) -> list[KnownIncident]:
    """The incidents that other alerts told of as well: what fires in them is no noise."""
    return [incident for incident in incidents if incident.alerts - {alert, ""}]


def too_many(n: int, expected: float, ratio: float) -> bool:
    """Whether a rule fires so much more than its back-test said that it should be taken back.

    >>> too_many(3, 0.0, 3.0), too_many(20, 2.0, 3.0)
    (False, True)
    """
    return n > ratio * expected + SLACK


def as_number(value: object) -> float:
    """What stored evidence holds, as a number; 0 for what is none."""
    return float(value) if isinstance(value, int | float) else 0.0


def _begun(batch: SeriesBatch, besides: Sequence[tuple[int, int]]) -> int:
    """Firings that begin after the first step, and outside of the windows."""
    found = firings(np.isfinite(batch.values), batch.timestamps)
    return sum(
        firing.start_ms > batch.timestamps[0]
        and not any(begin <= firing.start_ms <= end for begin, end in besides)
        for firing in found
    )
