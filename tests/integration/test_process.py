"""`pronoia run` as a process: starts, becomes ready, reloads, stops, dies and comes back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import WAVE, wave_config
from tests.integration.servers import Prometheus, Pronoia, free_port, get_json, http, wait_until
from tests.integration.test_faults_source import metric, ready, scored

pytestmark = pytest.mark.integration


def log_events(pronoia: Pronoia) -> list[dict[str, Any]]:
    lines = pronoia.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def expected_values(pronoia: Pronoia) -> dict[str, float]:
    """`/api/v1/series` of the wave: its step's time and what was expected there."""
    (series,) = get_json(pronoia.url + "/api/v1/series?query=wave")["data"]
    return {key: series[key] for key in ("timestamp_ms", "expected", "lower", "upper")}


def test_ready_after_the_first_score_and_stops_with_everything_saved(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    pronoia = make_pronoia(
        wave_config(
            prometheus.url, tmp_path, store={"directory": str(tmp_path / "data"), "snapshot_interval": "1h"}
        )
    )
    pronoia.start()
    wait_until(lambda: ready(pronoia), timeout=40, what="ready")
    assert scored(pronoia) >= 1
    newest = metric(pronoia, "pronoia_query_last_evaluation_timestamp_seconds")
    assert pronoia.stop() < 5.0
    assert pronoia.process is not None
    assert pronoia.process.returncode == 0
    pronoia.start()
    wait_until(lambda: scored(pronoia) > 0, what="scored again")
    events = [event["event"] for event in log_events(pronoia)]
    assert events.count("history learned") == 1, "the second start reads no history"
    restored = next(event for event in log_events(pronoia) if event["event"] == "model restored")
    assert restored["last_timestamp_seconds"] >= newest, "the stop saved the newest state"


def test_killed_and_restarted_it_says_what_an_unbroken_run_says(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], keep: Callable[..., Any]
) -> None:
    victim = make_pronoia(wave_config(prometheus.url, tmp_path / "victim"))
    victim.start()
    wait_until(lambda: ready(victim), timeout=40, what="ready")
    # The witness starts from the very same state: a copy of what the victim saved.
    wait_until(lambda: metric(victim, "pronoia_model_snapshots_total", result="ok") > 0, what="saved")
    witness_directory = tmp_path / "witness"
    witness_directory.mkdir()
    document = wave_config(prometheus.url, witness_directory)
    models = witness_directory / "data" / "models"
    models.mkdir(parents=True)
    (model,) = (tmp_path / "victim" / "data" / "models").glob("*.model")
    (models / model.name).write_bytes(model.read_bytes())
    config = witness_directory / "pronoia.yaml"
    config.write_text(json.dumps(document))
    witness: Pronoia = keep(Pronoia(witness_directory, "--config", str(config), "--log-format", "json"))
    witness.start()
    wait_until(lambda: ready(witness), timeout=40, what="witness ready")

    victim.kill()
    victim.start()
    wait_until(lambda: ready(victim), timeout=40, what="ready again")
    assert [event["event"] for event in log_events(victim)].count("history learned") == 1

    def same_step() -> bool:
        one, two = expected_values(victim), expected_values(witness)
        if one["timestamp_ms"] != two["timestamp_ms"]:
            return False
        assert one == pytest.approx(two, rel=1e-12)
        return True

    wait_until(same_step, what="both judged the same step, alike", every=0.02)


