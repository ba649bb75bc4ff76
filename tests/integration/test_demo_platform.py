"""The platform in a real Prometheus: history and live scrapes are one series each, without a hole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.cli.demo.backfill import BackfillError, write_history
from sidecar.cli.demo.live import LivePage
from sidecar.cli.demo.platform import Incident, Platform
from tests.integration.servers import Prometheus, binary, free_port, get_json, run_blocking, wait_until

pytestmark = pytest.mark.integration


async def test_live_values_continue_the_history(tmp_path: Path, keep: Callable[..., Any]) -> None:
    port = free_port()
    job = {
        "job_name": "music-platform",
        "honor_labels": True,
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus", scrape=[job]))
    platform = Platform(time.time())
    written = write_history(
        platform,
        directory=tmp_path,
        tsdb=server.data,
        promtool=binary("promtool"),
        days=1.5,
        scraped=f'instance="127.0.0.1:{port}",job="music-platform"',
    )
    assert written.n_series >= 40
    assert not list(tmp_path.glob("*.openmetrics"))
    page = LivePage(platform)
    await page.start(port)
    try:
        await run_blocking(server.start)
        counted = 'count({service!=""})'
        n_before = len(await run_blocking(lambda: server.query('{service!=""} offset 10m')))
        assert n_before == written.n_series

        def scraped() -> bool:
            alive = f"up == 1 and timestamp(up) > {written.end_seconds}"  # Not that of the history.
            return bool(server.query(alive))

        await run_blocking(lambda: wait_until(scraped, what="a scrape"))
        await asyncio.sleep(2)
        # One identity: the live samples made no second series beside the back-filled one.
        series = await run_blocking(lambda: int(server.query(counted)[0]["value"][1]))
        assert series == written.n_series
        up = await run_blocking(lambda: server.query("count(up) == count(up offset 10m) == 1"))
        assert up, "nor of what a scrape leaves of itself"
        url = f"{server.url}/api/v1/query?query=stream_sessions_active%5B10m%5D"
        for row in (await run_blocking(lambda: get_json(url)))["data"]["result"]:
            stamps = np.array([stamp for stamp, _ in row["values"]])
            assert np.diff(stamps).max() < 90, "no hole between history and now"
            assert stamps[-1] > written.end_seconds
        resets = await run_blocking(
            lambda: server.query('max(resets({__name__=~".+_total",service="cdn"}[5m]))')
        )
        assert float(resets[0]["value"][1]) == 0, "no counter fell where live values took over"

        platform.incident = Incident(time.time() - 30)
        expr = (
            'sum(rate(cdn_requests_total{edge="fra",code="503"}[10s]))'
            ' / sum(rate(cdn_requests_total{edge="fra"}[10s])) > 0.2'
        )
        await run_blocking(lambda: wait_until(lambda: server.query(expr), what="errors at the edge"))
    finally:
        await page.stop()


def test_what_promtool_says_is_passed_on(tmp_path: Path) -> None:
    target = tmp_path / "tsdb"
    target.write_text("a file where the TSDB should be")
    with pytest.raises(BackfillError, match=r"promtool wrote no history: .+"):
        write_history(
            Platform(time.time()), directory=tmp_path, tsdb=target, promtool=binary("promtool"), days=0.1
        )
    assert not list(tmp_path.glob("*.openmetrics"))
