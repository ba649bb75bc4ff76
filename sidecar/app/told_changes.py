"""Rule changes that the alerts loop handed over through the store's notes, as the rules loop takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from webhooks.notes import NoteStore

if TYPE_CHECKING:
    from rules.adapt.told import ToldChange
    from webhooks.quieten.flapping import Proposal


async def handed_over(store: NoteStore) -> tuple[list[Proposal], list[Proposal]]:
    """Changes for rules that flap, and for rules that end by themselves. Raises: StoreError."""
    from webhooks.quieten import flap_report
    from webhooks.quieten.flapping import Proposal
    from webhooks.respond import noise_week

    flaps = msgspec.json.decode(await store.note(flap_report.NOTE) or b"[]", type=list[Proposal])
    week = msgspec.json.decode(await store.note(noise_week.NOTE) or b"{}", type=noise_week.Handed)
    return flaps, week.changes


async def told_changes(store: NoteStore) -> list[ToldChange]:
    """Both, those of rules that flap first. Raises: StoreError."""
    from rules.adapt.told import ToldChange

    flaps, brief = await handed_over(store)
    return [ToldChange(one.alertname, one.field, one.seconds, one.reason) for one in (*flaps, *brief)]
