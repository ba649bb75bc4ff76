"""On which terms a server gives raw samples, so that they can be read as its queries would read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sidecar.config.fields import parse_duration


@dataclass(frozen=True, slots=True)
class RawTerms:
    """`external`: the labels that remote read adds to every series and queries do not show.

    `lookback_ms`: the greatest age at which an instant query still sees a sample.
    """

    external: Mapping[str, str]
    lookback_ms: int

    def allow(self, matchers: Iterable[tuple[str, str, str]]) -> bool:
        """False where a matcher names an external label: remote read matches that label, queries do not."""
        return not any(name in self.external for name, _, _ in matchers)


def raw_terms(config: str, flags: Mapping[str, str], version: str) -> RawTerms | None:
    """The terms told by a server's configuration (YAML), flags and version; None for what is no Prometheus.

    Up to version 2 a sample of exactly the lookback's age is seen, from version 3
    on it is not (prometheus/prometheus 3.0 migration guide, "left-open").
    """
    try:
        settings: Any = yaml.safe_load(config)
        external = (settings.get("global") or {}).get("external_labels") or {}
        lookback_ms = round(parse_duration(flags.get("query.lookback-delta", "5m")) * 1000)
    except (yaml.YAMLError, AttributeError, ValueError):
        return None
    if not settings.keys() & {"global", "scrape_configs"}:
        return None
    major = version.removeprefix("v").partition(".")[0]
    if major.isdigit() and int(major) >= 3:
        lookback_ms -= 1
    return RawTerms({str(name): str(value) for name, value in external.items()}, lookback_ms)
