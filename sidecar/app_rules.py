"""The parts of the rules loop that the configuration asks for: files by name, the watch over rewrites."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.config.model import Config

if TYPE_CHECKING:
    from rules.adapt.watch import RewriteMetrics, RewriteWatch
    from rules.document import RuleFile
    from rules.revise import RuleMetrics
    from sidecar.events import EventBus
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.store.sqlite import SqliteStore


def fixed_files(config: Config) -> list[RuleFile]:
    """The files of every objective and every pack."""
    from rules.generate.packs import load_pack
    from rules.generate.slo import slo_file

    return [
        *(slo_file(slo) for slo in config.slo),
        *(load_pack(name).file() for name in config.rules.packs),
    ]


def rewrite_watch(
    config: Config,
    client: PrometheusClient,
    store: SqliteStore,
    *,
    bus: EventBus,
    rule_metrics: RuleMetrics,
    metrics: RewriteMetrics,
    now: Callable[[], float],
) -> RewriteWatch:
    """The watch over rule files of people's own that were rewritten."""
    from rules.adapt.files import AdaptedFiles
    from rules.adapt.watch import RewriteWatch

    rules = config.rules
    files = AdaptedFiles(
        client,
        store,
        promtool=rules.promtool,
        reload=rules.reload,
        verify_timeout_seconds=rules.verify_seconds,
        now=now,
    )
    return RewriteWatch(
        files, client, rules.adapt, bus=bus, rule_metrics=rule_metrics, metrics=metrics, now=now
    )
