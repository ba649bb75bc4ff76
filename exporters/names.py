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
    labels: tuple[str, ...] = ("query",)
    """Added to the source's labels."""
    kind: str = "gauge"
    unit: str = "the source's"


ACTUAL = Family("pronoia_actual", "Value of the source series as it was judged.")
EXPECTED = Family("pronoia_expected", "Value that was expected before it was seen.")
LOWER = Family("pronoia_expected_lower", "Lower edge of what is expected.")
UPPER = Family("pronoia_expected_upper", "Upper edge of what is expected.")
SCORE = Family(
    "pronoia_anomaly_score",
    "Anomaly score: 1 is the edge of what is expected, above 1 is anomalous.",
    unit="1",
)
SEVERITY = Family(
    "pronoia_anomaly_severity",
    "Severity of an anomaly: 1 low, 2 medium, 3 high, 4 critical.",
    unit="1",
)
ABSENT = Family(
    "pronoia_series_absent",
    "1 while a known series has stopped and nothing has taken its place; for a day or ten steps at most.",
    unit="1",
)
_AHEAD = ("query", "horizon")
FORECAST = Family("pronoia_forecast", "Value expected at the horizon ahead.", _AHEAD)
FORECAST_LOWER = Family("pronoia_forecast_lower", "Lower edge of the forecast's interval.", _AHEAD)
FORECAST_UPPER = Family("pronoia_forecast_upper", "Upper edge of the forecast's interval.", _AHEAD)
THRESHOLD_ETA = Family(
    "pronoia_threshold_eta_seconds",
    "Time until a rule's threshold is crossed with this probability; no line where not within the horizon.",
    ("rule", "threshold", "probability"),
    unit="seconds",
)
RULE_THRESHOLD = Family(
    "pronoia_rule_threshold",
    "Threshold of an alert rule that is joined with it and holds its own number while this is gone.",
    ("rule", "key"),
    unit="the rule's",
)
INCIDENT_RISK = Family(
    "pronoia_incident_risk_probability",
    "Probability that an incident starts on the service within the horizon; none while too little is known.",
    ("service", "horizon"),
    unit="1",
)

FAMILIES = (
    ACTUAL,
    EXPECTED,
    LOWER,
    UPPER,
    SCORE,
    SEVERITY,
    ABSENT,
    FORECAST,
    FORECAST_LOWER,
    FORECAST_UPPER,
    THRESHOLD_ETA,
    RULE_THRESHOLD,
    INCIDENT_RISK,
)
"""What the page shows, in its order."""
