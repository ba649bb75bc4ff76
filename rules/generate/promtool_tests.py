"""Unit tests in promtool's own format: series in, and whether an alert fires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rules.document import as_yaml
from sidecar.prometheus.selector import selector_of

EVALUATION = "5m"
"""Sparser than rules run: promtool evaluates the whole file for every case, from the first minute on.

No sparser than the look-back of five minutes: promtool evaluates groups in any order, and what one records
has to be there for the other at the next evaluation.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Series (promtool's notation, `metric{a="b"}` to `1+2x100`), one sample a minute, and what must fire.

    `firing`: how many alerts of that name and with those labels fire at `at`; `later`: at further times.
    """

    alert: str
    series: Mapping[str, str]
    firing: int
    at: str = "3h"
    interval: str = "1m"
    later: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def promtool_file(rule_files: Sequence[str], cases: Sequence[Case], *, evaluation: str = EVALUATION) -> str:
    """A file for `promtool test rules`.

    Firing alerts are counted through the series that Prometheus makes of them,
    so a test says what must fire and not how its annotations read.
    """
    document = {
        "rule_files": list(rule_files),
        "evaluation_interval": evaluation,
        "tests": [_test(case) for case in cases],
    }
    return as_yaml(document)


def _test(case: Case) -> dict[str, Any]:
    wanted = {"alertname": case.alert, "alertstate": "firing", **case.labels}
    count = f"count(ALERTS{selector_of([(name, '=', value) for name, value in wanted.items()])})"
    looks = {case.at: case.firing, **case.later}
    return {
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {"expr": count, "eval_time": at, "exp_samples": _samples(firing)} for at, firing in looks.items()
        ],
    }


def _samples(firing: int) -> list[dict[str, Any]]:
    return [{"labels": "{}", "value": firing}] if firing else []
