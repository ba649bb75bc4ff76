"""What the alerts loop saw of rules reaches their audit."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rules.audit.finding import Kind
from sidecar.cli.rules_told import told_findings
from sidecar.cli.stored import with_store
from sidecar.config.model import Config
from sidecar.store.sqlite import SqliteStore
from webhooks.quieten import flap_report
from webhooks.quieten.flapping import Proposal
from webhooks.respond import noise_week

FLAPS = Proposal("default", "QueueGrows", "keep_firing_for", 300.0, 12, 2, "12 starts in an hour")
BRIEF = Proposal("default", "DiskSlow", "for", 120.0, 9, 9, "8 of 9 that ended by themselves would not fire")
GONE = Proposal("default", "OfAnotherServer", "for", 60.0, 4, 1, "4 starts in an hour")


def config_in(directory: Path) -> Config:
    return Config.model_validate({"store": {"directory": str(directory)}})


def test_without_a_store_nothing_is_told_and_none_is_made(tmp_path: Path) -> None:
    assert told_findings(config_in(tmp_path), frozenset({"QueueGrows"})) == []
    assert not list(tmp_path.iterdir())


def test_both_kinds_are_findings_of_the_rules_at_hand(tmp_path: Path) -> None:
    async def fill(store: SqliteStore) -> None:
        await store.put_note(flap_report.NOTE, msgspec.json.encode([FLAPS, GONE]))
        await store.put_note(noise_week.NOTE, msgspec.json.encode(noise_week.Handed(1.0, [BRIEF])))

    config = config_in(tmp_path)
    with_store(config, fill, make=True)
    found = told_findings(config, frozenset({"QueueGrows", "DiskSlow"}))
    assert [(one.rule, one.kind, one.proposal) for one in found] == [
        ("QueueGrows", Kind.FLAPS, "keep_firing_for: 300s"),
        ("DiskSlow", Kind.BRIEF, "a longer for, by 120s"),
    ]
    assert "12 starts in an hour" in found[0].evidence
