"""Silences that pronoia makes by itself: of single alerts that flap, or that repeat another one that fires.

Only where it is told to. Each names one alert by all its labels, is short, is extended while its
reason holds and ended with it; every change is on the timeline of the alert's incident.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from sidecar.config.response import AutomaticSilencesConfig
from sidecar.records import Episode, Incident
from sidecar.rounds import Rounds
from sidecar.telemetry import get_logger
from webhooks.own import is_own
from webhooks.respond.lifecycle import ActionError
from webhooks.respond.silences import AUTOMATIC, Caps, Silencer, matcher

TICK_SECONDS, PAUSE_SECONDS = 30.0, 5.0
"""In a storm incidents change all the time, and each look goes through all alerts."""
SPARED = frozenset({"P0", "P1"})
"""What flaps inside such an incident is left alone: it may be its only voice."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One alert that should be silent, and why."""

    episode: Episode
    why: str

    @property
    def owner(self) -> str:
        """Who the silence belongs to, as the silencer names it."""
        return AUTOMATIC + self.episode.fingerprint


def wanted(
    episodes: Iterable[Episode],
    *,
    flapping: Collection[tuple[str, str]],
    incidents: Mapping[str, Incident],
    config: AutomaticSilencesConfig,
) -> list[Wanted]:
    """The alerts that should be silent now, the oldest first. Alerts of pronoia's own never are.

    `flapping`: tenant and fingerprint. `incidents`: the open ones.
    """
    own = [one for one in episodes if one.labels and not is_own(one.labels)]
    found: dict[str, Wanted] = {}
    if config.flapping:
        for one in own:
            home = incidents.get(one.incident_id or "")
            urgent = home is not None and home.priority in SPARED
            if (one.tenant, one.fingerprint) in flapping and not urgent:
                found[one.fingerprint] = Wanted(one, "it flaps")
    if config.duplicates:
        for repeat in _repeating(own, incidents, frozenset(config.duplicate_labels)):
            found.setdefault(repeat.episode.fingerprint, repeat)
    return sorted(found.values(), key=lambda one: (one.episode.starts_at_ns, one.episode.fingerprint))


def _repeating(
    episodes: Iterable[Episode], incidents: Mapping[str, Incident], ignored: frozenset[str]
) -> Iterable[Wanted]:
    """Alerts that, but for the ignored labels, say what another one of their incident says already."""
    alike: dict[tuple[str, frozenset[tuple[str, str]]], list[Episode]] = {}
    for one in episodes:
        if one.state == "firing" and one.incident_id in incidents and ignored & one.labels.keys():
            said = frozenset((n, v) for n, v in one.labels.items() if n not in ignored)
            alike.setdefault((one.incident_id or "", said), []).append(one)
    for members in alike.values():
        first, *others = sorted(members, key=lambda one: (one.starts_at_ns, one.fingerprint))
        for one in others:
            yield Wanted(one, f"it repeats {first.fingerprint}")


class AutoSilences:
    """Keeps the automatic silences of one process in step with what is wanted."""

    def __init__(
        self,
        silencer: Silencer,
        config: AutomaticSilencesConfig,
        *,
        episodes: Callable[[], Iterable[Episode]],
        flapping: Callable[[], Collection[tuple[str, str]]],
        incidents: Callable[[], Iterable[Incident]],
        note: Callable[[str, str, str], None],
    ) -> None:
        self._silencer = silencer
        self._config = config
        self._caps = Caps(config.duration, config.max_total, config.max_active)
        self._episodes = episodes
        self._flapping = flapping
        self._incidents = incidents
        self._note = note
        self._had: set[str] = set()
        self._homes: dict[str, str] = {}
        self._rounds = Rounds(
            "auto-silences",
            self.look,
            pause=lambda: TICK_SECONDS,
            undone="automatic silences not changed",
            settle_seconds=PAUSE_SECONDS,
        )
        self._log = get_logger("silences")

    def start(self) -> None:
        """Begin, where anything is to be silenced by itself."""
        if self._config.flapping or self._config.duplicates:
            self._rounds.start()

    async def stop(self) -> None:
        """End; the silences run out by themselves."""
        await self._rounds.stop()

    def wake(self) -> None:
        """Something has changed."""
        self._rounds.wake()

    async def look(self) -> None:
        """Make, extend and end what has to be.

        Raises: PullError where no Alertmanager answers.
        """
        incidents = {one.incident_id: one for one in self._incidents()}
        found = wanted(self._episodes(), flapping=self._flapping(), incidents=incidents, config=self._config)
        reasons = {one.owner: one for one in found}
        active, spent = await self._silencer.owners(whole=self._caps.max_total)
        held = {owner for owner in active if owner.startswith(AUTOMATIC)}
        for owner in sorted(held - reasons.keys()):
            await self._silencer.end(owner)
            self._tell(owner, "ended, its reason is gone")
        # One that has run its longest time, or that people have ended, is not made again while its reason
        # lasts; nor after a restart until as much time has passed.
        self._had &= reasons.keys()
        known = held | reasons.keys()
        self._homes = {owner: home for owner, home in self._homes.items() if owner in known}
        for owner, one in reasons.items():
            if owner in held:
                self._had.add(owner)
                await self._silencer.extend(owner, caps=self._caps)
            elif owner not in self._had | spent:
                await self._make(one)

    async def _make(self, one: Wanted) -> None:
        matchers = [matcher(name, value) for name, value in sorted(one.episode.labels.items()) if value]
        try:
            await self._silencer.ensure(
                one.owner,
                matchers,
                seconds=self._config.duration,
                why=f"automatic, {one.why}",
                max_active=self._config.max_active,
            )
        except ActionError as error:
            self._log.debug("no automatic silence", alert=one.episode.fingerprint, err=str(error))
            return
        self._homes[one.owner] = one.episode.incident_id or ""
        name = one.episode.labels.get("alertname", "")
        self._tell(one.owner, f"made for {name}, {one.why}")

    def _tell(self, owner: str, what: str) -> None:
        """For the record: in the log, and on the timeline of the incident where it is known."""
        self._log.info("automatic silence", owner=owner, what=what)
        home = self._homes.get(owner)
        if home:
            self._note(home, "silence", f"automatic, of {owner}: {what}")
        if what.startswith("ended"):
            self._homes.pop(owner, None)
