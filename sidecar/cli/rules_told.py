"""Rule changes that the alerts loop proposes, of flapping and of noise, as findings of an audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sidecar.config.model import Config
from sidecar.store.connection import FILE

if TYPE_CHECKING:
    from rules.audit.finding import Finding
    from sidecar.store.sqlite import SqliteStore


def told_findings(config: Config, names: frozenset[str]) -> list[Finding]:
    """What the store of that configuration holds about rules of these names; nothing where there is none."""
    if not (config.store.directory / FILE).exists():
        return []
    from rules.audit.finding import Finding, Kind
    from sidecar.cli.stored import with_store
    from webhooks.quieten import flap_report
    from webhooks.quieten.flapping import Proposal
    from webhooks.respond import noise_week

    async def read(store: SqliteStore) -> tuple[bytes | None, bytes | None]:
        return await store.note(flap_report.NOTE), await store.note(noise_week.NOTE)

    flaps, noise = with_store(config, read)
    told = [(Kind.FLAPS, one) for one in msgspec.json.decode(flaps or b"[]", type=list[Proposal])]
    handed = msgspec.json.decode(noise or b"{}", type=noise_week.Handed)
    told += [(Kind.BRIEF, one) for one in handed.changes]
    return [
        Finding(
            one.alertname,
            kind,
            f"as the alerts loop saw it: {one.reason}",
            f"{'a longer for, by' if kind is Kind.BRIEF else one.field + ':'} {one.seconds:g}s",
            float(one.n_starts),
        )
        for kind, one in told
        if one.alertname in names
    ]
