"""How often alerts began to fire, from what Prometheus remembers of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from rules.backtest.firing import Firing, firings
from rules.backtest.past import BackTester, Window
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.errors import PullError, TooManySeries
from sidecar.ports import Source
from sidecar.prometheus.selector import selector_of

SLACK = 3.0
"""So many firings more than expected prove nothing yet, however short the time was."""

MAX_SERIES = 10_000
MAX_SAMPLES = 5_000_000


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
    if not batch.n_series:
        return 0
    return begun(firings(np.isfinite(batch.values), batch.timestamps), int(batch.timestamps[0]), besides)


async def n_firings_itself(
    source: Source, rule: WrittenRule, seconds: float, now_seconds: float, besides: Iterable[KnownIncident]
) -> int | None:
    """The same of one rule by its own expression, as ALERTS does not tell namesakes apart; None: unknown."""
    step_ms = round(1000 * max(rule.interval_seconds or 60.0, 15.0))
    end_ms = int(now_seconds * 1000) // step_ms * step_ms
    start_ms = end_ms - int(seconds * 1000) // step_ms * step_ms - 2 * step_ms
    past = await BackTester(source, max_samples=MAX_SAMPLES).one(rule, Window(start_ms, end_ms, step_ms))
    return None if past.error else begun(past.firings, start_ms, besides)


def begun(found: Iterable[Firing], first_ms: int, besides: Iterable[KnownIncident]) -> int:
    """How many of them begin after that time, and in none of the windows."""
    windows = [(one.start_ms, one.end_ms) for one in besides]
    return sum(
        firing.start_ms > first_ms and not any(begin <= firing.start_ms <= end for begin, end in windows)
        for firing in found
    )


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