def test_reload_takes_a_good_file_and_refuses_a_bad_one(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    document = wave_config(prometheus.url, tmp_path)
    pronoia = make_pronoia(document)
    config = pronoia.directory / "pronoia.yaml"
    pronoia.start()
    wait_until(lambda: ready(pronoia), timeout=40, what="ready")

    config.write_text("queries: [{name: wave, expr: 'sum(('}]\nservr: {}\n")
    status, body = http(pronoia.url + "/-/reload", data=b"")
    assert status == 500
    assert b"queries[0].expr" in body
    assert b"did you mean 'server'" in body
    assert metric(pronoia, "pronoia_config_last_reload_successful") == 0
    before = scored(pronoia)
    wait_until(lambda: scored(pronoia) > before, what="the old configuration still runs")

    document["queries"].append({"name": "second", "expr": f"2 * ({WAVE})", "step": "1s", "history": "5m"})
    config.write_text(json.dumps(document))
    assert pronoia.process is not None
    os.kill(pronoia.process.pid, signal.SIGHUP)
    wait_until(
        lambda: metric(pronoia, "pronoia_evaluations_total", result="ok", query="second") > 0,
        what="the new query is scored",
    )
    assert metric(pronoia, "pronoia_config_last_reload_successful") == 1

    document["queries"].pop()
    config.write_text(json.dumps(document))
    assert http(pronoia.url + "/-/reload", data=b"")[0] == 200
    wait_until(
        lambda: b'query="second"' not in http(pronoia.url + "/synthetic")[1], what="a query that left is gone"
    )


def test_a_query_whose_next_step_is_far_is_neither_late_nor_unready_after_a_reload(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    def late() -> list[str]:
        found: list[str] = get_json(pronoia.url + "/health")["data"]["metrics"]["late"]
        return found

    document = wave_config(prometheus.url, tmp_path)
    slow = {"name": "slow", "expr": WAVE, "step": "1h", "history": "2d"}
    pronoia = make_pronoia(document)
    pronoia.start()
    wait_until(lambda: ready(pronoia), timeout=40, what="ready")
    (pronoia.directory / "pronoia.yaml").write_text(json.dumps(document | {"queries": [slow]}))
    for _ in range(2):
        assert http(pronoia.url + "/-/reload", data=b"")[0] == 200
        assert ready(pronoia)
        wait_until(lambda: late() == [], timeout=20, what="a model")


def test_a_hangup_while_it_starts_ends_nothing_and_is_heeded(
    tmp_path: Path, make_pronoia: Callable[..., Pronoia]
) -> None:
    pronoia = make_pronoia(wave_config(f"http://127.0.0.1:{free_port()}", tmp_path))
    pronoia.start(wait=False)
    process = pronoia.process
    assert process is not None
    wait_until(lambda: blocks_hangups(process.pid), what="hang-ups are held back", every=0.001)
    process.send_signal(signal.SIGHUP)
    pronoia.wait_healthy()
    wait_until(lambda: "configuration reloaded" in pronoia.tail(), what="the reload")


def blocks_hangups(pid: int) -> bool:
    """Whether SIGHUP, the first signal, is in the process' mask."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigBlk:")[2].split()[0], 16) & 1)


def test_a_port_in_use_is_a_clear_error(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    pronoia = make_pronoia(wave_config(prometheus.url, tmp_path), port=prometheus.port)
    pronoia.start(wait=False)
    assert pronoia.process is not None
    assert pronoia.process.wait(20) == 1
    assert "in use" in pronoia.tail()
    assert "--listen" in pronoia.tail()


def test_a_folder_in_use_is_a_clear_error_and_a_killed_owner_none(
    tmp_path: Path, make_pronoia: Callable[..., Pronoia]
) -> None:
    config = {"prometheus": {"url": "http://127.0.0.1:1"}, "store": {"directory": str(tmp_path / "data")}}
    first, second = make_pronoia(config), make_pronoia(config)
    first.start()
    assert first.process is not None
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(20) == 1
    assert f"used by another pronoia, process {first.process.pid}" in second.tail()
    first.kill()
    second.start()


def test_zero_configuration_finds_something_to_watch(tmp_path: Path, keep: Callable[..., Any]) -> None:
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    target = prometheus.url.removeprefix("http://")
    document = json.loads(prometheus.config.read_text())
    document["scrape_configs"] = [{"job_name": "prometheus", "static_configs": [{"targets": [target]}]}]
    prometheus.config.write_text(json.dumps(document))
    prometheus.start()
    wait_until(lambda: prometheus.query("up"), what="scraped")
    pronoia: Pronoia = keep(
        Pronoia(tmp_path / "p", "--prometheus", prometheus.url, "--data", str(tmp_path / "p" / "data"))
    )
    pronoia.start()
    wait_until(lambda: ready(pronoia), timeout=60, what="ready without a configuration")
    assert b"pronoia_actual{" in http(pronoia.url + "/synthetic")[1]
