"""Alerts that fire before others do."""

from __future__ import annotations

from pydantic import Field

from sidecar.config.fields import LastingSeconds, Seconds
from sidecar.config.section import Section


class AheadConfig(Section):
    """Warnings of the time until the thresholds of existing alert rules, tried on the past and published."""

    enabled: bool = False
    every: LastingSeconds = Field(86_400.0, description="how often they are tried anew")
    history: LastingSeconds = Field(
        14 * 86_400.0, ge=2 * 86_400.0, description="two days or more; the earlier half is learned from"
    )
    warn: LastingSeconds = Field(4 * 3600.0, description="how long ahead")
    rule_for: Seconds = Field(600.0, description="how long a crossing must be expected")
    max_series: int = Field(5, ge=1, description="series of each rule that are tried, the nearest first")
    min_precision: float = Field(
        0.5, ge=0, le=1, description="a warning that was right less often is not published"
    )
    severity: str = "warning"
