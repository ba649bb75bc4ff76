"""How an evaluation is named on the scrape page: pronoia's own metrics, or those of another product.

The names, labels and the meaning of the score are taken from public documents: vmanomaly's
"models" and "writer" pages, and the rule files of grafana/promql-anomaly-detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from exporters import names
from exporters.labels import label_text, text_with
from sidecar.config.fields import format_duration
from sidecar.records import DEFAULT_TENANT
from sidecar.series import Evaluation, FloatArray, LabelSet


@dataclass(frozen=True, slots=True)
class Column:
    """One line for each series: `<family>{<labels><tail><value>`; `values` is (N,), NaN is no line."""

    family: names.Family
    values: FloatArray
    tail: bytes = b"} "


class MetricFormat(Protocol):
    """Names and labels of the lines that one evaluation becomes."""

    def label_text(self, labels: LabelSet, query: str, tenant: str, *, with_name: bool) -> bytes:
        """The label list of a series, not closed."""
        ...

    def columns(self, evaluation: Evaluation) -> list[Column]:
        """What is told of each series."""
        ...


class PronoiaFormat:
    """`pronoia_actual`, `pronoia_expected`, … with the label `query`."""

    def label_text(self, labels: LabelSet, query: str, tenant: str, *, with_name: bool) -> bytes:
        """The source's labels and `query`."""
        return label_text(labels, query, tenant, with_name=with_name)

    def columns(self, evaluation: Evaluation) -> list[Column]:
        """Value, expectation, score, severity, forecasts."""
        columns = [
            Column(names.ACTUAL, evaluation.actual),
            Column(names.EXPECTED, evaluation.expected),
            Column(names.LOWER, evaluation.lower),
            Column(names.UPPER, evaluation.upper),
            Column(names.SCORE, evaluation.anomaly_score),
        ]
        if evaluation.severity is not None:
            severity = np.where(evaluation.severity > 0, evaluation.severity.astype(np.float64), np.nan)
            columns.append(Column(names.SEVERITY, severity))
        for forecast in evaluation.forecasts:
            tail = f',horizon="{format_duration(forecast.horizon_seconds)}"}} '.encode()
            columns.append(Column(names.FORECAST, forecast.yhat, tail))
            columns.append(Column(names.FORECAST_LOWER, forecast.lower, tail))
            columns.append(Column(names.FORECAST_UPPER, forecast.upper, tail))
        return columns


class VmanomalyFormat:
    """`anomaly_score`, `y`, `yhat`, `yhat_lower`, `yhat_upper`, `yhat_<horizon>`, label `for`.

    Alerts on them ask for `>= 1`, so a point on the edge that is not flagged says a little less.
    """

    EDGE = 0.99

    def __init__(self, extra_labels: Mapping[str, str]) -> None:
        self._extra = extra_labels

    def label_text(self, labels: LabelSet, query: str, tenant: str, *, with_name: bool) -> bytes:
        """The source's labels, `for`, and aliases for what pronoia has one of."""
        own = {**self._extra, "for": query, "model_alias": "pronoia", "scheduler_alias": "pronoia"}
        if tenant != DEFAULT_TENANT:
            own["tenant"] = tenant
        return text_with(labels, own, with_name=with_name)

    def columns(self, evaluation: Evaluation) -> list[Column]:
        """Value, expectation, score, forecasts by a name for each horizon."""
        score = np.where(evaluation.anomaly_score == 1.0, self.EDGE, evaluation.anomaly_score)
        columns = [
            Column(names.Family("anomaly_score", names.SCORE.help), score),
            Column(names.Family("y", names.ACTUAL.help), evaluation.actual),
            Column(names.Family("yhat", names.EXPECTED.help), evaluation.expected),
            Column(names.Family("yhat_lower", names.LOWER.help), evaluation.lower),
            Column(names.Family("yhat_upper", names.UPPER.help), evaluation.upper),
        ]
        for forecast in evaluation.forecasts:
            horizon = format_duration(forecast.horizon_seconds)
            for prefix, family, values in (
                ("yhat", names.FORECAST, forecast.yhat),
                ("yhat_lower", names.FORECAST_LOWER, forecast.lower),
                ("yhat_upper", names.FORECAST_UPPER, forecast.upper),
            ):
                columns.append(Column(names.Family(f"{prefix}_{horizon}", family.help), values))
        return columns


class PromqlAnomalyFormat:
    """`anomaly:level`, `anomaly:upper_band`, `anomaly:lower_band`, with the labels of that rule framework.

    A source series that carries `anomaly_name` or `anomaly_strategy` keeps them, so that
    the alerts and dashboards of both strategies find what they select.
    """

    def __init__(self, extra_labels: Mapping[str, str]) -> None:
        self._extra = extra_labels

    def label_text(self, labels: LabelSet, query: str, tenant: str, *, with_name: bool) -> bytes:
        """The source's labels and those that the framework selects by."""
        own = {
            **self._extra,
            "anomaly_name": labels.get("anomaly_name", query),
            "anomaly_select": "1",
            "anomaly_strategy": labels.get("anomaly_strategy", "adaptive"),
        }
        if tenant != DEFAULT_TENANT:
            own["tenant"] = tenant
        rest = labels.without("anomaly_name", "anomaly_select", "anomaly_strategy")
        return text_with(rest, own, with_name=with_name)

    def columns(self, evaluation: Evaluation) -> list[Column]:
        """Value and band; a value that is anomalous inside its band is not told here."""
        return [
            Column(names.Family("anomaly:level", names.ACTUAL.help), evaluation.actual),
            Column(names.Family("anomaly:upper_band", names.UPPER.help), evaluation.upper),
            Column(names.Family("anomaly:lower_band", names.LOWER.help), evaluation.lower),
        ]


def make_formats(chosen: Sequence[str], extra_labels: Mapping[str, str]) -> tuple[MetricFormat, ...]:
    """The formats of these names; the configuration lets no other name pass."""
    known: dict[str, MetricFormat] = {
        "pronoia": PronoiaFormat(),
        "vmanomaly": VmanomalyFormat(extra_labels),
        "promql_anomaly_detection": PromqlAnomalyFormat(extra_labels),
    }
    return tuple(known[name] for name in chosen)
