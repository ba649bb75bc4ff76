"""The parts of the rules loop that the configuration asks for: files by name, rewrites and their watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.rule_thresholds import RuleThresholdPage
from rules.adapt.unattended import UnattendedMetrics
from rules.adapt.watch import RewriteMetrics
from sidecar.config.model import Config

if TYPE_CHECKING:
    from rules.document import RuleFile
    from sidecar.app.process import Sidecar
    from sidecar.prometheus.client import PrometheusClient


def fixed_files(config: Config) -> list[RuleFile]:
    """The files of every objective and every pack."""
    from rules.generate.packs import load_pack
    from rules.generate.slo import slo_file

    return [
        *(slo_file(slo) for slo in config.slo),
        *(load_pack(name).file() for name in config.rules.packs),
    ]


class RewritingMetrics:
    """What rewriting tells of itself; made once, as loops come and go with the configuration."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.watch = RewriteMetrics(sidecar.registry)
        self.unattended = UnattendedMetrics(sidecar.registry)


class Rewriting:
    """Rules of people's own: adapted by policy where it is set, and every rewrite watched."""

    def __init__(self, config: Config, sidecar: Sidecar, client: PrometheusClient) -> None:
        from rules.adapt.adapted import AdaptedRules
        from rules.adapt.places import place_finder
        from rules.adapt.threshold_export import ThresholdExport
        from rules.adapt.threshold_series import ThresholdSeries
        from rules.adapt.unattended import Unattended
        from rules.adapt.watch import RewriteWatch

        place_of = place_finder(config.rules)
        rules = AdaptedRules(
            client,
            sidecar.store,
            place_of,
            promtool=config.rules.promtool,
            verify_timeout_seconds=config.rules.verify_seconds,
            now=sidecar.wall,
        )

        series = ThresholdSeries(sidecar.store, now=sidecar.wall)
        self._export = ThresholdExport(series, RuleThresholdPage(sidecar.page))
        self._watch = RewriteWatch(
            rules,
            series,
            client,
            config.rules.adapt,
            bus=sidecar.bus,
            rule_metrics=sidecar.rule_metrics,
            metrics=sidecar.rewrite_metrics.watch,
            incidents=sidecar.known_incidents,
            now=sidecar.wall,
        )
        self._unattended = Unattended(
            config.rules,
            rules=rules,
            server=client,
            store=sidecar.store,
            place_of=place_of,
            incidents=sidecar.known_incidents,
            bus=sidecar.bus,
            metrics=sidecar.rewrite_metrics.unattended,
            now=sidecar.wall,
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
