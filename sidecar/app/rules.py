"""The parts of the rules loop that the configuration asks for: files by name, rewrites and their watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from exporters.rule_thresholds import RuleThresholdPage
from rules.adapt.unattended import UnattendedMetrics
from rules.adapt.watch import RewriteMetrics
from rules.incidents import KnownIncident
from rules.metrics import RuleMetrics
from sidecar.app.ground import Ground
from sidecar.app.told_changes import told_changes
from sidecar.config.model import Config

if TYPE_CHECKING:
    from rules.document import RuleFile
    from sidecar.prometheus.client import PrometheusClient


def fixed_files(config: Config) -> list[RuleFile]:
    """The files of every objective and every pack.

    Raises: RuleError where a disabled alert is none of theirs.
    """
    from rules.generate.packs import chosen_packs
    from rules.generate.slo import slo_file

    return [
        *(slo_file(slo) for slo in config.slo),
        *(pack.file() for pack in chosen_packs(config.rules.packs, config.rules.disabled_alerts)),
    ]


class RewritingMetrics:
    """What rewriting tells of itself; made once, as loops come and go with the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.watch = RewriteMetrics(registry)
        self.unattended = UnattendedMetrics(registry)


class Rewriting:
    """Rules of people's own: adapted by policy where it is set, and every rewrite watched."""

    def __init__(
        self,
        config: Config,
        ground: Ground,
        client: PrometheusClient,
        *,
        metrics: RewritingMetrics,
        rule_metrics: RuleMetrics,
        incidents: Callable[[], Awaitable[Sequence[KnownIncident]]],
    ) -> None:
        from rules.adapt.adapted import AdaptedRules
        from rules.adapt.places import place_finder
        from rules.adapt.threshold_export import ThresholdExport
        from rules.adapt.threshold_series import ThresholdSeries
        from rules.adapt.unattended import Unattended
        from rules.adapt.watch import RewriteWatch

        place_of = place_finder(config.rules)
        rules = AdaptedRules(
            client,
            ground.store,
            place_of,
            promtool=config.rules.promtool,
            verify_timeout_seconds=config.rules.verify_seconds,
            now=ground.wall,
        )

        series = ThresholdSeries(ground.store, now=ground.wall)
        self._export = ThresholdExport(series, RuleThresholdPage(ground.page))
        self._watch = RewriteWatch(
            rules,
            series,
            client,
            config.rules.adapt,
            bus=ground.bus,
            rule_metrics=rule_metrics,
            metrics=metrics.watch,
            incidents=incidents,
            now=ground.wall,
        )
        self._unattended = Unattended(
            config.rules,
            rules=rules,
            server=client,
            store=ground.store,
            place_of=place_of,
            incidents=incidents,
            bus=ground.bus,
            metrics=metrics.unattended,
            told=partial(told_changes, ground.store),
            now=ground.wall,
        )

    def start(self) -> None:
        """Start them, on the running event loop."""
        self._export.start()
        self._watch.start()
        self._unattended.start()

    async def stop(self) -> None:
        """End them."""
        await self._export.stop()
        await self._unattended.stop()
        await self._watch.stop()
