"""The configuration of what forecasts are used for."""

from __future__ import annotations

from pydantic import Field, field_validator

from sidecar.config.capacity import CAPACITIES, CapacityConfig
from sidecar.config.fields import LastingSeconds
from sidecar.config.section import Section

MAX_HORIZON_SECONDS = 30 * 86400.0


class ThresholdsConfig(Section):
    """Warnings before a rule fires: the thresholds of existing alert rules, and when they will be crossed."""

    enabled: bool = True
    interval: LastingSeconds = Field(300.0, description="how often it is forecast; also the step of history")
    history: LastingSeconds = 14 * 86400.0
    horizon: LastingSeconds = Field(
        7 * 86400.0, le=MAX_HORIZON_SECONDS, description="how far ahead, 30d at most"
    )
    probabilities: tuple[float, ...] = Field(
        (0.5, 0.9), description="how likely the crossing is; one time for each"
    )
    max_rules: int = Field(50, ge=1, description="expressions that are read; those of further rules are not")
    max_series_per_rule: int = Field(
        50, ge=1, description="a rule whose expression answers with more series is left out"
    )

    capacities: tuple[CapacityConfig, ...] = Field(
        CAPACITIES, description="what can be used up, with or without an alert rule; by default the usual"
    )
    max_series_per_capacity: int = Field(
        500, ge=1, description="a capacity whose expression answers with more series is left out"
    )

    @field_validator("probabilities")
    @classmethod
    def _between(cls, probabilities: tuple[float, ...]) -> tuple[float, ...]:
        for probability in probabilities:
            if not 0.0 < probability < 1.0:
                raise ValueError(f"{probability:g} is no probability; write numbers between 0 and 1")
        return probabilities


class RiskConfig(Section):
    """How likely an incident starts on each service soon; silent until enough was stored to learn from."""

    enabled: bool = True
    interval: LastingSeconds = Field(300.0, description="how often it is predicted anew")


class ForecastConfig(Section):
    """What forecasts are used for beside being exported."""

    thresholds: ThresholdsConfig = ThresholdsConfig()
    risk: RiskConfig = RiskConfig()
