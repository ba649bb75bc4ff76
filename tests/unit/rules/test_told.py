"""What the alerts loop asks for becomes a proposal, tried on the rule's past; a person lets it go."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rules.adapt.history import Adapted, Adapter
from rules.adapt.plan import argument
from rules.adapt.told import ToldChange
from rules.backtest.past import BackTester, Window
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.app.told_changes import told_changes
from sidecar.config.adapt import AdaptConfig
from sidecar.config.model import StoreConfig
from sidecar.series import LabelSet, SeriesBatch
from sidecar.store.sqlite import SqliteStore
from webhooks.quieten import flap_report
from webhooks.quieten.flapping import Proposal
from webhooks.respond import noise_week

MINUTE = 60_000
WINDOW = Window(0, 10 * 1440 * MINUTE, MINUTE)
FLAPS = ToldChange("QueueGrows", "keep_firing_for", 300.0, "12 starts in an hour")


class Flapping:
    """A queue that goes over 12 for a minute, then rests for three, five times on one day."""

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        values = np.full((1, times.size), 10.0)
        values[0, 5000:5020:4] = 13.0
        return SeriesBatch(name, (LabelSet({"queue": "a"}),), times, values)

    instant = None


async def adapted(change: ToldChange, *incidents: KnownIncident, knows: bool = True) -> Adapted:
    rule = WrittenRule("QueueGrows", "depth > 12", "alerting", "g")
    generous = AdaptConfig(max_false_alarms_per_month=100)
    adapter = Adapter(BackTester(Flapping()), generous, knows_keep_firing=knows)  # type: ignore[arg-type]
    (found,) = await adapter.all([rule], WINDOW, incidents, told=[change])
    return found


async def test_a_rule_that_its_own_past_leaves_alone_is_rewritten_as_the_alerts_loop_asks() -> None:
    found = await adapted(FLAPS)
    assert found.changes == ("keep_firing_for 0s → 5m",)
    assert (found.written.keep_firing_seconds, found.written.expr) == (300.0, "depth > 12")
    assert found.outcome.before is not None
    assert found.outcome.before.n_firings == 5
    assert found.outcome.after.n_firings == 1  # type: ignore[union-attr]
    assert "the alerts loop asked for it: 12 starts in an hour" in argument(found)


INCIDENT = KnownIncident("outage", 5008 * MINUTE, 5011 * MINUTE)


@pytest.mark.parametrize(
    ("change", "incidents", "knows", "words"),
    [
        pytest.param(FLAPS, (), False, "has no keep_firing_for", id="an old Prometheus"),
        pytest.param(FLAPS, (INCIDENT,), True, "would have missed outage", id="an incident would be lost"),
        pytest.param(
            ToldChange("QueueGrows", "keep_firing_for", 60.0, ""),
            (),
            True,
            "would have changed nothing",
            id="too short",
        ),
        pytest.param(ToldChange("Other", "for", 60.0, ""), (), True, "within the budget", id="another rule"),
    ],
)
async def test_what_speaks_against_it_is_said(
    change: ToldChange, incidents: tuple[KnownIncident, ...], knows: bool, words: str
) -> None:
    found = await adapted(change, *incidents, knows=knows)
    assert not found.changed
    assert words in found.why_not


async def test_both_notes_of_the_store_are_taken(tmp_path: Path) -> None:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    assert await told_changes(store) == []
    flaps = Proposal("default", "QueueGrows", "keep_firing_for", 300.0, 12, 2, "12 starts in an hour")
    brief = Proposal("default", "DiskSlow", "for", 120.0, 9, 9, "8 of 9 would not fire")
    await store.put_note(flap_report.NOTE, msgspec.json.encode([flaps]))
    await store.put_note(noise_week.NOTE, msgspec.json.encode(noise_week.Handed(1.0, [brief])))
    assert await told_changes(store) == [
        FLAPS,
        ToldChange("DiskSlow", "for", 120.0, "8 of 9 would not fire"),
    ]
    await store.close()
