"""A threshold as a series, on a real Prometheus: moved without a reload, and the number where it is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from exporters.page import SyntheticPage
from exporters.rule_thresholds import RuleThresholdPage
from exporters.scrape import ScrapeEndpoints
from rules.adapt.bounds import Bound, ByHour, Static
from rules.adapt.history import Adapted
from rules.adapt.judge import Candidate, Verdict
from rules.adapt.solve import Proposal
from rules.adapt.threshold_export import ThresholdExport
from rules.adapt.threshold_series import ThresholdSeries
from rules.learn import Segment, Threshold
from rules.read import read_files
from sidecar.app.joined_rules import JoinedRules
from sidecar.cli.main import main
from sidecar.cli.thresholds import evaluated_rules
from sidecar.config.model import Config, SourceConfig, StoreConfig
from sidecar.loop.forecast_rules import Measured, taken_apart
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet
from sidecar.store.sqlite import SqliteStore
from tests.integration.servers import Prometheus, free_port, get_json, wait_until

pytestmark = pytest.mark.integration

RULES = """groups:
  - name: own
    interval: 1s
    rules:
      - record: load
        expr: vector(7)
        labels: {service: a}
      - alert: LoadHigh
        expr: load{team!="x",service="a"} > 5  # agreed on in spring
        labels: {team: a}
"""


BELOW = ByHour(Threshold(LabelSet(), 24, (Segment(0, 24, 6.0),)))
"""A table that is 6 at whichever hour the test runs."""


class Page:
    """The scrape page of a pronoia, started and stopped like the process."""

    def __init__(self, port: int) -> None:
        self.page = SyntheticPage(max_series=100, registry=CollectorRegistry())
        self.port = port
        self.runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        ScrapeEndpoints(self.page, CollectorRegistry()).add_routes(app.router)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page(free_port())
    await made.start()
    yield made
    await made.stop()


def threshold(rule: Any, bound: Bound) -> Adapted:
    """What adaptation would hand over for a joined rule."""
    seen = Verdict(0, 0, 0.0, {}, 28.0)
    found = Proposal(Candidate(bound, 0.0), "", seen, seen, 1, 0, (0.0, 0.0), (0.0, 1.0), ("moved",))
    return Adapted(rule, found, rule, joined=True)


async def measured(url: str, series: ThresholdSeries) -> list[Measured]:
    """What is forecast of the loaded rules, and to which thresholds."""
    async with PrometheusClient(SourceConfig(url=url), metrics=PullMetrics(CollectorRegistry())) as client:
        return taken_apart(await JoinedRules(client, series).rules(), 10)[0]


async def tried(url: str, data: Path) -> list[str]:
    """The joined rule as `pronoia thresholds backtest` tries it."""
    config = Config.model_validate({"store": {"directory": str(data)}})
    async with PrometheusClient(SourceConfig(url=url), metrics=PullMetrics(CollectorRegistry())) as client:
        return [one.expr for one in await evaluated_rules(client, config) if one.name == "LoadHigh"]


async def test_it_moves_without_a_reload_and_the_number_holds_without_it(
    page: Page, tmp_path: Path, keep: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    target = {"targets": [f"127.0.0.1:{page.port}"]}
    scrape = {"job_name": "pronoia", "metrics_path": "/synthetic", "static_configs": [target]}
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus", scrape=[scrape]))
    file = server.rules / "own.yaml"
    file.write_text(RULES)
    await asyncio.to_thread(server.start)

    def active() -> str | None:
        alerts = get_json(server.url + "/api/v1/alerts")["data"]["alerts"]
        return alerts[0]["activeAt"] if alerts else None

    async def until(condition: Callable[[], Any], what: str) -> Any:
        return await asyncio.to_thread(wait_until, condition, what=what)

    since = await until(active, "the alert fires")
    run = ["rules", "join", "LoadHigh", "--prometheus", server.url, "--data", str(tmp_path / "data")]
    await asyncio.to_thread(_run, *run)
    assert "# agreed on in spring" in file.read_text()
    assert active() == since, "the join alone changes nothing: the number holds, and the alert fires on"
    written = file.read_text()

    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    series = ThresholdSeries(store)
    export = ThresholdExport(series, RuleThresholdPage(page.page))
    (rule,) = [one for one in read_files([file]) if one.alerting]
    revision = await series.put(threshold(rule, Static(9.0)), {}, approver="ada")
    assert revision is not None
    await export.show()
    await until(lambda: active() is None, "9 > 7: it is over")
    (load,) = await measured(server.url, series)
    assert [str(one.bound) for one in load.thresholds] == ["> 9"], "forecast to the live number"
    capsys.readouterr()
    (stored,) = await tried(server.url, tmp_path / "data")
    assert stored.rstrip().endswith("> 9")
    assert capsys.readouterr().err == ""
    (fallback,) = await tried(server.url, tmp_path / "elsewhere")
    assert fallback.rstrip().endswith("> 5")
    assert "LoadHigh: " in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists(), "nothing is made to read it"
    await series.put(threshold(rule, BELOW), {}, approver="ada")
    await export.show()
    await until(active, "7 > 6: it fires")
    (distance,) = await measured(server.url, series)
    values = await asyncio.to_thread(server.query, distance.expr)
    assert [(one["metric"], one["value"][1]) for one in values] == [({"service": "a"}, "1")], "7 less 6"
    assert [str(one.bound) for one in distance.thresholds] == ["> 0"]

    await series.take_back(revision.group, "too low")
    await export.show()
    await until(lambda: active() is None, "9 holds again")
    await page.stop()
    await until(active, "pronoia is gone: 5 holds")
    assert file.read_text() == written, "no rule was touched for any of this"
    await store.close()

    await asyncio.to_thread(_run, *run, "--back")
    assert 'load{team!="x",service="a"} > 9 ' in file.read_text()
    logged = json.loads(await asyncio.to_thread(_run, "rules", "log", "--format", "json", *run[-2:]))
    assert [one["state"] for one in logged if one["group"].startswith("threshold:")] == [
        "rolled_back",
        "live",
    ]


def _run(*arguments: str) -> str:
    from click.testing import CliRunner

    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output
