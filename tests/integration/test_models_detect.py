"""Models that judge, over their life on a real run: retrained, contested, promoted, rolled back."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from sidecar.config.load import load_file
from sidecar.engine.model import QueryModel
from sidecar.engine.registry_models import ModelFiles
from sidecar.engine.snapshot import save
from sidecar.series import LabelSet, SeriesBatch
from tests.integration.servers import Prometheus, Pronoia, get_json, http, wait_until

pytestmark = pytest.mark.integration

STEP = 2


@pytest.fixture
def prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """Sixty pods of noise, twenty minutes of them past."""
    now = int(time.time()) // STEP * STEP
    rng = random.Random(2)
    lines = ["# TYPE load gauge"]
    for pod in range(60):
        lines += [
            f'load{{pod="p{pod}"}} {rng.gauss(10, 1)} {at}' for at in range(now - 1200, now + 480, STEP)
        ]
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    server.backfill("\n".join([*lines, "# EOF\n"]))
    server.start()
    return server


def test_a_better_challenger_takes_over_by_itself(
    tmp_path: Path, prometheus: Prometheus, keep: Callable[..., Any]
) -> None:
    config = tmp_path / "pronoia.yaml"
    config.write_text(
        f"prometheus: {{url: '{prometheus.url}'}}\nstore: {{directory: {tmp_path / 'data'}}}\n"
        f"queries: [{{name: load, expr: load, step: {STEP}s, history: 15m, forecast_horizons: []}}]\n"
        "models: {challenger_share: 1, trial: 6s}\n"
    )
    spoilt = QueryModel(load_file(config, env={}).queries[0])
    now = int(time.time()) // STEP * STEP
    times = np.arange(now - 1000, now, STEP, dtype=np.int64) * 1000
    labels = tuple(LabelSet({"__name__": "load", "pod": f"p{pod}"}) for pod in range(60))
    wild = np.random.default_rng(1).normal(100, 60, (60, len(times)))
    spoilt.fit(SeriesBatch("load", labels, times, wild))
    files = ModelFiles(tmp_path / "data" / "models")
    files.directory.mkdir(parents=True)
    save(spoilt, files.live("load"))
    pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(config)))
    pronoia.start()
    wait_until(lambda: get_json(f"{pronoia.url}/api/v1/series")["data"], timeout=60, what="a judged series")
    result = CliRunner().invoke(main, ["models", "retrain", "load", "--config", str(config)])
    assert result.exit_code == 0, result.output

    def told() -> str:
        return http(f"{pronoia.url}/metrics")[1].decode()

    promoted = 'pronoia_model_changes_total{query="load",what="promoted"} 1.0'
    wait_until(lambda: promoted in told(), timeout=60, what="the promotion")
    wait_until(
        lambda: files.versions("load") == [files.of_role("load", "v1")], what="the champion as a version"
    )
    assert not files.of_role("load", "challenger").exists()
    wait_until(lambda: "pronoia_trial_points{" not in told(), what="the end of the trial")

    def newest() -> int:
        (one,) = get_json(f"{pronoia.url}/api/v1/queries")["data"]
        return int(one["timestamp_ms"])

    before = newest()
    wait_until(lambda: newest() > before + 2000 * STEP, what="judging goes on")


def test_a_model_is_replaced_and_brought_back(
    tmp_path: Path, prometheus: Prometheus, keep: Callable[..., Any]
) -> None:
    config = tmp_path / "pronoia.yaml"
    config.write_text(
        f"prometheus: {{url: '{prometheus.url}'}}\n"
        f"store: {{directory: {tmp_path / 'data'}, snapshot_interval: 3s}}\n"
        f"queries: [{{name: load, expr: load, step: {STEP}s, history: 15m, forecast_horizons: []}}]\n"
        "models: {challenger_share: 0.5, export_challenger: true, promote: by_hand, trial: 10m}\n"
    )

    def models(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["models", *arguments, "--config", str(config)])
        return result.exit_code, result.output

    def points() -> dict[str, int]:
        return {one["role"]: one["n_points"] for one in json.loads(models("list", "--format", "json")[1])}

    assert models("list", "--format", "json")[0] == 1, "there is none yet"
    pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(config)))
    pronoia.start()
    wait_until(lambda: get_json(f"{pronoia.url}/api/v1/series")["data"], timeout=60, what="a judged series")
    wait_until(lambda: points()["live"], what="a saved model")
    code, words = models("retrain", "load")
    assert code == 0, words
    assert set(points()) == {"live", "challenger", "champion at the fit"}

    def contested() -> dict[str, Any]:
        return dict(json.loads(models("contest", "load", "--format", "json")[1]))

    found = wait_until(lambda: (one := contested())["challenger"]["n_points"] >= 500 and one, what="new data")
    assert found["champion"]["n_points"] == found["challenger"]["n_points"]

    def shown(query: str) -> set[str]:
        page = http(f"{pronoia.url}/synthetic")[1].decode()
        return set(re.findall(rf'pronoia_expected{{.*pod="(p\d+)".*query="{query}"', page))

    def tried() -> int:
        _, output = models("compare", "load", "--format", "json")
        return int(json.loads(output)["champion"]["n_points"]) if output.startswith("{") else 0

    wait_until(lambda: len(shown("load:challenger")) == 30, what="half of the series by both")
    assert shown("load:challenger") < shown("load")
    before = wait_until(tried, what="standings of the live trial")
    pronoia.stop()
    pronoia.start()
    wait_until(lambda: tried() > before, timeout=60, what="the trial goes on over a restart")
    # Both learnt the same history, so neither is better, and it says so.
    code, output = models("promote", "load")
    assert (code, "it errs" in output) == (1, True)
    assert models("promote", "load", "--force")[0] == 0

    def reload() -> None:
        assert http(f"{pronoia.url}/-/reload", method="POST", data=b"")[0] == 200

    reload()
    wait_until(lambda: "v1" in points(), what="the champion as a version")
    wait_until(lambda: get_json(f"{pronoia.url}/api/v1/series")["data"], timeout=30, what="judging goes on")
    assert models("validate")[0] == 0
    assert models("rollback", "load", "--to", "7")[0] == 1
    assert models("rollback", "load")[0] == 0
    reload()
    wait_until(lambda: "v2" in points(), what="the challenger as a version")
    assert "another version of the model" in pronoia.tail(20_000)
    assert "learning anew" not in pronoia.tail(20_000)
    (live,) = (
        one for one in json.loads(models("show", "load", "--format", "json")[1]) if one["role"] == "live"
    )
    assert live["learnt_from_ms"] < live["learnt_until_ms"]
    assert set(live["libraries"]) == {"numpy", "numba"}
    config.write_text(config.read_text().replace("expr: load,", "expr: load + 0,"))
    code, output = models("validate")
    assert (code, "another expr of" in output) == (1, True)
    reload()
    wait_until(lambda: "learning anew" in pronoia.tail(20_000), timeout=60, what="a model that is refused")
    wait_until(lambda: models("validate")[0] == 0, timeout=60, what="a new one")
