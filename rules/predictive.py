"""Alert rules that fire before others do: the time until their thresholds, as a rule file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.document import RuleFile
from rules.generate.groups import rule_file
from sidecar.config.fields import format_duration
from sidecar.promql.clock import is_distance

GROUP = "pronoia-ahead"
FALLBACK_WINDOW = "1h"
"""So much history the plain extrapolation looks at while pronoia is down."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """One warning: of which rule, of what it measures, and what the back-test said of it, in words.

    `operator`: `>` or `<`.
    """

    rule: str
    measured: str
    operator: str
    threshold: float
    evidence: str


def render_ahead(
    warnings: Sequence[Ahead],
    *,
    warn_seconds: float,
    probability: float,
    for_seconds: float,
    keep_firing_seconds: float,
    severity: str,
    interval_seconds: float = 60.0,
) -> RuleFile:
    """A file with one alert a warning; the same input gives the same bytes.

    `for` and `keep_firing_for` (Prometheus 2.42 and later) are the hysteresis. While
    pronoia's own metrics are absent, the alert falls back to `predict_linear`.
    """
    rules = [
        {
            "alert": f"{one.rule}Ahead",
            "expr": _expr(one, warn_seconds, probability),
            "for": format_duration(for_seconds),
            "keep_firing_for": format_duration(keep_firing_seconds),
            "labels": {
                "severity": severity,
                "generator": "pronoia",
                "ahead_of": _plain(one.rule),
                "threshold": f"{one.operator} {one.threshold:g}",
            },
            "annotations": {
                "summary": f"{_plain(one.rule)} is expected within {format_duration(warn_seconds)}",
                "description": f"{_measured(one)} is expected to be {one.operator} {one.threshold:g} "
                f"with a probability of {probability:.0%}. Back-test: {_plain(one.evidence)}.",
            },
        }
        for one in warnings
    ]
    group = {"name": GROUP, "interval": format_duration(interval_seconds), "rules": rules}
    return rule_file(GROUP.removeprefix("pronoia-"), [group], "thresholds that were tried on the past")


def _measured(one: Ahead) -> str:
    less = ", less its threshold, which follows the clock," if is_distance(one.measured) else ""
    return f"What it measures{less}"


def _plain(text: str) -> str:
    """Text for labels and annotations, which Prometheus takes for templates."""
    return text.replace("{{", '{{ "{{" }}')


def _expr(one: Ahead, warn_seconds: float, probability: float) -> str:
    name = one.rule.replace("\\", r"\\").replace('"', r"\"")
    live = (
        "min without (probability, threshold, rule) (pronoia_threshold_eta_seconds"
        f'{{rule="{name}", threshold="{one.operator} {one.threshold:g}", probability="{probability:g}"}}'
        f") < {warn_seconds:g}"
    )
    plain = (
        f"predict_linear(({one.measured})[{FALLBACK_WINDOW}:1m], {warn_seconds:g}) "
        f"{one.operator} {one.threshold:.12g}"
    )
    return f"({live})\nor\n(\n  {plain}\n  unless on () pronoia_threshold_series\n)"
