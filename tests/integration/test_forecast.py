"""Forecasts of a real Prometheus' series: from the command line, and live."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus, Pronoia, http, wait_until

pytestmark = pytest.mark.integration

# Sharp edges at 6 and 18 h; any Prometheus has this series, at any time, without a scrape.
EDGES = "100 + 50 * (hour(vector(time())) >= bool 6) * (hour(vector(time())) < bool 18)"
WAVE = f"100 + 10 * sin(vector(time() * {2 * math.pi / 86400}))"


def edges(seconds: float) -> float:
    return 150.0 if 6 <= seconds // 3600 % 24 < 18 else 100.0


def forecast(prometheus: Prometheus, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["forecast", "--prometheus", prometheus.url, *arguments])


def test_a_query_is_forecast_series_by_series(prometheus: Prometheus, tmp_path: Path) -> None:
    out = tmp_path / "next.csv"
    both = (
        f'label_replace({WAVE}, "kind", "wave", "", "") or label_replace({EDGES}, "kind", "ed\\"ge", "", "")'
    )
    result = forecast(prometheus, "--query", both, "--horizon", "12h", "--out", str(out))
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {row["series"] for row in rows} == {'{kind="wave"}', '{kind="ed\\"ge"}'}
    assert len(rows) == 2 * 144
    for row in rows:
        at = datetime.fromisoformat(row["timestamp"]).timestamp()
        wave = 100 + 10 * math.sin(at * 2 * math.pi / 86400)
        # Near an edge one step is the rounding of a step.
        near_edge = min(abs(at % 86400 - edge * 3600) for edge in (6, 18)) < 600
        truth = wave if "wave" in row["series"] else edges(at)
        assert near_edge or float(row["yhat"]) == pytest.approx(truth, abs=1.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--query", "absent_metric"), "matched no series", id="nothing there"),
        pytest.param(("--query", "rate("), "parse error", id="no PromQL"),
    ],
)
def test_a_query_without_an_answer_ends_with_one(
    prometheus: Prometheus, arguments: tuple[str, ...], says: str
) -> None:
    result = forecast(prometheus, *arguments)
    assert result.exit_code == 1
    assert says in result.output


def test_live_forecasts_come_from_the_pool(
    prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    pronoia = make_pronoia(
        {
            "prometheus": {"url": prometheus.url},
            "queries": [{"name": "edges", "expr": EDGES, "step": "5s", "history": "9d"}],
        }
    )
    pronoia.start()

    def day_ahead() -> dict[str, float]:
        page = http(pronoia.url + "/synthetic")[1].decode()
        return {
            line.split("{")[0]: float(line.split()[-1])
            for line in page.splitlines()
            if line.startswith("pronoia_forecast") and 'horizon="1d"' in line
        }

    found = wait_until(lambda: day_ahead() if len(day_ahead()) == 3 else None, what="a forecast", timeout=90)
    now = time.time()
    if min(abs(now % 86400 - edge * 3600) for edge in (6, 18)) > 900:
        wait_until(
            lambda: abs(day_ahead()["pronoia_forecast"] - edges(time.time())) < 2.0,
            what=f"the forecast of a day ahead is what is now (at first {found})",
            timeout=30,
        )


def test_weeks_ahead_come_from_months_that_are_read_by_the_hour(
    prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], tmp_path: Path
) -> None:
    month = 2 * math.pi / (28 * 86400)
    query = {
        "name": "monthly",
        "expr": f"100 + 30 * sin(vector(time() * {month}))",
        "step": "15s",
        "history": "112d",
        "forecast_horizons": ["1h", "14d"],
    }
    store = {"directory": str(tmp_path / "data")}
    pronoia = make_pronoia({"prometheus": {"url": prometheus.url}, "queries": [query], "store": store})
    pronoia.start()

    def fortnight() -> float | None:
        page = http(pronoia.url + "/synthetic")[1].decode()
        lines = [line for line in page.splitlines() if line.startswith("pronoia_forecast{")]
        return next((float(line.split()[-1]) for line in lines if 'horizon="14d"' in line), None)

    found = wait_until(fortnight, what="a forecast of two weeks ahead", timeout=90)
    (learned,) = [line for line in pronoia.log.read_text().splitlines() if "history learned" in line]
    # Two weeks by the step, fourteen by the hour.
    assert 14 * 5760 + 98 * 24 <= json.loads(learned)["n_samples"] <= 14 * 5760 + 98 * 24 + 2
    # After the first work of the pool the second half of the wave is known to mirror the first.
    truth = 100 + 30 * math.sin((time.time() + 14 * 86400) * month)
    wait_until(lambda: abs((fortnight() or 0) - truth) < 12, what=f"{truth}, at first {found}", timeout=75)
