"""What services are worth, so that incidents of those that matter more are more urgent."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from sidecar.config.fields import Seconds
from sidecar.config.section import Section
from sidecar.promql.nesting import parse as parse_promql


class ServiceWorth(Section):
    """What one service is worth to the business."""

    name: str = Field(min_length=1, description="as alerts' labels or the topology name it")
    criticality: int | None = Field(
        None, ge=1, le=3, description="1 is what users see first; goes before the topology's tier"
    )
    revenue_per_hour: float = Field(0.0, ge=0, description="what an hour of it earns, in your currency")
    users: str | None = Field(None, description="PromQL: how many users it has, or fails, at the moment")
    sla: float | None = Field(
        None, gt=0, lt=1, description="share of time that it is promised to work: 0.999"
    )

    @field_validator("users")
    @classmethod
    def _is_promql(cls, users: str | None) -> str | None:
        if users is not None:
            try:
                parse_promql(users)
            except ValueError as error:
                raise ValueError(f"is not PromQL: {' '.join(str(error).split())}") from error
        return users


class ImpactConfig(Section):
    """What services are worth, and how much of it makes an incident a page."""

    services: tuple[ServiceWorth, ...] = ()
    page_revenue_per_hour: float | None = Field(
        None, gt=0, description="what fails and earns so much an hour together is P1 at least"
    )
    page_users: float | None = Field(None, gt=0, description="what fails so many users is P1 at least")
    page_sla_spent: float = Field(
        0.25, gt=0, le=1, description="an incident that spends so much of a month's allowance is P1 at least"
    )
    raise_in_peak_hours: bool = Field(
        False,
        description="in `business.peak_hours` an incident of a service with criticality 1, or that earns, is "
        "one level more urgent, P1 at most",
    )
    urgent_within: Seconds = Field(
        900.0,
        description="a P3 of what is forecast to cross a rule's threshold so soon is P2; 0 is never",
    )

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [one.name.lower() for one in self.services]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the service {name!r} is named twice; names must be unique")
        return self
