"""Rewrites over months: several of one file, one of them loud; edits, kills, frozen days, namesakes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import canary_path
from rules.adapt.change import Change
from rules.adapt.place_file import FilePlace
from rules.adapt.plan import edited_since
from rules.adapt.text import rewrite_text
from rules.adapt.threshold_series import ThresholdSeries
from rules.adapt.watch import RewriteMetrics, RewriteWatch
from rules.incidents import KnownIncident
from rules.metrics import RuleMetrics
from rules.read import WrittenRule, read_files, read_text
from sidecar.config.adapt import AdaptConfig, FreezeWindow
from sidecar.config.model import StoreConfig
from sidecar.errors import PullError, PullReason, RuleError, StoreError, TooManySeries
from sidecar.events import EventBus
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision
from sidecar.series import LabelSet, SeriesBatch
from sidecar.store.sqlite import SqliteStore

TEXT = """# Ours.
groups:
- name: own
  rules:
  - {alert: Load, expr: load > 5, labels: {severity: page}}
  - {alert: Load, expr: load > 3, labels: {severity: info}}
  - {alert: Disk, expr: disk > 5}
  - {alert: Queue, expr: queue > 5}
"""
START = 1_700_000_000.0
DAY = 86_400.0


class Server:
    """Prometheus with a folder's rules; `loud`: whose alerts began twenty times, by what is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loud = re.compile("nothing")
        self.odd: list[WrittenRule] = []
        self.sick: set[str] = set()
        self.spans: list[float] = []
        self.series_of_all: int | None = None
        self.busy = 0
        self._rules: list[WrittenRule] = []

    async def reload(self) -> None:
        self._rules = read_files(sorted(self.folder.glob("*.yaml")))
        if self.busy:
            raise PullError(PullReason.TIMEOUT, "no answer within 10 s", retryable=True)

    async def rules(self) -> list[Rule]:
        if self.busy:
            self.busy -= 1
            raise PullError(PullReason.TIMEOUT, "no answer within 10 s", retryable=True)
        return [_loaded(rule, rule.group in self.sick) for rule in (*self._rules, *self.odd)]

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        assert start_ms < end_ms
        self.spans.append((end_ms - start_ms) / 86_400_000)
        if self.series_of_all is not None:
            raise TooManySeries(name, self.series_of_all, max_series)
        values = np.tile([np.nan, 1.0 if self.loud.search(expr) else np.nan], 20)[None, :]
        return SeriesBatch("ALERTS", (LabelSet(),), start_ms + np.arange(40) * 15_000, values)


def _loaded(rule: WrittenRule, sick: bool) -> Rule:
    return Rule(
        name=rule.name,
        expr=rule.expr,
        kind=rule.kind,
        group=rule.group,
        file=rule.file,
        health="err" if sick else "ok",
        last_error="it is sick" if sick else "",
        state="inactive",
        duration_seconds=rule.for_seconds,
        labels=dict(rule.labels),
        annotations=dict(rule.annotations),
    )


class Dying:
    """A store whose process is killed before it notes that something is live."""

    def __init__(self, store: SqliteStore) -> None:
        self._store, self.revisions = store, store.revisions

    async def put_revision(self, *revisions: RuleRevision) -> None:
        if any(revision.state == "live" for revision in revisions):
            raise StoreError("killed")
        await self._store.put_revision(*revisions)


