"""The published adaptive and robust PromQL strategies, from their formulas, evaluated on the same Prometheus.

Source: grafana/promql-anomaly-detection, README and rules of its strategies
`adaptive` and `robust` at 738e34e; the expressions here are our own wording.
Recording rules that need one another are written in stages.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.integration.scenarios.incidents import N_STEPS, START_SECONDS, STEP_SECONDS
from tests.integration.scenarios.replay import (
    EXPR,
    FIRST,
    FLAGS,
    SHARE_EXPR,
    Firing,
    firing,
    restarted,
)
from tests.integration.servers import Prometheus, binary

SERIES = "scenario, pod"
HOUR = 3600
DAY_SECONDS = 24 * HOUR
WEEK_SECONDS = 7 * DAY_SECONDS
LOOKBACK = "--query.lookback-delta=110s"
"""promtool evaluates a group at a second of the minute that the name of its file decides."""

SEASONS = {"1d": "23h30m", "1w": "167h30m"}
ROBUST_SEASONS = {"1d": "23h45m", "1w": "167h45m"}

ALERTS_FROM = START_SECONDS + STEP_SECONDS * FIRST

Stage = tuple[int, Mapping[str, str]]
"""From when on, and expressions by the name of what they record."""

STAGES: tuple[Stage, ...] = (
    # Values of zero and below are not selected by either strategy.
    (ALERTS_FROM - WEEK_SECONDS - 2 * HOUR, {"peer:level": f"({EXPR} or {SHARE_EXPR}) > 0"}),
    (
        ALERTS_FROM - 26 * HOUR,
        {
            "peer:mean": "avg_over_time(peer:level[1h])",
            "peer:burst": "stddev_over_time(peer:level[1h]) > 0.5 * avg_over_time(peer:level[1h])",
            "peer:median": "quantile_over_time(0.5, peer:level[1d])",
            "peer:off": "abs(peer:level - quantile_over_time(0.5, peer:level[1d]))",
            "peer:smooth": "quantile_over_time(0.5, peer:level[1h])",
            **{
                f"peer:{side}_{season}": f"avg_over_time(peer:level[1h] offset {offset}) {sign} "
                f"2 * stddev_over_time(peer:level[1h] offset {offset})"
                for season, offset in SEASONS.items()
                for side, sign in (("upper", "+"), ("lower", "-"))
            },
            **{
                f"peer:median_{season}": f"quantile_over_time(0.5, peer:level[1h] offset {offset})"
                for season, offset in ROBUST_SEASONS.items()
            },
        },
    ),
    (
        ALERTS_FROM,
        {
            "peer:stddev": "avg_over_time(peer:burst[26h])",
            "peer:mad": "quantile_over_time(0.5, peer:off[1d])",
            **{
                f"peer:mad_{season}": "quantile_over_time(0.5, "
                f"abs((peer:level offset {offset}) - peer:median_{season})[1h:5m])"
                for season, offset in ROBUST_SEASONS.items()
            },
        },
    ),
)


def extreme(function: str, by: str, *expressions: str) -> str:
    """The greatest or least (`max`, `min`) of those expressions that there are, for each series."""
    told_apart = (f'label_replace({one}, "part", "{at}", "", "")' for at, one in enumerate(expressions))
    return f"{function} by ({by}) ({' or '.join(told_apart)})"


STRATEGIES = {
    "adaptive": (
        "peer:level > "
        + extreme(
            "max", SERIES, "peer:mean + 2 * peer:stddev", "1.5 * peer:mean", "peer:upper_1d", "peer:upper_1w"
        ),
        "peer:level < "
        + extreme(
            "min", SERIES, "peer:mean - 2 * peer:stddev", "0.5 * peer:mean", "peer:lower_1d", "peer:lower_1w"
        ),
    ),
    "robust": (
        "peer:smooth > "
        + extreme(
            "max",
            SERIES,
            "peer:median + 2 * peer:mad",
            "1.5 * peer:median",
            *(f"peer:median_{season} + 2 * peer:mad_{season}" for season in ROBUST_SEASONS),
        ),
        "peer:smooth < "
        + extreme(
            "min",
            SERIES,
            "peer:median - 2 * peer:mad",
            "0.5 * peer:median",
            *(f"peer:median_{season} - 2 * peer:mad_{season}" for season in ROBUST_SEASONS),
        ),
    ),
}
"""Expressions of the alerts, by strategy. Lower bands below zero are cut off there: nothing crosses them."""


def record(prometheus: Prometheus, directory: Path) -> None:
    """Evaluate the recording rules over the past of a running Prometheus, stage by stage."""
    end = START_SECONDS + STEP_SECONDS * (N_STEPS - 1)
    prometheus.argv = [*(flag for flag in prometheus.argv if flag not in FLAGS), LOOKBACK]
    restarted(prometheus)
    for at, (start, expressions) in enumerate(STAGES):
        file = directory / f"stage{at}.yaml"
        rules = [{"record": name, "expr": expr} for name, expr in expressions.items()]
        group = {"name": "peer", "interval": f"{STEP_SECONDS}s", "rules": rules}
        file.write_text(yaml.safe_dump({"groups": [group]}))
        command = [binary("promtool"), "tsdb", "create-blocks-from", "rules", f"--start={start}"]
        command += [f"--end={end}", f"--url={prometheus.url}", f"--output-dir={prometheus.data}", str(file)]
        subprocess.run(command, check=True, capture_output=True)
        restarted(prometheus)


def strategies(prometheus: Prometheus) -> dict[str, Firing]:
    """When the alert of each strategy fires, `for: 5m`."""
    return {name: firing(prometheus, expressions) for name, expressions in STRATEGIES.items()}
