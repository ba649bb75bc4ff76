"""What an incident means for the business: it makes urgency more, never less.

What is known of services comes from the configuration, how many users they have and which
thresholds come near from metrics; whoever reads those writes them here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Set
from typing import TYPE_CHECKING

from webhooks.correlate.sighting import Key, Sighting
from webhooks.judge.priority import Urgency, named

if TYPE_CHECKING:
    # `pronoia correlate` has none, and starts in a tenth of the time without the packages behind it.
    from sidecar.config.impact import ImpactConfig, ServiceWorth

MONTH_SECONDS = 30 * 86400.0
TOLD_OF_SLA = 0.01
"""Less of a month's allowance is not worth a word."""


class Impact:
    """Weighs urgencies by what the services that are hit are worth."""

    def __init__(self, config: ImpactConfig | None = None) -> None:
        self._config = config
        self._services: dict[str, ServiceWorth] = {}
        if config is not None:
            self._services = {one.name.lower(): one for one in config.services}
        self.criticality = {
            name: one.criticality for name, one in self._services.items() if one.criticality is not None
        }
        self.users: dict[str, float] = {}
        """Of services, at the moment."""
        self.etas: dict[str, dict[str, float]] = {}
        """Of entities whose metrics come near thresholds: of which rules, in how many seconds."""
        self.is_peak = False

    @property
    def queries(self) -> dict[str, str]:
        """PromQL for the users of each service that has one."""
        return {name: one.users for name, one in self._services.items() if one.users is not None}

    def concerns(self, entities: Collection[str]) -> bool:
        """Whether anything is known of one of these."""
        return any(name in self._services or name in self.etas for name in entities)

    def weigh(
        self, urgency: Urgency, sightings: list[Sighting], *, now: float, passed: Set[Key] = frozenset()
    ) -> Urgency:
        """The urgency with what it means for the business, and why; that of noise stays.

        `sightings`: those that are not noise; `passed`: see `priority.judge`. `now`: seconds since the epoch.
        """
        config, hit = self._config, {seen.entity for seen in sightings}
        if config is None or urgency.priority == "P4" or not self.concerns(hit):
            return urgency
        failing = [seen for seen in sightings if seen.wording.hard and seen.key not in passed]
        firing = any(seen.ended is None for seen in sightings)
        level, reasons = int(urgency.priority[1]), list(urgency.reasons)
        if self._fails(failing, now, config, reasons):
            level = min(level, 1)
        if firing and level > 1 and config.raise_in_peak_hours and self._matters_now(hit):
            level -= 1
            reasons.append("it is a peak hour, and the business needs what is hit")
        seconds, rule = self._next(sightings, hit)
        if firing and seconds <= config.urgent_within:
            level = min(level, 2)
            reasons.append(f"{rule} is forecast to be crossed in {seconds / 60.0:.0f} min")
        return Urgency(f"P{level}", urgency.category, tuple(reasons))

    def _fails(self, failing: list[Sighting], now: float, config: ImpactConfig, reasons: list[str]) -> bool:
        """Whether what fails is worth a page, with the figures as reasons."""
        names = {seen.entity for seen in failing} & self._services.keys()
        revenue = sum(self._services[name].revenue_per_hour for name in names)
        if revenue:
            reasons.append(f"{revenue:,.0f} an hour are earned by {named(names)}")
        users = sum(self.users.get(name, 0.0) for name in names)
        if users:
            reasons.append(f"{users:,.0f} users are affected")
        spent = max((self._spent(name, failing, now, reasons) for name in sorted(names)), default=0.0)
        return (
            (config.page_revenue_per_hour is not None and revenue >= config.page_revenue_per_hour)
            or (config.page_users is not None and users >= config.page_users)
            or spent >= config.page_sla_spent
        )

    def _spent(self, name: str, failing: list[Sighting], now: float, reasons: list[str]) -> float:
        """What share of its monthly allowance a service has spent on this incident, from 0."""
        sla = self._services[name].sla
        if sla is None:
            return 0.0
        own = [seen for seen in failing if seen.entity == name]
        over = max(now if seen.ended is None else seen.ended for seen in own)
        spent = max(over - min(seen.onset for seen in own), 0.0) / (MONTH_SECONDS * (1.0 - sla))
        if spent >= TOLD_OF_SLA:
            reasons.append(f"{name} has spent {spent:.0%} of what its {sla:.3%} allow in 30 days")
        return spent

    def _next(self, sightings: list[Sighting], hit: Set[str]) -> tuple[float, str]:
        """In how many seconds the next rule will fire for what is hit, and which; what fires is not next."""
        fired = {(seen.entity, seen.name) for seen in sightings}
        coming = (
            (seconds, rule)
            for entity in hit
            for rule, seconds in self.etas.get(entity, {}).items()
            if (entity, rule) not in fired
        )
        return min(coming, default=(math.inf, ""))

    def _matters_now(self, hit: Set[str]) -> bool:
        known = [self._services[name] for name in hit if name in self._services]
        return self.is_peak and any(one.criticality == 1 or one.revenue_per_hour for one in known)