class Bench:
    """A rule file, what rewrites it, and the watch over that."""

    def __init__(self, folder: Path, store: SqliteStore) -> None:
        self.file, self.store, self.now = folder / "own.yaml", store, START
        self.server = Server(folder)
        self.config = AdaptConfig()
        self.known: list[KnownIncident] = []
        self.n_remembered = 0
        self.rules = self.rules_with(store)
        self.group = FilePlace(self.file).group

    def rules_with(self, store: Any) -> AdaptedRules:
        return AdaptedRules(
            self.server,
            store,
            lambda group: FilePlace.of(group, needs_reload=True),
            promtool="none here",  # The parser is quicker, and what is checked is no matter here.
            verify_timeout_seconds=5.0,
            now=lambda: self.now,
        )

    async def look(self) -> None:
        await self.watch().look()

    def watch(self) -> RewriteWatch:
        registry = CollectorRegistry()
        return RewriteWatch(
            self.rules,
            ThresholdSeries(self.store, now=lambda: self.now),
            self.server,
            self.config,
            bus=EventBus(),
            rule_metrics=RuleMetrics(registry),
            metrics=RewriteMetrics(registry),
            incidents=self.incidents,
            now=lambda: self.now,
        )

    async def incidents(self) -> list[KnownIncident]:
        self.n_remembered += 1
        return self.known

    def change(self, nth: int) -> Change:
        """The file's nth rule with 6 in place of its number."""
        text = self.file.read_text()
        old = read_text(text, str(self.file))[nth]
        new = replace(old, expr=old.expr[:-1] + "6")
        told = {
            "rule": old.key,
            "name": old.name,
            "labels": dict(old.labels),
            "after": new.expr,
            "firings_per_day": 0.1,
        }
        after = rewrite_text(text, [(old, new)])
        return Change(self.group, text, after, [(old, new)], {"rules": [told]}, "ada")

    async def rewrite(self, *nths: int) -> None:
        for nth in nths:
            await self.rules.publish(self.change(nth))
            self.now += DAY

    def edit(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    async def states(self) -> list[str]:
        return [revision.state for revision in reversed(await self.store.revisions())]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    (tmp_path / "rules").mkdir()
    found = Bench(tmp_path / "rules", store)
    found.file.write_text(TEXT)
    await found.server.reload()
    yield found
    await store.close()


async def test_an_older_rewrite_of_a_file_is_watched_still_and_taken_back_alone(bench: Bench) -> None:
    await bench.rewrite(0, 2, 3)
    bench.server.loud = re.compile('alertname="Disk"')
    await bench.look()
    text = TEXT.replace("load > 5", "load > 6").replace("queue > 5", "queue > 6")
    assert bench.file.read_text() == text
    assert await bench.states() == ["superseded", "rolled_back", "superseded", "live"]
    bench.now += DAY
    bench.server.loud = re.compile('alertname="Load"')
    await bench.look()
    assert bench.file.read_text() == text.replace("load > 6", "load > 5")
    await bench.look()
    assert bench.file.read_text() == TEXT.replace("queue > 5", "queue > 6"), "and is judged no more"


async def test_an_edit_of_a_rule_that_an_older_revision_rewrote_is_kept(bench: Bench) -> None:
    await bench.rewrite(0, 2)
    bench.edit("load > 6", "load > 9")
    edited = read_text(bench.file.read_text())[0]
    assert "edited by hand" in edited_since(edited, await bench.store.revisions())


async def test_steps_are_taken_back_one_after_another(bench: Bench) -> None:
    await bench.rewrite(0, 2)
    await bench.rules.undo(bench.group, "by hand")
    assert bench.file.read_text() == TEXT.replace("load > 5", "load > 6")
    assert await bench.states() == ["live", "rolled_back"]
    await bench.rules.undo(bench.group, "by hand")
    assert bench.file.read_text() == TEXT
    with pytest.raises(RuleError, match="no revision of it is live"):
        await bench.rules.undo(bench.group, "by hand")


async def test_killed_before_a_roll_back_is_noted_it_can_be_done_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.rewrite(0)

    async def killed(*revisions: RuleRevision) -> None:
        raise StoreError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "put_revision", killed)
        with pytest.raises(StoreError):
            await bench.rules.undo(bench.group, "by hand")
    assert bench.file.read_text() == TEXT
    assert await bench.states() == ["live"]
    await bench.rules.undo(bench.group, "by hand")
    assert bench.file.read_text() == TEXT
    assert await bench.states() == ["rolled_back"]


async def test_what_is_loud_is_taken_back_though_its_file_was_edited_elsewhere(bench: Bench) -> None:
    await bench.rewrite(0)
    bench.edit("# Ours.", "# Ours, really.")
    bench.edit("disk > 5", "disk > 7")
    bench.server.loud = re.compile('alertname="Load"')
    await bench.look()
    assert bench.file.read_text() == TEXT.replace("# Ours.", "# Ours, really.").replace(
        "disk > 5", "disk > 7"
    )
    assert await bench.states() == ["rolled_back"]


