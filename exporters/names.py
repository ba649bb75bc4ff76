"""Every synthetic metric: its name, meaning and labels. Renaming one is a breaking change.

All are gauges and keep the source series' labels, less `__name__`, plus `query`
(the configured name) and, for forecasts, `horizon`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family of the scrape page."""

    name: str
    help: str


ACTUAL = Family("pronoia_actual", "Value of the source series as it was judged.")
EXPECTED = Family("pronoia_expected", "Value that was expected before it was seen.")
LOWER = Family("pronoia_expected_lower", "Lower edge of what is expected.")
UPPER = Family("pronoia_expected_upper", "Upper edge of what is expected.")
SCORE = Family(
    "pronoia_anomaly_score", "Anomaly score: 1 is the edge of what is expected, above 1 is anomalous."
)
FORECAST = Family("pronoia_forecast", "Value expected at the horizon ahead.")
FORECAST_LOWER = Family("pronoia_forecast_lower", "Lower edge of the forecast's interval.")
FORECAST_UPPER = Family("pronoia_forecast_upper", "Upper edge of the forecast's interval.")

FAMILIES = (ACTUAL, EXPECTED, LOWER, UPPER, SCORE, FORECAST, FORECAST_LOWER, FORECAST_UPPER)
"""In the order of the page."""
