"""Which alerts flap, with hysteresis, and which change of their rule would end it.

Every start of an alert counts one, fading with a half-life; above `ENTER` it flaps, until
that has faded below `LEAVE`. Short flaps never reach a webhook, so what Prometheus' own
history shows counts as well.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.records import DEFAULT_TENANT, AlertEvent, Episode

HALF_LIFE_SECONDS = 1800.0
ENTER, LEAVE = 3.0, 1.0
"""Four starts within half an hour or so; calm is an hour without one."""

HISTORY_SECONDS = 3600.0
HISTORY_WEIGHT = (1.0 - 0.5 ** (HISTORY_SECONDS / HALF_LIFE_SECONDS)) / (
    math.log(2.0) * HISTORY_SECONDS / HALF_LIFE_SECONDS
)
"""What a start at some time within the history's hour counts on average."""

MAX_KNOWN = 50_000
KEPT_SECONDS = 86400.0
"""As long as alerts that are over are remembered. Alerts that never come again would pile up for weeks."""
REMEMBERED = 16
MOST = 0.9
LEAST_TIMES = 3
MAX_CHANGE_SECONDS = 3600.0

Key = tuple[str, str]


@dataclass(slots=True)
class _Record:
    alertname: str
    score: float = 0.0
    at: float = 0.0
    flapping: bool = False
    n_starts: int = 0
    heard: bool = False
    """Whether somebody told of it; else only Prometheus' history shows it."""
    begun: float = -1.0
    ended: float | None = None
    lasted: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def fade(self, now: float) -> None:
        self.score *= 0.5 ** (max(now - self.at, 0.0) / HALF_LIFE_SECONDS)
        self.at = max(self.at, now)
        self.flapping = self.score >= (LEAVE if self.flapping else ENTER)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of one rule that would end its flapping: for the rules loop to test and publish."""

    tenant: str
    alertname: str
    field: str  # for | keep_firing_for
    seconds: float
    n_starts: int
    n_alerts: int
    reason: str


class Heard:
    """Which tenants were told of alerts: each as tenant, fingerprint and rule.

    >>> heard = Heard([("shop", "f1", "Down"), ("bank", "f2", "Slow")])
    >>> heard.tenants("f1", "Down"), heard.tenants("f9", "Slow"), heard.tenants("f9", "Other")
    (['shop'], ['bank'], ['default'])
    """

    def __init__(self, alerts: Iterable[tuple[str, str, str]]) -> None:
        self._of_alert: defaultdict[str, set[str]] = defaultdict(set)
        self._of_rule: defaultdict[str, set[str]] = defaultdict(set)
        self._all: set[str] = set()
        for tenant, fingerprint, rule in alerts:
            self._of_alert[fingerprint].add(tenant)
            self._of_rule[rule].add(tenant)
            self._all.add(tenant)

    def tenants(self, fingerprint: str, rule: str) -> list[str]:
        """Whose an alert of Prometheus' is, which names no tenant.

        Who was told of it, else of its rule; else the only one that was told of anything.
        """
        only = self._all if len(self._all) == 1 else {DEFAULT_TENANT}
        return sorted(self._of_alert.get(fingerprint) or self._of_rule.get(rule) or only)


class FlapWatch:
    """Follows the starts and ends of every alert. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._records: OrderedDict[Key, _Record] = OrderedDict()
        """In the order of last activity."""
        self.flapping: set[Key] = set()
        """Tenant and fingerprint of what flaps."""

    def begin(self, episode: Episode) -> bool:
        """Take a start; whether the alert flaps now."""
        at = began(episode)
        record = self._record(episode, at)
        if record.ended is not None:
            _remember(record.pauses, at - record.ended)
            record.ended = None
        if at > record.begun:
            self._start(record, at)
        return self._note(episode.tenant, episode.fingerprint, record)

    def count(self, tenant: str, event: AlertEvent, *, now: float) -> None:
        """Take a start that may never become an episode: Alertmanager saw it, and told nobody yet."""
        at = min(event.starts_at_ns / 1e9, now)
        record = self._known(tenant, event.fingerprint, event.labels.get("alertname", ""), at)
        record.heard = True
        if at > record.begun:
            self._start(record, at)
            self._note(tenant, event.fingerprint, record)

    def end(self, episode: Episode) -> None:
        """Take an end."""
        at = min(episode.ends_at_ns or episode.last_seen_ns, episode.last_seen_ns) / 1e9
        record = self._record(episode, at)
        if record.ended is None:
            _remember(record.lasted, at - began(episode))
        record.ended = at

    def observe(
        self, tenant: str, labels: Mapping[str, str], fingerprint: str, n_starts: int, *, now: float
    ) -> None:
        """Take what Prometheus' history of the last hour shows of an alert, webhooks or not."""
        record = self._known(tenant, fingerprint, labels.get("alertname", ""), now)
        record.fade(now)
        record.score = max(record.score, n_starts * HISTORY_WEIGHT)
        record.n_starts = max(record.n_starts, n_starts)
        record.fade(now)
        self._note(tenant, fingerprint, record)

    def heard(self) -> Heard:
        """Who was told of which alerts so far."""
        return Heard(
            (tenant, fingerprint, record.alertname)
            for (tenant, fingerprint), record in self._records.items()
            if record.heard
        )

    def take_times(
        self, tenant: str, fingerprint: str, lasted: Iterable[float], pauses: Iterable[float]
    ) -> None:
        """Take how long an alert fired and paused by the history, where too little was heard of it."""
        record = self._records.get((tenant, fingerprint))
        if record is not None and len(record.lasted) < LEAST_TIMES:
            record.lasted = list(lasted)[-REMEMBERED:]
            record.pauses = list(pauses)[-REMEMBERED:]

    def calmed(self, now: float) -> set[Key]:
        """Let time pass: alerts that flapped until now."""
        calm = set()
        for key in self.flapping:
            record = self._records.get(key)
            if record is not None:
                record.fade(now)
            if record is None or not record.flapping:
                calm.add(key)
        self.flapping -= calm
        self._forget(now - KEPT_SECONDS)
        return calm

    def _forget(self, before: float) -> None:
        """Drop what has neither started nor ended since then."""
        while self._records and next(iter(self._records.values())).at < before:
            self._records.popitem(last=False)

    def proposals(self) -> list[Proposal]:
        """For each rule that flaps, the change that would have merged or hidden most of its flaps."""
        rules: defaultdict[tuple[str, str], list[_Record]] = defaultdict(list)
        for key in self.flapping & self._records.keys():
            record = self._records[key]
            rules[key[0], record.alertname].append(record)
        found = [_propose(tenant, name, records) for (tenant, name), records in sorted(rules.items())]
        return [one for one in found if one is not None]

    def _start(self, record: _Record, at: float) -> None:
        record.fade(at)
        record.begun = at
        record.n_starts += 1
        record.score += 1.0
        record.fade(at)

    def _note(self, tenant: str, fingerprint: str, record: _Record) -> bool:
        if record.flapping:
            self.flapping.add((tenant, fingerprint))
        return record.flapping

    def _record(self, episode: Episode, at: float) -> _Record:
        name = episode.labels.get("alertname", "")
        record = self._known(episode.tenant, episode.fingerprint, name, at)
        record.heard = True
        return record

    def _known(self, tenant: str, fingerprint: str, alertname: str, at: float) -> _Record:
        key = (tenant, fingerprint)
        record = self._records.get(key)
        if record is not None:
            self._records.move_to_end(key)
            return record
        record = self._records[key] = _Record(alertname, at=at)
        if len(self._records) > MAX_KNOWN:
            self._records.popitem(last=False)
        return record