async def test_a_rewritten_rule_that_was_edited_since_is_left_alone(bench: Bench) -> None:
    await bench.rewrite(0)
    bench.edit("load > 6", "load > 9")
    edited = bench.file.read_text()
    bench.server.loud = re.compile('alertname="Load"')
    await bench.look()
    assert bench.file.read_text() == edited
    assert await bench.states() == ["live"]


async def test_what_is_left_alone_is_told_of_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.rewrite(0)
    bench.edit("load > 6", "load > 9")
    bench.server.loud = re.compile('alertname="Load"')
    watch, told = bench.watch(), []
    monkeypatch.setattr(watch, "_log", SimpleNamespace(warning=lambda *words, **facts: told.append(facts)))
    for _ in range(3):
        await watch.look()
    assert len(told) == 1
    assert "was edited since" in told[0]["err"]


async def test_killed_before_the_new_one_is_noted_the_old_one_is_live_still(bench: Bench) -> None:
    await bench.rewrite(0)
    text = bench.file.read_text()
    with pytest.raises(StoreError):
        await bench.rules_with(Dying(bench.store)).publish(bench.change(2))
    assert bench.file.read_text() != text
    bench.now += DAY
    await bench.rules.recover()
    assert bench.file.read_text() == text
    assert await bench.states() == ["live", "undone"]


@pytest.mark.parametrize(
    ("loud", "left"),
    [
        pytest.param('severity="info"', True, id="its namesake is loud"),
        pytest.param('alertname="Load",pronoia_canary="",severity="page"', False, id="it is loud"),
    ],
)
async def test_a_rule_answers_for_its_own_firings(bench: Bench, loud: str, left: bool) -> None:
    await bench.rewrite(0)
    bench.server.loud = re.compile(loud)
    await bench.look()
    assert (await bench.states() == ["live"]) == left


@pytest.mark.parametrize(
    ("loud", "left"),
    [
        pytest.param("ALERTS", True, id="the namesake is loud"),
        pytest.param(r"ALERTS|^\(disk > 6", False, id="it is loud itself"),
    ],
)
async def test_a_namesake_with_the_same_labels_is_no_reason_to_take_a_rule_back(
    bench: Bench, loud: str, left: bool
) -> None:
    """ALERTS says nothing of groups: `Disk` of theirs looks like ours."""
    await bench.rewrite(2)
    bench.server.odd = [WrittenRule("Disk", "disk / 2 > 1", "alerting", "theirs", labels={"team": "b"})]
    bench.server.loud = re.compile(loud)
    await bench.look()
    assert (await bench.states() == ["live"]) == left


async def test_firings_in_an_incident_of_others_are_no_noise_and_it_is_looked_up_once(bench: Bench) -> None:
    await bench.rewrite(0, 2, 3)
    bench.server.loud = re.compile("ALERTS")
    whole = (0, int((bench.now + DAY) * 1000))
    bench.known = [KnownIncident("outage", *whole, frozenset({"Others", "Load", "Disk", "Queue"}))]
    await bench.look()
    assert bench.n_remembered == 1
    assert await bench.states() == ["superseded", "superseded", "live"]


async def test_a_namesake_of_another_group_that_errs_is_no_fault_of_it(bench: Bench) -> None:
    await bench.rewrite(2)
    bench.server.odd = [WrittenRule("Disk", "disk / 0 > 1", "alerting", "theirs")]
    bench.server.sick = {"theirs"}
    await bench.look()
    assert await bench.states() == ["live"]
    bench.server.sick = {"own"}
    await bench.look()
    assert await bench.states() == ["rolled_back"]


async def test_a_server_that_is_late_with_reload_and_answer_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rules.adapt.placing.POLL_SECONDS", 0.01)
    bench.server.busy = 2
    await bench.rewrite(2)
    assert bench.file.read_text() == TEXT.replace("disk > 5", "disk > 6")
    assert await bench.states() == ["live"]


