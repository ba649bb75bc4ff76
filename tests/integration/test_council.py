"""`pronoia run` with a council beside the core: its members are fitted in another process, and speak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import WAVE, wave_config
from tests.integration.servers import Prometheus, Pronoia, wait_until
from tests.integration.test_faults_source import metric, ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def test_members_are_fitted_beside_and_survive_a_restart(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    document = wave_config(prometheus.url, tmp_path)
    document["queries"][0] |= {"detector": "council", "council": ["kmeans", "matrix_profile"]}
    document["queries"][0]["expr"] = f"{WAVE} + 3 * sin(vector(time() * time() / 77))"
    pronoia = make_pronoia(document)
    pronoia.start()
    wait_until(lambda: ready(pronoia), timeout=40, what="ready")

    def fits(result: str) -> float:
        return metric(pronoia, "pronoia_detector_fits_total", detector="kmeans", result=result)

    wait_until(lambda: fits("ok") >= 1, timeout=150, what="a fit in another process")
    assert fits("error") == 0
    assert metric(pronoia, "pronoia_detector_quality", detector="kmeans", measure="groups") >= 2
    pronoia.stop()
    assert pronoia.process is not None
    assert pronoia.process.returncode == 0
    pronoia.start()
    wait_until(lambda: ready(pronoia), timeout=40, what="ready again")

    def quality() -> float:
        return metric(pronoia, "pronoia_detector_quality", detector="kmeans", measure="groups")

    wait_until(lambda: quality() >= 2, timeout=40, what="what was fitted is still there")
