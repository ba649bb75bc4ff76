"""A rule of people's own on a real Prometheus: argued for, rewritten in place, taken back, or refused."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import canary_path
from rules.adapt.change import Change
from rules.adapt.place import group_of
from rules.adapt.place_file import FilePlace
from rules.adapt.text import rewrite_text
from rules.adapt.threshold_series import ThresholdSeries
from rules.adapt.watch import RewriteMetrics, RewriteWatch
from rules.metrics import RuleMetrics
from rules.read import read_text
from sidecar.cli.main import main
from sidecar.config.adapt import AdaptConfig
from sidecar.config.model import SourceConfig, StoreConfig
from sidecar.events import EventBus
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet, SeriesBatch
from sidecar.store.sqlite import SqliteStore
from tests.integration.own_rules import OWN, Own, make_own
from tests.integration.servers import binary, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def own(tmp_path: Path, keep: Callable[..., Any]) -> Own:
    return make_own(tmp_path, keep)


def test_a_firing_alert_fires_on_through_a_rewrite_and_its_roll_back(own: Own) -> None:
    since = own.active_since()
    planned = own.run("plan", "--format", "json", history=True)
    assert planned.exit_code == 1, planned.output
    told = json.loads(planned.stdout)
    (proposed,) = told["proposed"]
    assert proposed["delays_after"]["the bad hour"] <= 60
    assert proposed["unseen_after"] < proposed["unseen_before"]
    assert "ignore" in next(why for rule, why in told["left"].items() if "Untouched" in rule)
    assert own.file.read_text() == OWN, "planning writes nothing"

    applied = own.run("apply", "--yes", "--approver", "ada", history=True)
    assert applied.exit_code == 0, applied.output
    text = own.file.read_text()
    assert text.splitlines()[0] == OWN.splitlines()[0]
    assert "# a guess" in text
    assert proposed["after"].split("#")[0].strip() in text
    assert text.count("load > 10.5") == 1
    assert own.active_since() == since, "the same alert, firing since the same moment"

    logged = store(own, "log", "--format", "json")
    (revision,) = json.loads(logged.stdout)
    assert (revision["state"], revision["evidence"]["approver"]) == ("live", "ada")
    assert revision["evidence"]["unit tests"] == "passed"
    assert "exp_samples: []" in revision["evidence"]["tests"]
    assert "> 10.5" in store(own, "diff", revision["content_hash"]).stdout
    shown = store(own, "show", revision["content_hash"][:6]).stdout
    assert "false alarms" in shown
    assert "unit tests: passed" in shown
    assert own.run("drift").exit_code == 0

    again = own.run("plan", "--format", "json", history=True)
    assert again.exit_code == 0, again.output

    back = own.run("rollback", f"file:{own.file}")
    assert back.exit_code == 0, back.output
    assert own.file.read_text() == OWN
    wait_until(lambda: own.active_since() == since, what="still the same alert")


def store(own: Own, *arguments: str) -> Result:
    where = ["--data", str(own.folder / "data")]
    return CliRunner().invoke(main, ["rules", *arguments, *where], catch_exceptions=False)


def test_a_reload_that_is_refused_leaves_the_file_as_it_was(own: Own) -> None:
    (own.server.rules / "neighbour.yaml").write_text("groups: [")
    applied = own.run("apply", "--yes", history=True)
    assert applied.exit_code == 1
    assert "reload refused" in applied.output
    assert own.file.read_text() == OWN
    (revision,) = json.loads(store(own, "log", "--format", "json").stdout)
    assert revision["state"] == "undone"
    assert "reload refused" in revision["reason"]


def test_a_hand_edit_after_a_rewrite_is_kept(own: Own) -> None:
    assert own.run("apply", "--yes", history=True).exit_code == 0
    edited = own.file.read_text().replace("team: a", "team: b")
    own.file.write_text(edited)
    back = own.run("rollback", f"file:{own.file}")
    assert back.exit_code == 1
    assert "edited since" in back.output
    assert own.file.read_text() == edited
    drifted = own.run("drift")
    assert drifted.exit_code == 1
    assert f"--accept file:{own.file} leaves it to you" in drifted.stdout


def test_a_roll_back_says_what_is_live_then(own: Own) -> None:
    assert own.run("apply", "--yes", history=True).exit_code == 0
    rewritten = own.file.read_text()
    assert own.run("join", "LoadHigh").exit_code == 0
    first = own.run("rollback", f"file:{own.file}")
    assert re.search(r"taken back; revision \w{12} is live", first.output), first.output
    assert own.file.read_text() == rewritten
    assert "the rules are as they were" in own.run("rollback", f"file:{own.file}").output
    assert own.file.read_text() == OWN


def test_what_was_never_written_or_named_is_said(own: Own) -> None:
    only = own.run("apply", "--yes", "--only", "LaodHigh", history=True)
    assert only.exit_code == 1
    assert "no alert is named LaodHigh" in only.output
    left = own.run("apply", "--yes", "--only", "Untouched", history=True)
    assert left.exit_code == 0
    assert "it carries the label pronoia: ignore" in left.stdout
    assert "LoadHigh" not in left.stdout, "nor was it looked at"
    assert own.file.read_text() == OWN
    back = own.run("rollback", "file:elsewhere.yaml")
    assert back.exit_code == 1
    assert "pronoia wrote no such group" in back.output
    assert "nothing that pronoia wrote is live" in own.run("drift").stdout


def test_a_branch_carries_the_evidence_and_the_working_tree_stays(own: Own) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(own.server.rules), *arguments], check=True, capture_output=True, text=True
        ).stdout

    refused = own.run("apply", "--to", "git", history=True)
    assert refused.exit_code == 1, refused.output
    assert "not a git repository" in refused.stderr
    assert "load > " not in refused.stdout, "nothing was worked out first"
    git("init", "--quiet", "--initial-branch=main")
    git("add", "own.yaml")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "own")
    applied = own.run("apply", "--to", "git", history=True)
    assert applied.exit_code == 0, applied.output
    assert own.file.read_text() == OWN
    assert git("status", "--short") == ""
    (branch,) = git("branch", "--list", "pronoia/*", "--format=%(refname:short)").split()
    message = git("log", "-1", "--format=%B", branch)
    assert "adapt LoadHigh" in message
    assert "false alarms" in message
    assert "load > 10.5  # a guess" in git("diff", f"main..{branch}")


async def test_a_shadow_that_does_well_goes_live_and_one_that_is_loud_does_not(own: Own) -> None:
    store = await SqliteStore.open(StoreConfig(directory=own.folder / "data"), registry=CollectorRegistry())
    source = SourceConfig(url=own.server.url)
    async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
        files = AdaptedRules(
            client,
            store,
            lambda group: FilePlace.of(group, needs_reload=True),
            promtool=binary("promtool"),
            verify_timeout_seconds=10,
        )
        registry = CollectorRegistry()
        watch = RewriteWatch(
            files,
            ThresholdSeries(store),
            client,
            AdaptConfig(max_firing_ratio=1),
            bus=EventBus(),
            rule_metrics=RuleMetrics(registry),
            metrics=RewriteMetrics(registry),
        )

        async def shadow(threshold: float) -> str:
            """The file's text with that threshold, running as a shadow for no time at all."""
            (old,) = [rule for rule in read_text(OWN, str(own.file)) if rule.name == "LoadHigh"]
            new = replace(old, expr=f"load > {threshold:g}")
            after = rewrite_text(OWN, [(old, new)])
            told = {"rules": [{"rule": old.key, "name": old.name, "firings_per_day": 0.0}]}
            change = Change(group_of(own.file), OWN, after, [(old, new)], told, "ada")
            await files.shadow(change, seconds=0)
            return after

        after = await shadow(12)
        shadows = [rule for rule in await client.rules() if rule.group == "pronoia-canary-own"]
        assert [rule.labels["pronoia_canary"] for rule in shadows] == ["true"]
        assert own.file.read_text() == OWN, "a shadow changes nothing"
        await watch.look()
        assert own.file.read_text() == after
        assert not canary_path(own.file).exists()
        assert [one.state for one in await store.revisions()] == ["live", "superseded"]

        # What fires more often than was said is taken back.
        rewatch = RewriteWatch(
            files,
            ThresholdSeries(store),
            Loud(client),
            AdaptConfig(),
            bus=EventBus(),
            rule_metrics=RuleMetrics(CollectorRegistry()),
            metrics=RewriteMetrics(CollectorRegistry()),
        )
        await rewatch.look()
        assert own.file.read_text() == OWN
        (newest, *_) = await store.revisions()
        assert newest.state == "rolled_back"
        assert "fired 20 times" in newest.reason
    await store.close()


class Loud:
    """The server, but for ALERTS that began twenty times since it was last asked."""

    def __init__(self, client: PrometheusClient) -> None:
        self.rules, self.instant = client.rules, client.instant

    async def range(self, expr: str, *, start_ms: int, **_: Any) -> SeriesBatch:
        assert expr == 'ALERTS{alertname="LoadHigh",pronoia_canary="",alertstate="firing"}'
        values = np.tile([np.nan, 1.0], 20)[None, :]
        return SeriesBatch("ALERTS", (LabelSet(),), start_ms + np.arange(40) * 15_000, values)