async def test_a_namesake_that_only_prometheus_can_parse_is_in_nobodys_way(bench: Bench) -> None:
    bench.server.odd = [WrittenRule("Disk", "holt_winters(disk[1h], 0.1, 0.1) > 1", "alerting", "theirs")]
    await bench.rewrite(2)
    assert bench.file.read_text() == TEXT.replace("disk > 5", "disk > 6")
    assert await bench.states() == ["live"]


async def test_after_a_year_the_last_week_is_read_and_no_more(bench: Bench) -> None:
    await bench.rewrite(0)
    bench.now += 365 * DAY
    await bench.look()
    assert 7 <= max(bench.server.spans) < 7.1
    bench.now = START - 10 * DAY  # A clock that was set back.
    await bench.look()
    assert await bench.states() == ["live"]


async def test_more_alerts_than_can_be_counted_are_too_many(bench: Bench) -> None:
    await bench.rewrite(0)
    bench.server.series_of_all = 20_000
    await bench.look()
    assert await bench.states() == ["rolled_back"]
    assert bench.file.read_text() == TEXT


async def test_a_shadow_does_not_go_live_while_rules_are_frozen(bench: Bench) -> None:
    await bench.rules.shadow(bench.change(0), seconds=3600)
    bench.now += DAY
    start, end = (datetime.fromtimestamp(START + days * DAY, UTC) for days in (0.5, 3))
    bench.config = AdaptConfig(freeze=(FreezeWindow(start=start, end=end),))
    await bench.look()
    assert bench.file.read_text() == TEXT
    assert await bench.states() == ["canary"]
    bench.now += 3 * DAY
    await bench.look()
    assert bench.file.read_text() == TEXT.replace("load > 5", "load > 6")
    assert not canary_path(bench.file).exists()


async def test_a_shadow_that_nobody_ran_does_not_go_live(bench: Bench) -> None:
    await bench.rules.shadow(bench.change(0), seconds=3600)
    canary_path(bench.file).unlink()
    await bench.server.reload()
    await bench.look()
    assert await bench.states() == ["canary"], "it may be loaded yet"
    bench.now += DAY
    await bench.look()
    assert bench.file.read_text() == TEXT
    (shadow,) = await bench.store.revisions()
    assert (shadow.state, shadow.reason) == ("rejected", "it is not loaded, so nobody knows how it does")


async def shadow_that_did_well(bench: Bench) -> RuleRevision:
    await bench.rules.shadow(bench.change(0), seconds=3600)
    bench.now += DAY
    (shadow,) = await bench.rules.of_state("canary")
    return shadow


async def test_killed_on_its_way_live_a_shadow_goes_on(bench: Bench) -> None:
    shadow = await shadow_that_did_well(bench)
    with pytest.raises(StoreError):
        await bench.rules_with(Dying(bench.store)).promote(shadow)
    await bench.look()  # What was begun may be another process' work still.
    assert await bench.states() == ["canary", "begun"]
    bench.now += 60
    await bench.look()
    assert await bench.states() == ["superseded", "undone", "live"]
    assert bench.file.read_text() == TEXT.replace("load > 5", "load > 6")
    assert not canary_path(bench.file).exists()


async def test_killed_once_it_is_live_its_shadow_is_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = await shadow_that_did_well(bench)

    async def killed(*_: object) -> None:
        raise StoreError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(bench.rules, "end_shadow", killed)
        with pytest.raises(StoreError):
            await bench.rules.promote(shadow)
    assert canary_path(bench.file).exists()
    await bench.look()
    assert await bench.states() == ["superseded", "live"]
    assert not canary_path(bench.file).exists()


async def test_a_shadow_that_a_broken_neighbour_keeps_out_is_tried_again_in_an_hour(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shadow_that_did_well(bench)

    async def refused() -> None:
        raise PullError(PullReason.SERVER_ERROR, "a neighbour's file is broken")

    with monkeypatch.context() as patched:
        patched.setattr(bench.server, "reload", refused)
        for _ in range(3):
            await bench.look()
            bench.now += 60
    assert await bench.states() == ["canary", "undone"]
    assert bench.file.read_text() == TEXT
    bench.now += 3600
    await bench.look()
    assert await bench.states() == ["superseded", "undone", "live"]
