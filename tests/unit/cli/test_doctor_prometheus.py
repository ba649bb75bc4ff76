"""`pronoia doctor` and the others say what a newcomer's Prometheus lacks, or what it is in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.cli.doctor_prometheus import examine_settings
from sidecar.cli.reach import look
from sidecar.config.model import Config, RulesConfig, SourceConfig
from sidecar.errors import PullError

GOOD = """
rule_files: [/etc/prometheus/rules/*.rules.yaml]
scrape_configs:
- {job_name: pronoia, honor_labels: true, metrics_path: /synthetic}
"""


@pytest.mark.parametrize(
    ("told", "lifecycle", "words"),
    [
        pytest.param(GOOD, "true", [], id="all as the README says"),
        pytest.param(GOOD, "false", ["does not load rules when it is asked"], id="no lifecycle API"),
        pytest.param(
            GOOD.replace("*.rules.yaml", "mine.yml"), "true", ["none of its rule_files"], id="other files"
        ),
        pytest.param(GOOD.replace("*.rules", "*"), "true", [], id="a wider pattern"),
        pytest.param(GOOD.replace("/synthetic", "/metrics"), "true", ["none of its jobs"], id="not scraped"),
        pytest.param(GOOD.replace("true", "false"), "true", ["exported_job"], id="labels renamed"),
        pytest.param(
            "global: {}", "true", ["none of its rule_files", "none of its jobs"], id="a bare server"
        ),
        pytest.param(
            "{rule_files: [/r/*.rules.yaml], remote_read: [{url: http://p}]}", "true", [], id="a ruler"
        ),
        pytest.param("[", "true", [], id="no YAML"),
    ],
)
def test_settings_that_stand_in_the_way(told: str, lifecycle: str, words: list[str]) -> None:
    config = Config(rules=RulesConfig(directory=Path("/etc/prometheus/rules")))
    found = list(examine_settings(config, "http://p:9090", told, {"web.enable-lifecycle": lifecycle}))
    assert len(found) == len(words)
    assert all(word in one.what for word, one in zip(words, found, strict=True))


def test_without_a_folder_of_rules_nothing_is_asked_of_them() -> None:
    told = GOOD.replace("*.rules.yaml", "mine.yml")
    assert not list(examine_settings(Config(), "http://p:9090", told, {"web.enable-lifecycle": "false"}))


@pytest.mark.parametrize(
    ("is_alertmanager", "words"),
    [
        (True, "404: Not Found; that is an Alertmanager: give it as --alertmanager"),
        (False, "404: Not Found; that is no Prometheus, or its API is below another path"),
    ],
)
async def test_a_server_that_is_no_prometheus_is_called_what_it_is(is_alertmanager: bool, words: str) -> None:
    async def status(_: web.Request) -> web.StreamResponse:
        return web.json_response({"versionInfo": {"version": "0.27.0"}, "config": {}})

    app = web.Application()
    if is_alertmanager:
        app.router.add_get("/api/v2/status", status)
    async with TestServer(app) as server:
        with pytest.raises(PullError) as caught:
            await look(SourceConfig(url=str(server.make_url(""))))
    assert words in str(caught.value)


async def test_tls_asked_of_a_server_without_it_is_said_so() -> None:
    async with TestServer(web.Application()) as server:
        with pytest.raises(PullError, match="speaks no TLS there; write http://"):
            await look(SourceConfig(url=f"https://127.0.0.1:{server.port}"))
