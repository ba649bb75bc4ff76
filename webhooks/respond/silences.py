"""Silences in Alertmanager: found before they are made, extended while their incident fires, ended with it.

Alertmanager knows no key for a request, so a repeated one would make a second
silence; and it sends no resolve for what ended under a silence. Hence each is
searched for by its author and its comment before it is made, and short ones
are extended rather than long ones made.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.config.response import SilencesConfig
from sidecar.errors import PullError
from sidecar.records import Episode, Incident
from sidecar.telemetry import get_logger
from webhooks.correlate.labels import IDENTITY_LABELS, plain
from webhooks.respond.lifecycle import ActionError

AUTHOR = "pronoia"
MAX_RULES = MAX_VALUES = 20
COME_AND_GO = (
    "replicaset",
    "container",
    "pod",
    "persistentvolumeclaim",
    "cronjob",
    "job_name",
    "target",
    "url",
    "instance",
    "device",
)
WHOSE = frozenset(IDENTITY_LABELS) - frozenset(COME_AND_GO)
"""Labels, by their plain names, that say whose an alert is, and stay as they are when pods are replaced."""

GOSSIP_SECONDS = 1.0
EXTEND_SHARE = 0.5
"""A silence is extended when less than half of its duration is left."""

Matcher = dict[str, Any]

AUTOMATIC = "alert "
"""How the owners of automatic silences begin; those of people's and acknowledgements' are incidents."""
_OWNER = re.compile(r"((?:incident|alert) [^:\s]+):")


class Alertmanager(Protocol):
    """What is asked of an Alertmanager. Every call may raise PullError."""

    async def silences(self) -> list[dict[str, Any]]:
        """Every silence, expired ones included."""
        ...

    async def put_silence(self, silence: dict[str, Any]) -> str:
        """Make or change one; its id."""
        ...

    async def expire_silence(self, silence_id: str) -> None:
        """End one."""
        ...


class SilenceMetrics:
    """What is told of silences."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter(
            "pronoia_silences_total",
            "Silences that pronoia made, found again, extended, ended or refused.",
            ["change"],
            registry=registry,
        )
        self.active = Gauge(
            "pronoia_silences_active",
            "Silences of pronoia's that were active at the last look.",
            registry=registry,
        )
        for change in ("made", "found", "extended", "ended", "refused"):
            self.changes.labels(change)


def matchers_of(incident: Incident, episodes: Iterable[Episode]) -> list[Matcher]:
    """What an incident's alerts have in common: their rules by name, and every label that all share.

    Of the labels that tell whose they are, the few values that there are as well: where all share
    their cluster alone, the same rules of all others there would be silent with them.

    Raises: ActionError where that would be too wide, or there is nothing to go by.
    """
    firing = [one for one in episodes if one.state == "firing"]
    rules = sorted({one.labels.get("alertname", "") for one in firing} - {""})
    if not rules:
        raise ActionError("has no alert that fires; there is nothing to silence")
    if len(rules) > MAX_RULES:
        raise ActionError(f"has {len(rules)} different rules; silence them one by one")
    shared = [(n, v) for n, v in sorted(incident.shared_labels.items()) if n != "alertname" and v]
    if not shared and (len(rules) > 1 or any(one.labels.keys() > {"alertname"} for one in firing)):
        raise ActionError("its alerts share no label; a silence would hide others too")
    return [
        _any_of("alertname", rules),
        *(matcher(name, value) for name, value in shared),
        *_whose(firing, {name for name, _ in shared}),
    ]


def _whose(firing: Sequence[Episode], shared: Set[str]) -> list[Matcher]:
    """Matchers for the labels of all these alerts that tell whose they are, where they have few values."""
    found = []
    for name in sorted(set.intersection(*(set(one.labels) for one in firing)) - shared):
        values = sorted({one.labels[name] for one in firing})
        if len(values) <= MAX_VALUES and "" not in values and WHOSE & plain({name: ""}).keys():
            found.append(_any_of(name, values))
    return found


