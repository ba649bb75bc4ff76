"""Which alerts belong to a storm: begins one when far more come than usual, and ends it on decay."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from sidecar.records import Episode, Incident
from sidecar.telemetry import get_logger
from webhooks.correlate.group import Group
from webhooks.intake.fold import STORM_BONDS, Memory
from webhooks.judge.analyst import Analyst
from webhooks.own import is_own
from webhooks.quieten.rate import RateWatch
from webhooks.quieten.storm import Storm


@dataclass
class Taken:
    """What became of changed alerts: of a storm already or not, joined one now, and whether one began."""

    rest: list[Episode] = field(default_factory=list)
    joined: list[Episode] = field(default_factory=list)
    begun: bool = False


class Storms:
    """Watches every tenant's rate, and gathers what comes while there is a storm.

    While one rages, new alerts are born into its incident (`Memory.birthplace`), so that they are
    assigned when they are stored, at no further cost.
    """

    def __init__(self, memory: Memory, *, at_least: float, factor: float) -> None:
        self._memory = memory
        self._at_least = at_least
        self._factor = factor
        self._log = get_logger("storms")
        self.rates: dict[str, RateWatch] = {}
        self.raging: dict[str, Storm] = {}
        """By tenant: the storm that takes what is new."""
        self.known: dict[str, Storm] = {}
        """By incident: also those whose alerts still fire."""

    def take(self, episodes: Iterable[Episode], analyst: Analyst, now: float) -> Taken:
        """Count what is new of changed alerts, and give storms what is theirs."""
        episodes = list(episodes)
        taken = Taken()
        new: Counter[str] = Counter()
        for one in episodes:
            if one.deliveries == 1 and not is_own(one.labels):
                new[one.tenant] += 1
        for tenant, n_new in new.items():
            taken.begun |= self._feel(tenant, n_new, now)
        self.assign(episodes, analyst, taken)
        return taken

    def assign(self, episodes: Iterable[Episode], analyst: Analyst, taken: Taken) -> None:
        """Give storms what is theirs, without counting it."""
        for episode in episodes:
            known = self.known.get(episode.incident_id or "")
            storm = known or self._to_join(episode)
            if storm is None:
                taken.rest.append(episode)
                continue
            if known is None:
                episode.incident_id, episode.bonds = storm.incident_id, STORM_BONDS
                taken.joined.append(episode)
            storm.see(episode, analyst)

    def tick(self, now: float) -> None:
        """Let time pass: storms end when nothing comes."""
        for tenant in list(self.raging):
            self._feel(tenant, 0, now)

    def _to_join(self, episode: Episode) -> Storm | None:
        if episode.incident_id is not None or is_own(episode.labels):
            return None
        return self.raging.get(episode.tenant)

    def _feel(self, tenant: str, n_new: int, now: float) -> bool:
        """Count new alerts of a tenant; whether a storm begins with them."""
        rate = self.rate(tenant)
        rate.count(n_new, now)
        if rate.storming == (tenant in self.raging):
            return False
        if not rate.storming:
            del self.raging[tenant], self._memory.birthplace[tenant]
            self._log.info("storm is over", tenant=tenant)
            return False
        storm = Storm(Group(f"inc-{uuid.uuid4().hex[:12]}", tenant, "", 0.0, first=now), began=now)
        self.raging[tenant] = self.known[storm.incident_id] = storm
        self._memory.birthplace[tenant] = storm.incident_id
        self._log.warning("storm of alerts", tenant=tenant, n_in_minute=rate.rate, usual=round(rate.high))
        return True

    def rate(self, tenant: str) -> RateWatch:
        """The watch over a tenant's rate."""
        watch = self.rates.get(tenant)
        if watch is None:
            watch = self.rates[tenant] = RateWatch(self._at_least, self._factor)
        return watch

    def due(self, now: float, *, every_seconds: float) -> list[Storm]:
        """Storms with news that were not told of a moment ago."""
        return [
            storm
            for storm in self.known.values()
            # Either way: the clock may have been set back since.
            if storm.changed and storm.n_episodes and abs(now - storm.told_at) >= every_seconds
        ]

    def learned(self) -> dict[str, tuple[float, int]]:
        """What is known of usual rates, as plain data."""
        return {tenant: (rate.high, rate.n_minutes) for tenant, rate in self.rates.items()}

    def relearn(self, learned: Mapping[str, tuple[float, int]]) -> None:
        """Take in what `learned` gave before a restart."""
        for tenant, (high, n_minutes) in learned.items():
            rate = self.rate(tenant)
            rate.high, rate.n_minutes = float(high), int(n_minutes)

    def recall(self, incident: Incident, members: Iterable[Episode], analyst: Analyst) -> None:
        """Take in a storm of before a restart: its counts begin anew with the alerts that are remembered."""
        began = incident.started_at_ns / 1e9
        storm = Storm(Group(incident.incident_id, incident.tenant, "", 0.0, first=began), began=began)
        for episode in members:
            storm.see(msgspec.structs.replace(episode, deliveries=1), analyst)
        storm.n_episodes = max(storm.n_episodes, incident.n_episodes)
        self.known[incident.incident_id] = storm

    def forget(self, before_ns: int) -> list[str]:
        """Drop storms that are over for long; their incidents."""
        gone = []
        for incident_id, storm in list(self.known.items()):
            rages = self.raging.get(storm.group.tenant) is storm
            if not rages and not storm.firing and storm.last_end_ns < before_ns:
                del self.known[incident_id]
                gone.append(incident_id)
        return gone
