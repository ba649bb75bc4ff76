"""Silences on a cluster of two Alertmanagers: made once, found and ended at both, with one of them gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import AlertmanagerConfig
from sidecar.config.response import SilencesConfig
from sidecar.prometheus.alertmanager import AlertmanagerClient
from sidecar.prometheus.session import PullMetrics
from tests.integration.servers import Alertmanager, free_port, get_json, run_blocking, wait_until
from tests.unit.webhooks.respond.incidents import episode, incident
from webhooks.respond.silences import Caps, SilenceMetrics, Silencer

pytestmark = pytest.mark.integration


def pair(directory: Path, keep: Callable[..., Any]) -> list[Alertmanager]:
    """Two that know each other."""
    gossip = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    peers: list[Alertmanager] = []
    for n, address in enumerate(gossip):
        one: Alertmanager = keep(Alertmanager(directory / f"am{n}", webhook="http://127.0.0.1:1/"))
        one.argv.remove("--cluster.listen-address=")
        one.argv += [f"--cluster.listen-address={address}", f"--cluster.peer={gossip[1 - n]}"]
        one.argv += ["--cluster.gossip-interval=100ms", "--cluster.settle-timeout=1s"]
        peers.append(one.start(wait=False))  # type: ignore[arg-type]
    for one in peers:
        one.wait_healthy()
        wait_until(
            lambda one=one: len(get_json(one.url + "/api/v2/status")["cluster"]["peers"]) == 2,
            what="the two have met",
        )
    return peers


def active(one: Alertmanager) -> list[str]:
    held = get_json(one.url + "/api/v2/silences")
    return [silence["id"] for silence in held if silence["status"]["state"] == "active"]


async def test_one_silence_for_two_peers(tmp_path: Path, keep: Callable[..., Any]) -> None:
    first, second = await run_blocking(lambda: pair(tmp_path, keep))
    metrics = PullMetrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        clients = {}
        for one in (first, second):
            client = AlertmanagerClient(AlertmanagerConfig(url=one.url), metrics=metrics)
            clients[one.url] = await stack.enter_async_context(client)
        silencer = Silencer(clients, SilencesConfig(), metrics=SilenceMetrics(CollectorRegistry()))
        open_now = incident(shared_labels={"service": "db"})
        made = await silencer.silence(open_now, [episode("Down")], seconds=600, why="asked for")
        assert len(made) == 1
        await run_blocking(lambda: wait_until(lambda: active(second) == made, what="the peer has it"))
        assert active(first) == made
        assert await silencer.silence(open_now, [episode("Down")], seconds=600, why="asked for") == made
        before = get_json(first.url + "/api/v2/silences")[0]["endsAt"]
        await silencer.extend("incident i1", caps=Caps(duration=3600, max_total=7200, max_active=50))
        assert get_json(first.url + "/api/v2/silences")[0]["endsAt"] > before
        assert (active(first), active(second)) == (made, made)
        first.kill()
        assert await silencer.end("incident i1") == 1, "with one gone the other is asked"
        await run_blocking(lambda: wait_until(lambda: active(second) == [], what="ended"))
