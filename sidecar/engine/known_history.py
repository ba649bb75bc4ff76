"""One series beside what is known of it: its past without events, and its future with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.engine.known import Expect, Factors, KnownEvents
from sidecar.series import FloatArray, LabelSet, TimeArray

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
SEARCHED_DAYS = 7


class KnownSeries:
    """The events and holidays of one series; uplifts that are not stated are learnt from its own past."""

    def __init__(
        self, labels: LabelSet, events: Sequence[EventConfig], calendar: CalendarConfig | None = None
    ) -> None:
        self._labels = (labels,)
        self._known = KnownEvents("")
        self._known.announce(events, calendar)
        self._known.resize(1)

    def without_events(self, times: TimeArray, values: FloatArray) -> FloatArray:
        """The past (n,) as it would have been without its events; learns what they came to.

        The usual at a moment of an event is what was at this time of the last day without one.
        """
        during = self._known.during(times)
        if not during.any():
            return values
        usual = _usual(times, values, during)[during][None, :]
        at, was = times[during], values[during][None, :]
        self._known.learn(self._labels, at, was, usual)
        factors = self._known.factors(self._labels, at, _expect(times, values))
        found = values.copy()
        if factors is not None:
            found[during] = factors.usual_part(was, usual)[0]
        return found

    def ahead(self, times: TimeArray, values: FloatArray, future: TimeArray) -> Factors | None:
        """How many times the usual is expected at `future` (h,); None: nothing is known of then."""
        return self._known.factors(self._labels, future, _expect(times, values))


def _expect(times: TimeArray, values: FloatArray) -> Expect:
    """The usual at other times: what was then, or at this time of the last week that is known."""

    def expect(at: TimeArray) -> FloatArray:
        weeks = np.maximum(-(-(at - times[-1]) // WEEK_MS), 0)
        nearest = np.clip(np.searchsorted(times, at - weeks * WEEK_MS), 0, len(times) - 1)
        return values[nearest][None, :]

    return expect


def _usual(times: TimeArray, values: FloatArray, during: np.ndarray) -> FloatArray:
    """Values, those within events replaced by that of the last day without; NaN where there is none."""
    usual = np.where(during, np.nan, values)
    for days in range(1, SEARCHED_DAYS + 1):
        missing = np.flatnonzero(during & ~np.isfinite(usual))
        at = np.searchsorted(times, times[missing] - days * DAY_MS)
        fits = (at < len(times)) & (times[np.minimum(at, len(times) - 1)] == times[missing] - days * DAY_MS)
        known = fits & ~during[np.minimum(at, len(times) - 1)]
        usual[missing[known]] = values[at[known]]
    return usual
