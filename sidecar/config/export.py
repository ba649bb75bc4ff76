"""What the scrape page shows: how much, and under whose metric names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sidecar.config.fields import LabelName
from sidecar.config.section import Section

MetricFormat = Literal["pronoia", "vmanomaly", "promql_anomaly_detection"]


class ExportConfig(Section):
    """What leaves as metrics."""

    max_series: int = Field(
        400_000, ge=0, description="exported series in all; the rest is dropped and counted"
    )
    metric_format: MetricFormat | tuple[MetricFormat, ...] = Field(
        "pronoia",
        description="names and labels of the synthetic series; a list shows each series in several formats",
    )
    extra_labels: dict[LabelName, str] = Field(
        default_factory=dict,
        description="added to the series of other products' formats, such as preset: node-exporter",
    )

    @field_validator("metric_format")
    @classmethod
    def _each_once(cls, formats: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not formats or (not isinstance(formats, str) and len(set(formats)) < len(formats)):
            raise ValueError("name at least one format, and each once")
        return formats

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats, one or several."""
        return (self.metric_format,) if isinstance(self.metric_format, str) else self.metric_format
