"""Rule changes that the alerts loop proposes, of flapping and of noise, as findings of an audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.model import Config
from sidecar.store.connection import FILE

if TYPE_CHECKING:
    from rules.audit.finding import Finding


def told_findings(config: Config, names: frozenset[str]) -> list[Finding]:
    """What the store of that configuration holds about rules of these names; nothing where there is none."""
    if not (config.store.directory / FILE).exists():
        return []
    from rules.audit.finding import Finding, Kind
    from sidecar.app.told_changes import handed_over
    from sidecar.cli.stored import with_store

    flaps, brief = with_store(config, handed_over)
    told = [*((Kind.FLAPS, one) for one in flaps), *((Kind.BRIEF, one) for one in brief)]
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
