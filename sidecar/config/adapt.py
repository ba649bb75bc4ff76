"""What adaptation of existing rules aims at, and how far it may go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from sidecar.config.fields import LastingSeconds, Seconds, within_living_memory
from sidecar.config.section import Section
from sidecar.config.unattended import UnattendedConfig


def _with_zone(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


Moment = Annotated[datetime, AfterValidator(_with_zone), AfterValidator(within_living_memory)]
"""A time in ISO 8601; UTC where it names no zone."""


class FreezeWindow(Section):
    """A time in which no rule is changed."""

    start: Moment
    end: Moment
    why: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start lies after end; exchange them")
        return self


class RuleLimits(Section):
    """How low and how high one rule's threshold may be set, in the threshold's unit."""

    floor: float | None = None
    ceiling: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError("floor lies above ceiling; exchange them")
        return self


class AdaptConfig(Section):
    """The objective of adapted rules and the limits of one rewrite."""

    max_false_alarms_per_month: float = Field(
        2.0, ge=0, description="of one rule; a firing outside every known incident is a false alarm"
    )
    enough: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="where all rules together fire less by this share, each may have more false alarms, "
        "as many times more for every rule as leaves that so; not set: each keeps to its own number",
    )
    by_severity: dict[str, float] = Field(
        default_factory=lambda: {"critical": 1.0, "page": 1.0},
        description="the same for rules of a severity, where it differs",
    )
    miss_cost: dict[str, float] = Field(
        default_factory=dict,
        description="by severity: so many false alarms are as bad as a missed incident; not named: none is",
    )
    pages_per_week: dict[str, float] = Field(
        default_factory=dict,
        description="by team: so many firings of its rules a week, solved for across them",
    )
    team_label: str = Field("team", description="label of a rule that names its team")
    grouping: bool = Field(
        False, description="series of a rule that fire together may become one alert by the labels they share"
    )
    tables: bool = Field(
        True,
        description="a threshold may become a table by hour of day or week",
    )
    lines: bool = Field(True, description="a threshold may become a line through time")
    max_step: float = Field(4.0, gt=0, description="one rewrite moves a threshold by so many times its size")
    limits: dict[str, RuleLimits] = Field(default_factory=dict, description="by name of the alert")
    cool_down: Seconds = Field(7 * 86400.0, description="least time between two rewrites of a rule")
    min_history: LastingSeconds = Field(7 * 86400.0, description="less than this is too thin")
    freeze: tuple[FreezeWindow, ...] = ()
    unattended: UnattendedConfig = UnattendedConfig()
    canary: Seconds = Field(
        0.0, description="how long a rewrite is a shadow first, under the label pronoia_canary; 0: not at all"
    )
    max_firing_ratio: float = Field(
        3.0, ge=1, description="a rewrite that fires so many times more than its back-test is taken back"
    )

    def false_alarms(self, severity: str) -> float:
        """How many false alarms in 30 days are accepted of a rule of that severity."""
        return self.by_severity.get(severity, self.max_false_alarms_per_month)
