"""Which incident each alert is in: what waits to be placed, and what changed and is not stored yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from sidecar.records import Episode, Incident, share_texts
from sidecar.telemetry import get_logger
from webhooks.correlate.group import Merge, Split
from webhooks.correlate.sighting import Key
from webhooks.incident import bind, ended, merged
from webhooks.judge.analyst import Analyst
from webhooks.own import is_own
from webhooks.quieten.flapping import FlapWatch
from webhooks.quieten.storm import Storm
from webhooks.quieten.storms import Storms, Taken
from webhooks.quieten.transient import Transients

EPISODES_PER_PASS = 250
COMPARISONS_PER_PASS = 400
"""Of new incidents with those near: about ten milliseconds, for which nothing else is served."""

MAX_PLACED = 100_000
"""So many alerts are compared with; an endless trickle, each alert another one, must not grow for ever."""


@dataclass
class Unsaved:
    """What changed and is not stored yet."""

    incidents: set[str] = field(default_factory=set)
    members: dict[Key, Episode] = field(default_factory=dict)
    gone: dict[str, Incident] = field(default_factory=dict)
    """The last records of incidents that correlation has no more."""

    def __bool__(self) -> bool:
        return bool(self.incidents or self.members or self.gone)


class Placing:
    """Puts alerts into incidents, and storms', and keeps what is known of both."""

    def __init__(self, analyst: Analyst, storms: Storms, flaps: FlapWatch, transients: Transients) -> None:
        self.analyst = analyst
        self.storms = storms
        self.flaps = flaps
        self.transients = transients
        self.pending: dict[Key, Episode] = {}
        self.unsaved = Unsaved()
        self.known: dict[str, Incident] = {}
        """Incidents as they are stored."""
        self._being_stored: Mapping[str, Incident] = {}
        self._log = get_logger("placing")

    def take(self, episodes: Iterable[Episode], now: float) -> None:
        """Queue alerts that changed; those of a storm are placed at once."""
        episodes = list(episodes)
        try:
            taken = self.storms.take(episodes, self.analyst, now)
        except Exception:
            # The loop's edge: they are stored, and nobody would hand them on a second time.
            self._log.exception("alerts could not be taken for a storm's")
            taken = Taken(rest=episodes)
        if taken.begun:
            # What waits was among the first of the storm.
            waiting, self.pending = self.pending, {}
            self.storms.assign(waiting.values(), self.analyst, taken)
        self.unsaved.members.update((episode.key, episode) for episode in taken.joined)
        self.pending.update((episode.key, episode) for episode in taken.rest)

    def place(self, now: float) -> list[Merge | Split]:
        """Give some of what waits its incidents, merge what belongs together, split what does not; both."""
        # Taken in the order of their commits; all that wait are never sorted, a burst leaves too many.
        some = list(islice(self.pending.values(), EPISODES_PER_PASS))
        for episode in sorted(some, key=lambda e: (e.first_seen_ns, e.starts_at_ns)):
            del self.pending[episode.key]
            try:
                self._place_one(episode, now)
            except Exception:
                # The loop's edge: one odd alert must not keep the others out of their incidents.
                self._log.exception("an alert could not be placed", fingerprint=episode.fingerprint)
            if self.analyst.correlator.n_comparisons > COMPARISONS_PER_PASS:
                break
        self._calm(self.flaps.calmed(now))
        changes = self._advance(now)
        self.storms.tick(now)
        return changes

    def _advance(self, now: float) -> list[Merge | Split]:
        changes = self.analyst.correlator.advance(now)
        for change in changes:
            if isinstance(change, Merge):
                self.take_merge(change, now)
            else:
                self.take_split(change)
        return changes

    def _place_one(self, episode: Episode, now: float) -> None:
        correlator = self.analyst.correlator
        home = correlator.home.get(episode.key)
        if home is None and episode.incident_id is not None:
            # Forgotten for the want of room, and heard of again: its incident must learn of its end.
            correlator.rejoin(episode.incident_id, self.analyst.sight(episode), now=now)
            home = correlator.home.get(episode.key)
        if home is not None:
            group = correlator.refresh(episode)
            if group is not None and episode.state == "resolved":
                self._learn_end(episode)
                self.analyst.learn(group, (episode.key,))
            if episode.state == "unknown":
                self.unsaved.members[episode.key] = episode
            self.unsaved.incidents.add(home)
            return
        share_texts(episode)  # Here, and not where it is taken in: that must go on in a storm.
        flaps = not is_own(episode.labels) and self.flaps.begin(episode)
        group = correlator.add(self.analyst.sight(episode), now=now, again=flaps)
        if flaps:
            group.flapping.add((episode.tenant, episode.fingerprint))
        if episode.state == "resolved":
            self._learn_end(episode)
        bind(episode, group.incident_id, group.links.get(episode.key))
        self.unsaved.members[episode.key] = episode
        self.unsaved.incidents.add(group.incident_id)

    def _learn_end(self, episode: Episode) -> None:
        if is_own(episode.labels):
            return
        self.flaps.end(episode)
        lasted = ((episode.ends_at_ns or episode.last_seen_ns) - episode.starts_at_ns) / 1e9
        self.transients.learn(episode.tenant, episode.labels.get("alertname", ""), lasted)

    def _calm(self, keys: set[tuple[str, str]]) -> None:
        """Let incidents that only flapping held open end."""
        for group in self.analyst.correlator.groups.values() if keys else ():
            if not keys.isdisjoint(group.flapping):
                group.flapping -= keys
                self.unsaved.incidents.add(group.incident_id)

    def take_merge(self, merge: Merge, now: float) -> None:
        """Let the members' records and the incidents' follow a merge."""
        into = self.analyst.correlator.groups.get(merge.into)
        for key in merge.moved if into is not None else ():
            assert into is not None
            episode = into.members[key].episode
            bind(episode, merge.into, into.links.get(key))
            self.unsaved.members[key] = episode
        self.unsaved.incidents.discard(merge.gone)
        self.unsaved.incidents.add(merge.into)
        # One that was told of leaves a record; one that was not never was.
        before = self.known.pop(merge.gone, None) or self._being_stored.get(merge.gone)
        if before is not None:
            self.unsaved.gone[merge.gone] = merged(before, merge.into, now_ns=int(now * 1e9))
            return
        for other in self.unsaved.gone.values():
            if other.merged_into == merge.gone:
                other.merged_into = merge.into

    def take_split(self, split: Split) -> None:
        """Let the records of those that moved, and of both incidents, follow a split."""
        for incident_id in (split.out_of, split.new):
            group = self.analyst.correlator.groups[incident_id]
            for key, seen in group.members.items():
                if incident_id == split.new or (seen.episode.bonds and key not in group.links):
                    bind(seen.episode, incident_id, group.links.get(key))
                    self.unsaved.members[key] = seen.episode
        self.unsaved.incidents |= {split.out_of, split.new}

    def hand_over(self, incidents: Iterable[Incident], put_off: set[str]) -> Unsaved:
        """What is to be stored now, with the incidents that these records tell of; others are put off.

        What changes from now on is unsaved again: nobody knows whether it is stored already.
        """
        written, self.unsaved = self.unsaved, Unsaved(put_off)
        self._being_stored = {one.incident_id: one for one in incidents}
        return written

    def take_back(self, written: Unsaved, storms: Sequence[Storm]) -> None:
        """Take in that this is not stored; what came meanwhile is newer."""
        since, self._being_stored = self.unsaved, {}
        self.unsaved = Unsaved(
            written.incidents | since.incidents,
            {**written.members, **since.members},
            {**written.gone, **since.gone},
        )
        for storm in storms:
            storm.changed = True

    def stored(self, storms: Sequence[Storm], now: float) -> list[Incident]:
        """Take in that what was handed over is durable; its records, less those that went meanwhile."""
        records, self._being_stored = self._being_stored, {}
        for storm in storms:
            storm.told_at = now
        groups, known_storms = self.analyst.correlator.groups, self.storms.known
        return [one for key, one in records.items() if key in groups or key in known_storms]

    def recall(
        self,
        incidents: Iterable[Incident],
        episodes: Sequence[Episode],
        now: float,
        *,
        over: Iterable[Incident] = (),
    ) -> None:
        """Take in what was stored before a restart: open incidents, and recent episodes, oldest first.

        `over`: incidents that have ended, of which some episodes are among the recent ones.
        """
        by_incident: dict[str, list[Episode]] = {}
        for episode in episodes:
            if episode.incident_id is None:
                # Committed and not yet placed when the process died.
                self.pending[episode.key] = episode
                continue
            by_incident.setdefault(episode.incident_id, []).append(episode)
            if "storm" not in episode.bonds:
                self._recall_times(episode)
        for incident in incidents:
            self.known[incident.incident_id] = incident
            if incident.storm:
                self.storms.recall(incident, by_incident.pop(incident.incident_id, []), self.analyst)
        correlator = self.analyst.correlator
        for incident_id, members in by_incident.items():
            correlator.recall(incident_id, [self.analyst.sight(episode) for episode in members], now=now)
        remembered = [one for one in over if one.incident_id in correlator.groups]
        for incident in chain(self.known.values(), remembered):
            group = correlator.groups.get(incident.incident_id)
            if group is not None and incident.split_from is not None:
                group.split = Split(incident.split_from, incident.incident_id, (), incident.split_reason)
                group.parted.add(incident.split_from)
        self.flaps.calmed(now)
        flapping = self.flaps.flapping
        for group in correlator.groups.values():
            self.analyst.learn(group)
            group.flapping |= {key[:2] for key in group.members} & flapping
        self._find_untold(now)
        self.known.update((one.incident_id, one) for one in remembered)
        self._advance(now)

    def _find_untold(self, now: float) -> None:
        """Have incidents written anew whose alerts changed just before a restart, and they did not."""
        groups = self.analyst.correlator.groups
        for incident_id, group in groups.items():
            record = self.known.get(incident_id)
            counted = (record.n_episodes, record.n_firing) if record is not None else (0, 0)
            is_open = record is not None or bool(group.firing)
            if is_open and counted != (group.n_alerts, len(group.firing)):
                self.unsaved.incidents.add(incident_id)
        for incident_id, record in list(self.known.items()):
            if incident_id not in groups and incident_id not in self.storms.known:
                # Its alerts are stored no more, or are another incident's by now.
                del self.known[incident_id]
                self.unsaved.gone[incident_id] = ended(record, now_ns=int(now * 1e9))

    def _recall_times(self, episode: Episode) -> None:
        if not is_own(episode.labels):
            self.flaps.begin(episode)
            if episode.state == "resolved":
                self._learn_end(episode)

    @property
    def unfinished(self) -> bool:
        """Whether something waits to be placed or stored."""
        return bool(self.pending or self.unsaved or self.storms.due(1e18, every_seconds=0.0))

    def forget(self, before_ns: int) -> None:
        """Drop what is over since then."""
        for incident_id in self.storms.forget(before_ns):
            self.known.pop(incident_id, None)
        correlator = self.analyst.correlator
        # In the order of last activity; where there are too many, those leave first that are over.
        for over in (True, False):
            for incident_id, group in list(correlator.groups.items()):
                over_at = group.ended()
                crowded = len(correlator.home) > MAX_PLACED and (over_at is not None or not over)
                if crowded or (over_at is not None and over_at * 1e9 < before_ns):
                    correlator.forget(incident_id)
                    self.known.pop(incident_id, None)
                elif over:
                    correlator.retire(group, before_ns / 1e9)

    def wait_seconds(self, incident: Incident) -> float:
        """How long an incident's alerts usually take to resolve by themselves; 0 where they do not."""
        group = self.analyst.correlator.groups.get(incident.incident_id)
        if group is None or incident.storm:
            return 0.0
        return self.transients.wait_for(group.tenant, group.names)
