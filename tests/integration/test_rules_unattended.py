"""Policy on a real Prometheus: what goes live by itself, what waits for a person, what may not be touched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import canary_path
from rules.adapt.places import place_finder
from rules.adapt.unattended import Unattended, UnattendedMetrics
from rules.incidents import read_incidents
from sidecar.cli.main import main
from sidecar.config.model import RulesConfig, SourceConfig, StoreConfig
from sidecar.events import EventBus
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.store.sqlite import SqliteStore
from tests.integration.own_rules import DAYS, Own, make_own
from tests.integration.servers import binary

pytestmark = pytest.mark.integration

RULES = """groups:
  - name: own
    rules:
      - alert: LoadHigh
        expr: load > 10.5
        labels: {severity: warning, team: a}
      - alert: LoadPages
        expr: load > 10.6
        labels: {severity: critical, team: a}
      - alert: Untouched
        expr: load > 10.5
        labels: {severity: info, pronoia: ignore}
"""


@pytest.fixture
def own(tmp_path: Path, keep: Callable[..., Any]) -> Own:
    return make_own(tmp_path, keep, RULES)


@asynccontextmanager
async def policy(own: Own, registry: CollectorRegistry, **adapt: Any) -> AsyncIterator[Unattended]:
    """Unattended adaptation as the sidecar builds it, run by hand."""
    unattended = {"mode": "apply", "window": DAYS * 86_400, "step": 60, **adapt.pop("unattended", {})}
    config = RulesConfig.model_validate(
        {"promtool": binary("promtool"), "verify_timeout": 10, "adapt": {"unattended": unattended, **adapt}}
    )
    store = await SqliteStore.open(StoreConfig(directory=own.folder / "data"), registry=CollectorRegistry())
    source = SourceConfig(url=own.server.url)
    place_of = place_finder(config)
    try:
        async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:

            async def incidents() -> Any:
                return read_incidents(own.incidents)

            yield Unattended(
                config,
                rules=AdaptedRules(
                    client, store, place_of, promtool=config.promtool, verify_timeout_seconds=10
                ),
                server=client,
                store=store,
                place_of=place_of,
                incidents=incidents,
                bus=EventBus(),
                metrics=UnattendedMetrics(registry),
                now=lambda: float(own.end),  # All runs go by the same days, whichever minute it is.
            )
    finally:
        await store.close()


async def test_policy_rewrites_what_it_may_and_a_person_approves_the_rest(own: Own) -> None:
    since = own.active_since()
    registry = CollectorRegistry()
    frozen = {"freeze": [{"start": "2020-01-01", "end": "2100-01-01"}]}
    async with policy(own, CollectorRegistry(), **frozen) as held:
        assert await held.run_once() == []
        assert own.file.read_text() == RULES

    async with policy(own, registry) as loop:
        done = await loop.run_once()
        assert [one.state for one in done] == ["live", "proposed"]
        text = own.file.read_text()
        assert "load > 10.6" in text, "who is paged is decided by a person"
        assert text.count("load > 10.5") == 1, "the warning was rewritten, the protected rule was not"
        assert done[0].evidence["approver"] == "policy"
        assert registry.get_sample_value("pronoia_rules_waiting") == 1
        assert registry.get_sample_value("pronoia_rules_rewritten_total") == 1
        assert await loop.run_once() == [], "cooling down, and it waits already"
        assert own.file.read_text() == text

    # Meanwhile somebody changes another line of the file.
    edited = text.replace("severity: info", "severity: low")
    own.file.write_text(edited)
    waiting = json.loads(await _stored(own, "log", "--state", "proposed", "--format", "json"))
    assert len(waiting) == 1
    approved = await asyncio.to_thread(own.run, "approve", waiting[0]["content_hash"], "--approver", "ada")
    assert approved.exit_code == 0, approved.output
    final = own.file.read_text()
    assert "load > 10.6" not in final
    assert "severity: low" in final
    assert own.active_since() == since
    newest = json.loads(await _stored(own, "log", "--format", "json"))[0]
    assert (newest["state"], newest["evidence"]["approver"]) == ("live", "ada")


async def test_proposals_only_touch_nothing_and_what_is_refused_is_not_proposed_again(own: Own) -> None:
    async with policy(own, CollectorRegistry(), unattended={"mode": "propose"}) as loop:
        (revision,) = await loop.run_once()
        assert revision.state == "proposed"
        assert {told["name"] for told in revision.evidence["rules"]} == {"LoadHigh", "LoadPages"}  # type: ignore[attr-defined]
    refused = await _stored(own, "reject", revision.content_hash, "--why", "holidays")
    assert "is refused" in refused
    async with policy(own, CollectorRegistry(), unattended={"mode": "propose"}) as loop:
        assert await loop.run_once() == []
    assert own.file.read_text() == RULES


async def test_what_is_no_longer_argued_for_waits_no_longer(own: Own) -> None:
    async with policy(own, CollectorRegistry(), unattended={"mode": "propose"}) as loop:
        (revision,) = await loop.run_once()
    registry = CollectorRegistry()
    limits = {"LoadHigh": {"ceiling": 10.5}, "LoadPages": {"ceiling": 10.6}}
    async with policy(own, registry, unattended={"mode": "propose"}, limits=limits) as loop:
        assert await loop.run_once() == []
        assert registry.get_sample_value("pronoia_rules_waiting") == 0
    assert json.loads(await _stored(own, "log", "--state", "proposed", "--format", "json")) == []
    assert "no longer proposed" in await _stored(own, "show", revision.content_hash)
    async with policy(own, CollectorRegistry(), unattended={"mode": "propose"}) as loop:
        (again,) = await loop.run_once()
        assert again.content == revision.content, "that was no refusal"


async def test_with_a_canary_policy_starts_shadows_and_waits_for_them(own: Own) -> None:
    async with policy(own, CollectorRegistry(), canary=3600) as loop:
        states = [one.state for one in await loop.run_once()]
        assert states == ["canary", "proposed"]
        assert await loop.run_once() == [], "what runs as a shadow is judged first"
    assert own.file.read_text() == RULES
    shadow = canary_path(own.file)
    assert shadow.exists()
    undone = await asyncio.to_thread(own.run, "rollback", f"file:{own.file}")
    assert undone.exit_code == 0, undone.output
    assert not shadow.exists()
    assert own.file.read_text() == RULES
    async with policy(own, CollectorRegistry(), canary=3600) as loop:
        assert await loop.run_once() == [], "what was taken back is not tried again"


async def _stored(own: Own, *arguments: str) -> str:
    where = ["--data", str(own.folder / "data")]
    done = await asyncio.to_thread(
        CliRunner().invoke, main, ["rules", *arguments, *where], catch_exceptions=False
    )
    return done.output
