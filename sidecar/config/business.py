"""The configuration of the business around queries: hours, releases, worth, and when to look away."""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import Field, model_validator

from sidecar.config.fields import LastingSeconds, Moment
from sidecar.config.hours import Hours, Zone
from sidecar.config.section import Section
from sidecar.config.teams import Match

Calendar = Literal["peak_hours", "deployment_windows", "release_days"]
Concern = Literal["revenue", "user_experience", "operations", "security"]

CALENDARS: tuple[Calendar, ...] = ("peak_hours", "deployment_windows", "release_days")
USUAL_FACTORS: dict[Calendar, float] = {
    "peak_hours": 1.0,
    "deployment_windows": 1.5,
    "release_days": 1.5,
}
USUAL_WEIGHTS: dict[Concern, float] = {
    "revenue": 1.0,
    "user_experience": 0.8,
    "operations": 0.5,
    "security": 1.0,
}


class DeploymentsConfig(Section):
    """How Prometheus knows of deployments, such as kube-state-metrics does."""

    expr: str = Field(
        min_length=1,
        description="above 0 for what is being deployed; labels that it shares with watched series say whom "
        "it concerns",
    )
    lasts: LastingSeconds = Field(600.0, description="so long after that a deployment still counts")


class BusinessConfig(Section):
    """When the platform is busy or being changed, and what the business cares for."""

    peak_hours: tuple[Hours, ...] = ()
    deployment_windows: tuple[Hours, ...] = ()
    release_days: tuple[date, ...] = ()
    deployments: DeploymentsConfig | None = Field(
        None, description="what is being deployed has the band of a deployment window"
    )
    timezone: Zone = Field("UTC", description="in which release days begin and end")
    band_factors: dict[Calendar, float] = Field(
        default_factory=dict,
        description="by how much each calendar widens (above 1) or narrows the band; "
        "by default 1.5 in deployment windows and on release days",
    )
    weights: dict[Concern, float] = Field(
        default_factory=dict, description="what the business cares for, 0 to 1; weighs on severity"
    )

    @model_validator(mode="after")
    def _in_bounds(self) -> Self:
        check_factors(self.band_factors)
        for name, weight in self.weights.items():
            if not 0 <= weight <= 1:
                raise ValueError(f"weights.{name} is {weight:g}; write 0 to 1")
        return self


def check_factors(factors: dict[Calendar, float]) -> None:
    """Raises: ValueError for a factor that no band can have."""
    for name, factor in factors.items():
        if not 0.1 <= factor <= 10:
            raise ValueError(f"band_factors.{name} is {factor:g}; write 0.1 to 10")


class PauseConfig(Section):
    """When nothing that matches is flagged: known work, a nightly job, a test."""

    queries: tuple[str, ...] = Field((), description="names of watched queries; by default all")
    match: Match = Field(
        default_factory=dict, description="labels of the series, as regular expressions; by default all"
    )
    start: Moment | None = None
    end: Moment | None = None
    hours: Hours | None = Field(None, description="recurring, in place of start and end")
    learn: bool = Field(False, description="whether what happens meanwhile teaches what is normal")

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        once = self.start is not None and self.end is not None
        if once == (self.hours is not None) or (self.start is None) != (self.end is None):
            raise ValueError("needs either start and end, or hours")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("ends before it starts")
        return self


class TrafficConfig(Section):
    """How many events a ratio is made of: too few of them prove nothing."""

    expr: str = Field(min_length=1, description="events in the time that the ratio looks back, same labels")
    min_events: int = Field(20, ge=1, description="with fewer nothing is flagged")
