"""What `check-config` says of queries beyond their form."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.check_config import check_config
from sidecar.config.model import QueryConfig
from sidecar.engine.detect.hampel import HampelDetector
from sidecar.engine.model import QueryModel

CONFIG = """
prometheus:
  url: http://127.0.0.1:9090
queries:
  - name: requests
    expr: sum(rate(http_requests_total[5m]))
    detector: {detector}
"""


@pytest.mark.parametrize(("detector", "code"), [("hampel", 0), ("hampl", 1)])
def test_a_detector_that_nobody_knows_is_a_fault(tmp_path: Path, detector: str, code: int) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text(CONFIG.format(detector=detector))
    result = CliRunner().invoke(check_config, [str(file)])
    assert result.exit_code == code, result.output
    if code:
        assert "queries[0].detector" in result.output
        assert "hampel" in result.output


def test_a_counter_without_a_rate_is_noted_and_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text(
        CONFIG.format(detector="ensemble").replace("sum(rate(http_requests_total[5m]))", "a_total")
    )
    result = CliRunner().invoke(check_config, [str(file)])
    assert result.exit_code == 0
    assert "queries.requests.expr reads the counter a_total as it stands" in result.output


def test_a_query_is_judged_by_the_detector_it_names() -> None:
    model = QueryModel(QueryConfig(name="q", expr="x", step=60.0, detector="hampel"))
    assert isinstance(model.detector, HampelDetector)


@pytest.mark.parametrize(
    ("detector", "found", "noted"),
    [("autoencoder", None, True), ("autoencoder", "torch", False), ("hampel", None, False)],
)
def test_what_cannot_be_trained_here_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str, found: str | None, noted: bool
) -> None:
    monkeypatch.setattr("sidecar.cli.check_config.find_spec", lambda name: found)
    file = tmp_path / "pronoia.yaml"
    file.write_text(CONFIG.format(detector=detector))
    result = CliRunner().invoke(check_config, [str(file)])
    assert result.exit_code == 0, "a model that was trained elsewhere can still judge"
    assert ("pronoia[deep]" in result.output) == noted
