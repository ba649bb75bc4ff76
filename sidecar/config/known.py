"""The configuration of what is known of the future: events with their uplift, public holidays."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sidecar.config.fields import LastingSeconds, Moment
from sidecar.config.hours import Zone
from sidecar.config.section import Section


class EventConfig(Section):
    """A release, a concert, a sale, a migration: from when, for how long, how many times the usual."""

    name: str = Field(min_length=1)
    kind: str = Field(
        "event", min_length=1, description="past events of a kind teach the uplift of later ones"
    )
    start: Moment
    duration: LastingSeconds
    uplift: float | None = Field(
        None, gt=0, description="3.5 is three and a half times the usual; by default learnt from its kind"
    )
    tolerance: float = Field(0.3, ge=0, le=5, description="by which share of itself the uplift may be wrong")
    queries: tuple[str, ...] = Field((), description="names of watched queries; by default all")
    match: dict[str, str] = Field(
        default_factory=dict, description="labels that a series must have, such as region: eu"
    )


class CalendarConfig(Section):
    """Public holidays, on which series are expected to be as on another day of the week."""

    country: str | None = Field(None, description="ISO 3166-1 code, such as DE; none: no holidays")
    subdivision: str | None = Field(None, description="such as BY, where holidays differ by state")
    time_zone: Zone = "UTC"
    holiday_like: Literal["sunday", "saturday"] = "sunday"
    queries: tuple[str, ...] = Field((), description="names of watched queries; by default all")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.country is not None:
            import holidays  # Slow to import, so only where it is wanted.

            countries = holidays.list_supported_countries()
            if self.country not in countries:
                raise ValueError(f"no holidays of {self.country!r} are known; write a code such as DE or US")
            if self.subdivision is not None and self.subdivision not in countries[self.country]:
                known = ", ".join(countries[self.country]) or "none"
                raise ValueError(f"no subdivision {self.subdivision!r} of {self.country}; known: {known}")
        elif self.subdivision is not None:
            raise ValueError("subdivision needs country; add that or leave it out")
        return self
