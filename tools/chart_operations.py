"""Writes what the chart ships for operating pronoia: Grafana dashboards, and alerts on pronoia itself.

Run as `python -m tools.chart_operations` after a change here or to the pack `self`;
`tests/unit/chart` fails while a file is stale. The dashboards are imported into any
Grafana as they are: the data source is a variable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rules.generate.packs import load_pack

CHART = Path(__file__).resolve().parent.parent / "helm" / "pronoia"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 24
SELF = '{job=~"$job"}'
BY_LABELS = "__auto"
"""Grafana's word for a legend of the labels that a series has; the watched queries decide which."""
ODDEST = 'topk(5, max_over_time(pronoia_anomaly_score{query=~"$query"}[$__range] @ end()))'
"""The same five at each step of a picture: those that stood out most in the time that it shows."""
JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: what it is titled, what it asks for and how that is called, in which unit."""

    title: str
    asks: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    empty: str = ""
    """What is said where nothing is found, if that is no fault."""
    width: int = WIDTH


SERIES = (
    Panel(
        "Anomalous series",
        [('sum by (query) (pronoia_anomaly_score{query=~"$query"} > bool 1)', "{{query}}")],
        about="A score above 1 is outside of what was expected.",
        width=12,
    ),
    Panel(
        "Severity of what is anomalous",
        [('max by (query) (pronoia_anomaly_severity{query=~"$query"})', "{{query}}")],
        about="1 low, 2 medium, 3 high, 4 critical.",
        empty="Nothing is anomalous.",
        width=12,
    ),
    Panel(
        "The worst series now",
        [('topk(15, pronoia_anomaly_score{query=~"$query"})', "")],
        kind="table",
        width=24,
    ),
    Panel(
        "Actual, and what was expected",
        [
            (f'pronoia_{value}{{query=~"$query"}} and {ODDEST}', BY_LABELS)
            for value in ("actual", "expected_upper", "expected_lower")
        ],
        about="Of the five series that stood out most in the time shown; choose one query.",
        width=24,
    ),
    Panel(
        "Forecast",
        [(f'pronoia_forecast{{query=~"$query"}} and ignoring (horizon) {ODDEST}', BY_LABELS)],
        about="Of the same series: what is expected at each horizon from the time it is drawn at.",
        width=12,
    ),
    Panel(
        "Time until a rule's threshold is crossed",
        [('bottomk(10, pronoia_threshold_eta_seconds{probability="0.5"})', BY_LABELS)],
        unit="s",
        empty="No rule is expected to fire within the horizons that are forecast.",
        width=12,
    ),
    Panel(
        "Probability of an incident",
        [("max by (service, horizon) (pronoia_incident_risk_probability)", "{{service}} {{horizon}}")],
        unit="percentunit",
        empty="Nothing is told yet: it is learnt from past incidents.",
        width=12,
    ),
    Panel(
        "Series that have stopped",
        [('sum by (query) (pronoia_series_absent{query=~"$query"})', "{{query}}")],
        empty="All are there.",
        width=12,
    ),
)

ITSELF = (
    Panel(
        "Up",
        [('up{job=~".*pronoia.*"}', "{{instance}} {{job}}")],
        about="Both pages, whatever their jobs; 1 is well. Runbook PronoiaDown.",
    ),
    Panel("Version", [(f"pronoia_build_info{SELF}", "")], kind="table"),
    Panel("Memory", [(f"process_resident_memory_bytes{SELF}", "{{instance}}")], unit="bytes"),
    Panel(
        "Processor",
        [(f"rate(process_cpu_seconds_total{SELF}[5m])", "{{instance}}")],
        unit="percentunit",
        about="100 % is one core.",
    ),
    Panel(
        "Age of the newest judgement",
        [(f"time() - pronoia_query_last_evaluation_timestamp_seconds{SELF}", "{{query}}")],
        unit="s",
        about="Runbook PronoiaNotScoring.",
    ),
    Panel(
        "A step of a query, 99 of 100",
        [
            (
                f"histogram_quantile(0.99, rate(pronoia_evaluation_duration_seconds_bucket{SELF}[10m]))",
                "pull, score and export",
            ),
            (
                f"histogram_quantile(0.99, sum by (le, api) "
                f"(rate(pronoia_pull_duration_seconds_bucket{SELF}[10m])))",
                "{{api}}",
            ),
        ],
        unit="s",
    ),
    Panel(
        "Requests without a usable answer",
        [
            (f"rate(pronoia_pull_errors_total{SELF}[10m])", "{{reason}}"),
            (f"pronoia_pull_circuit_open{SELF}", "left alone: {{server}}"),
        ],
        about="Runbook PronoiaSourceLeftAlone.",
    ),
    Panel("Series judged", [(f"pronoia_query_series{SELF}", "{{query}}")]),
    Panel(
        "Alarms beside their budget",
        [
            (f"pronoia_query_alarms_per_series_month{SELF}", "{{query}}"),
            (f"pronoia_query_alarm_budget_per_series_month{SELF}", "budget {{query}}"),
        ],
        about="A series and 30 days. Runbook PronoiaTooManyAlarms.",
    ),
    Panel(
        "Forecasts whose interval held what came",
        [(f"pronoia_forecast_coverage_ratio{SELF}", "{{query}} {{horizon}}")],
        unit="percentunit",
        about="0.95 is what they claim.",
    ),
    Panel(
        "Webhooks",
        [
            (f"sum by (code) (rate(pronoia_webhook_requests_total{SELF}[5m]))", "answered {{code}}"),
            (f"rate(pronoia_webhook_dead_letters_total{SELF}[5m])", "alerts of no use"),
        ],
        unit="reqps",
        about="Runbooks PronoiaWebhooksRefused, PronoiaDeadLetters.",
    ),
    Panel(
        "From a webhook to its incident, 99 of 100",
        [
            (
                f"histogram_quantile(0.99, rate(pronoia_webhook_duration_seconds_bucket{SELF}[10m]))",
                "until durable",
            ),
            (
                f"histogram_quantile(0.99, rate(pronoia_correlation_delay_seconds_bucket{SELF}[10m]))",
                "until its incident",
            ),
        ],
        unit="s",
    ),
    Panel(
        "Incidents and alerts that are open",
        [
            (f"pronoia_incidents_open{SELF}", "incidents"),
            (f"pronoia_episodes_open{SELF}", "alerts"),
            (f"pronoia_alerts_flapping{SELF}", "flapping"),
        ],
    ),
    Panel(
        "Commits of the database",
        [(f"sum by (result) (rate(pronoia_store_commits_total{SELF}[5m]))", "{{result}}")],
        unit="ops",
        about="Runbook PronoiaStoreFails.",
    ),
    Panel(
        "Messages by outcome",
        [
            (
                f"sum by (target, result) (rate(pronoia_notifications_total{SELF}[10m]))",
                "{{target}} {{result}}",
            )
        ],
        unit="ops",
        about="Runbooks PronoiaNotificationsFail, PronoiaNotificationsGivenUp.",
        empty="No message went out; without notify.targets none does.",
    ),
    Panel(
        "Rules published",
        [
            (f"increase(pronoia_rules_published_total{SELF}[1h])", "{{result}}"),
            (f"pronoia_rules_live_groups{SELF}", "groups live"),
            (f"pronoia_rules_not_loaded_groups{SELF}", "groups live, not loaded"),
        ],
        about="Runbooks PronoiaRulesNotPublished, PronoiaRulesNotLoaded.",
    ),
    Panel(
        "Neighbours",
        [
            (f"pronoia_alertmanager_up{SELF}", "{{alertmanager}}"),
            (f"1 - pronoia_heartbeat_lost{SELF}", "heartbeat {{cluster}} {{alertmanager}}"),
        ],
        about="1 is well. Runbooks PronoiaAlertmanagerAway, PronoiaHeartbeatLost.",
    ),
)


def dashboard(uid: str, title: str, panels: Sequence[Panel], variable: JSON) -> JSON:
    """A dashboard as Grafana's import and its provisioning take it."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["pronoia"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                variable,
            ]
        },
        "panels": list(_placed(panels)),
    }


