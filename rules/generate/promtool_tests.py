"""Unit tests in promtool's own format: series in, and whether an alert fires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rules.document import as_yaml

EVALUATION = "5m"
"""Sparser than rules run: promtool evaluates the whole file for every case, from the first minute on.

No sparser than the look-back of five minutes: promtool evaluates groups in any order, and what one records
has to be there for the other at the next evaluation.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Series (promtool's notation, `metric{a="b"}` to `1+2x100`), one sample a minute, and what must fire.

    `firing`: how many alerts of that name fire at `at`.
    """

    alert: str
    series: Mapping[str, str]
    firing: int
    at: str = "3h"
    interval: str = "1m"


def promtool_file(rule_files: Sequence[str], cases: Sequence[Case]) -> str:
    """A file for `promtool test rules`.

    Firing alerts are counted through the series that Prometheus makes of them,
    so a test says what must fire and not how its annotations read.
    """
    document = {
        "rule_files": list(rule_files),
        "evaluation_interval": EVALUATION,
        "tests": [_test(case) for case in cases],
    }
    return as_yaml(document)


def _test(case: Case) -> dict[str, Any]:
    count = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    samples = [{"labels": "{}", "value": case.firing}] if case.firing else []
    return {
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [{"expr": count, "eval_time": case.at, "exp_samples": samples}],
    }
