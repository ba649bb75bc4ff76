"""Acknowledgements as silences: made with one, extended while its incident fires, ended with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from sidecar.config.response import SilencesConfig
from sidecar.errors import PullError
from sidecar.records import Episode, Incident
from sidecar.rounds import Rounds
from sidecar.telemetry import get_logger
from webhooks.respond.lifecycle import PAUSED, ActionError
from webhooks.respond.silences import Caps, Silencer, in_words, matchers_of

TICK_SECONDS, PAUSE_SECONDS = 15.0, 1.0
"""In a storm incidents change all the time, and each look asks every Alertmanager for all its silences."""


class AckSilences:
    """Looks after the silences of one process' acknowledgements."""

    def __init__(
        self,
        silencer: Silencer,
        *,
        incidents: Callable[[], Iterable[Incident]],
        status: Callable[[Incident], str],
        parts: Callable[[str], Iterable[str]],
        episodes: Callable[[str], Awaitable[list[Episode]]],
        note: Callable[[str, str, str], None],
        config: SilencesConfig,
    ) -> None:
        self._silencer = silencer
        self._incidents = incidents
        self._status = status
        self._parts = parts
        self._episodes = episodes
        self._note = note
        self._caps = Caps(config.duration, config.max_total, config.max_active)
        self._silenced: set[str] = set()
        self._troubles: dict[str, str] = {}
        """By incident why it was not changed as it should be when that was last tried."""
        self._rounds = Rounds(
            "ack-silences",
            self.look,
            pause=lambda: TICK_SECONDS,
            undone="silences of acknowledgements not looked after",
            settle_seconds=PAUSE_SECONDS,
        )
        self._log = get_logger("silences")

    def start(self) -> None:
        """Begin to look after them."""
        self._rounds.start()

    async def stop(self) -> None:
        """End; the silences run out by themselves."""
        await self._rounds.stop()

    def wake(self) -> None:
        """Something was acknowledged, or has ended."""
        self._rounds.wake()

    async def look(self) -> None:
        """Make, extend and end what has to be."""
        wanted = {one.incident_id: one for one in self._incidents() if self._status(one) in PAUSED}
        # What went into one that is acknowledged is silenced with it.
        self._silenced -= {part for incident_id in wanted for part in self._parts(incident_id)}
        known = self._silenced | wanted.keys()
        self._troubles = {one: words for one, words in self._troubles.items() if one in known}
        for incident_id in self._silenced - wanted.keys():
            if await self._tried(incident_id, self._silencer.end(*self._owners(incident_id))):
                self._silenced.discard(incident_id)
                self._note(incident_id, "silence", "the acknowledgement's silence has ended")
        for incident_id, incident in wanted.items():
            if incident_id in self._silenced:
                extended = self._silencer.extend(*self._owners(incident_id), caps=self._caps)
                await self._tried(incident_id, extended)
                continue
            episodes = await self._episodes(incident_id)
            made = self._silencer.silence(incident, episodes, seconds=self._caps.duration, why="acknowledged")
            if await self._tried(incident_id, made):
                self._silenced.add(incident_id)
                matchers = ", ".join(in_words(matchers_of(incident, episodes)))
                self._note(incident_id, "silence", f"while it is acknowledged, of {matchers}")

    def _owners(self, incident_id: str) -> list[str]:
        return [f"incident {one}" for one in (incident_id, *self._parts(incident_id))]

    async def _tried(self, incident_id: str, doing: Awaitable[object]) -> bool:
        try:
            await doing
        except (ActionError, PullError) as error:
            if self._troubles.get(incident_id) != str(error):
                self._troubles[incident_id] = str(error)
                self._log.warning("silence not changed, will try again", incident=incident_id, err=str(error))
                if isinstance(error, ActionError):
                    # Who has acknowledged it and is called on must find why.
                    self._note(incident_id, "silence", f"none while it is acknowledged: {error}")
            return False
        self._troubles.pop(incident_id, None)
        return True