def _variable(name: str, query: str) -> JSON:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _placed(panels: Sequence[Panel]) -> Iterator[JSON]:
    x = y = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + HEIGHT
        place = {"x": x, "y": y, "w": panel.width, "h": HEIGHT}
        x += panel.width
        yield {
            "id": number,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.about,
            "datasource": SOURCE,
            "gridPos": place,
            "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
            "targets": [
                _target(letter, *ask, panel.kind) for letter, ask in zip("ABCDEF", panel.asks, strict=False)
            ],
        }


def _defaults(panel: Panel) -> JSON:
    return {"unit": panel.unit, **({"noValue": panel.empty} if panel.empty else {})}


def _target(letter: str, expr: str, legend: str, kind: str) -> JSON:
    target: JSON = {"refId": letter, "datasource": SOURCE, "expr": expr, "legendFormat": legend}
    if kind == "table":
        target |= {"format": "table", "instant": True}
    return target


def files() -> dict[str, str]:
    """The text of each file, by its path in the chart."""
    series = dashboard(
        "pronoia-series",
        "pronoia: what is odd, and what comes",
        SERIES,
        # Its metrics are all pronoia's own, so that all of them are any.
        _variable("query", "label_values(pronoia_anomaly_score, query)") | {"allValue": ".*"},
    )
    itself = dashboard(
        "pronoia-self",
        "pronoia: its own health",
        ITSELF,
        _variable("job", "label_values(pronoia_build_info, job)"),
    )
    return {
        "dashboards/pronoia-series.json": json.dumps(series, indent=1) + "\n",
        "dashboards/pronoia-self.json": json.dumps(itself, indent=1) + "\n",
        "alerts/pronoia-self.rules.yaml": load_pack("self").file().text,
    }


if __name__ == "__main__":
    for name, text in files().items():
        path = CHART / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