def began(episode: Episode) -> float:
    """When an alert started, in seconds. A clock ahead of ours is not believed: it would flap until then."""
    return min(episode.starts_at_ns, episode.first_seen_ns) / 1e9


def _remember(known: list[float], seconds: float) -> None:
    known.append(max(seconds, 0.0))
    del known[:-REMEMBERED]


def _propose(tenant: str, alertname: str, records: list[_Record]) -> Proposal | None:
    lasted = sorted(seconds for record in records for seconds in record.lasted)
    pauses = sorted(seconds for record in records for seconds in record.pauses)
    n_starts = sum(record.n_starts for record in records)
    known = f"{len(records)} of its alerts flap, {n_starts} starts"
    hide, bridge = _most(lasted), _most(pauses)
    # Bridging pauses delays nothing; hiding what is short delays the first alert as well.
    if bridge is not None and bridge <= MAX_CHANGE_SECONDS and (hide is None or bridge <= 2.0 * hide):
        reason = f"{known}; {MOST:.0%} of its pauses last {bridge:.0f} s or less"
        return Proposal(tenant, alertname, "keep_firing_for", _up(bridge), n_starts, len(records), reason)
    if hide is not None and hide <= MAX_CHANGE_SECONDS:
        reason = f"{known}; {MOST:.0%} of them fire {hide:.0f} s or less"
        return Proposal(tenant, alertname, "for", _up(hide), n_starts, len(records), reason)
    return None


def _most(values: list[float]) -> float | None:
    return values[min(int(MOST * len(values)), len(values) - 1)] if len(values) >= LEAST_TIMES else None


def _up(seconds: float) -> float:
    """To the next half minute, as people write durations."""
    return 30.0 * math.ceil((seconds + 1.0) / 30.0)