def _any_of(name: str, values: Sequence[str]) -> Matcher:
    if len(values) == 1:
        return matcher(name, values[0])
    return matcher(name, "|".join(map(re.escape, values)), is_regex=True)


def in_words(matchers: Iterable[Matcher]) -> list[str]:
    """Matchers as people write them.

    >>> in_words([matcher("alertname", "Slow|Down", True), matcher("service", "db")])
    ['alertname=~"Slow|Down"', 'service="db"']
    """
    return [f'{one["name"]}={"~" if one["isRegex"] else ""}"{one["value"]}"' for one in matchers]


def matcher(name: str, value: str, is_regex: bool = False) -> Matcher:
    """One matcher as the API has it."""
    return {"name": name, "value": value, "isRegex": is_regex, "isEqual": True}


@dataclass(frozen=True, slots=True)
class Caps:
    """How long silences of one kind may last, in seconds, and how many may be active at a time."""

    duration: float
    max_total: float
    max_active: int


class Silencer:
    """Keeps the silences of one set of Alertmanagers. `clients` by address; peers of a cluster are one.

    Each silence has an owner, `incident ID` or `alert FINGERPRINT`, with which its comment begins.
    """

    def __init__(
        self,
        clients: Mapping[str, Alertmanager],
        config: SilencesConfig,
        *,
        metrics: SilenceMetrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clients = clients
        self._config = config
        self._metrics = metrics
        self._now = now
        self._one_at_a_time = asyncio.Lock()
        self._away: set[str] = set()
        """Addresses of those that did not answer when they were last asked."""
        self._log = get_logger("silences")

    async def silence(
        self, incident: Incident, episodes: Sequence[Episode], *, seconds: float, why: str
    ) -> list[str]:
        """Silence an incident's alerts for so long; ids of the silences that stand for it now.

        Raises: ActionError above the caps, PullError where no Alertmanager answers.
        """
        if not self._clients:
            raise ActionError("no Alertmanager is configured; add it under alertmanagers")
        if not 0 < seconds <= self._config.max_duration:
            longest = f"{self._config.max_duration:g} s"
            raise ActionError(f"silences last at most {longest}; see response.silences.max_duration")
        matchers = matchers_of(incident, episodes)
        return await self.ensure(
            f"incident {incident.incident_id}",
            matchers,
            seconds=seconds,
            why=why,
            max_active=self._config.max_active,
        )

    async def ensure(
        self, owner: str, matchers: list[Matcher], *, seconds: float, why: str, max_active: int
    ) -> list[str]:
        """Find an owner's silence or make it; its ids.

        Raises: ActionError with `max_active` of its kind, PullError where no Alertmanager answers.
        """
        async with self._one_at_a_time:
            return await self._everywhere(
                lambda client, held: self._ensure(client, held, owner, matchers, seconds, why, max_active)
            )

    async def extend(self, *owners: str, caps: Caps) -> None:
        """Let these owners' silences live on, up to the caps. Raises: PullError."""

        async def one(client: Alertmanager, held: list[dict[str, Any]]) -> str:
            for silence in held:
                if _owner_of(silence) in owners:
                    await self._extend(client, silence, caps)
            return ""

        async with self._one_at_a_time:
            await self._everywhere(one)

    async def owners(self, *, whole: float) -> tuple[set[str], set[str]]:
        """Who has a silence now; and whose lasted `whole` seconds and ended less than that ago.

        Raises: PullError.
        """
        active: set[str] = set()
        spent: set[str] = set()
        now = self._now()

        async def one(_: Alertmanager, held: list[dict[str, Any]]) -> str:
            for silence in held:
                starts, ends = _seconds(silence["startsAt"]), _seconds(silence["endsAt"])
                if _is_active(silence):
                    active.add(_owner_of(silence))
                # Alertmanager writes whole milliseconds.
                elif ends - starts >= whole - 1.0 and now - ends < whole:
                    spent.add(_owner_of(silence))
            return ""

        async with self._one_at_a_time:
            await self._everywhere(one, ended_too=True)
        return active - {""}, spent - {""}

    async def end(self, *owners: str) -> int:
        """End the silences of these owners; how many. Raises: PullError."""
        n_ended = 0

        async def one(client: Alertmanager, held: list[dict[str, Any]]) -> str:
            nonlocal n_ended
            for silence in held:
                if _owner_of(silence) in owners:
                    await client.expire_silence(silence["id"])
                    self._metrics.changes.labels("ended").inc()
                    n_ended += 1
            return ""

        async with self._one_at_a_time:
            await self._everywhere(one)
        return n_ended

    async def _everywhere(self, do: Callable[..., Any], *, ended_too: bool = False) -> list[str]:
        """Do something at each Alertmanager, a silence that a peer already shows counted once.

        Peers of one cluster share their silences, so what the first made is found at the second.
        """
        ids: list[str] = []
        trouble: PullError | None = None
        answered = 0
        for address, client in self._clients.items():
            if ids:
                # Peers hear of what the first has taken within a second.
                await asyncio.sleep(GOSSIP_SECONDS)
            try:
                ours = [one for one in await client.silences() if _is_ours(one)]
                held = [one for one in ours if _is_active(one)]
                self._metrics.active.set(len(held))
                made = await do(client, ours if ended_too else held)
            except PullError as error:
                if address not in self._away:
                    self._log.warning(
                        "alertmanager not reached for silences", alertmanager=address, err=str(error)
                    )
                self._away.add(address)
                trouble = error
                continue
            self._away.discard(address)
            answered += 1
            if made and made not in ids:
                ids.append(made)
        if trouble is not None and not answered:
            raise trouble
        return ids

    async def _ensure(
        self,
        client: Alertmanager,
        held: list[dict[str, Any]],
        owner: str,
        matchers: list[Matcher],
        seconds: float,
        why: str,
        max_active: int,
    ) -> str:
        for silence in held:
            if _owner_of(silence) == owner and _same(silence["matchers"], matchers):
                self._metrics.changes.labels("found").inc()
                return str(silence["id"])
        automatic = owner.startswith(AUTOMATIC)
        n_active = sum(_owner_of(one).startswith(AUTOMATIC) == automatic for one in held)
        if n_active >= max_active:
            self._metrics.changes.labels("refused").inc()
            raise ActionError(f"{n_active} silences of pronoia's are active, as many as max_active allows")
        now = self._now()
        silence_id = await client.put_silence(
            {
                "matchers": matchers,
                "startsAt": _stamp(now),
                "endsAt": _stamp(now + seconds),
                "createdBy": AUTHOR,
                "comment": f"{owner}: {why}",
            }
        )
        self._metrics.changes.labels("made").inc()
        return silence_id

    async def _extend(self, client: Alertmanager, silence: Mapping[str, Any], caps: Caps) -> None:
        now = self._now()
        starts, ends = _seconds(silence["startsAt"]), _seconds(silence["endsAt"])
        until = min(now + caps.duration, starts + caps.max_total)
        if ends - now > EXTEND_SHARE * caps.duration or until <= ends:
            return
        kept = {name: silence[name] for name in ("id", "matchers", "startsAt", "createdBy", "comment")}
        await client.put_silence({**kept, "endsAt": _stamp(until)})
        self._metrics.changes.labels("extended").inc()


def _is_ours(silence: Mapping[str, Any]) -> bool:
    return silence.get("createdBy") == AUTHOR


def _is_active(silence: Mapping[str, Any]) -> bool:
    return (silence.get("status") or {}).get("state") != "expired"


def _owner_of(silence: Mapping[str, Any]) -> str:
    found = _OWNER.match(str(silence.get("comment", "")))
    return found[1] if found else ""


def _same(some: Iterable[Mapping[str, Any]], others: Iterable[Mapping[str, Any]]) -> bool:
    def key(one: Mapping[str, Any]) -> tuple[str, str, bool, bool]:
        return (one["name"], one["value"], bool(one.get("isRegex")), bool(one.get("isEqual", True)))

    return sorted(map(key, some)) == sorted(map(key, others))


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
