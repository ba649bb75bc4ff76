"""Rewrites of people's own rules as the commands need them: built as in the sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.model import Config

if TYPE_CHECKING:
    from rules.adapt.adapted import AdaptedRules
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.store.protocol import Store


def adapted_rules(config: Config, client: PrometheusClient, store: Store) -> AdaptedRules:
    """What rewrites and takes back, against that server and store."""
    from rules.adapt.adapted import AdaptedRules
    from rules.adapt.places import place_finder

    return AdaptedRules(
        client,
        store,
        place_finder(config.rules),
        promtool=config.rules.promtool,
        verify_timeout_seconds=config.rules.verify_seconds,
    )
