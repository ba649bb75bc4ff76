"""What people do to incidents by hand beyond answering them: merge, split, silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.config.fields import parse_duration
from sidecar.errors import PullError
from sidecar.records import Episode, Incident
from sidecar.store.protocol import Store
from webhooks.correlate.by_hand import ByHand
from webhooks.respond.desk import Desk
from webhooks.respond.lifecycle import ActionError
from webhooks.respond.silences import Silencer, in_words, matchers_of

DEFAULT_SILENCE = "1h"


class Deeds:
    """Each deed is given the incident, who does it, and a text; it answers what came of it."""

    def __init__(self, store: Store, desk: Desk, silencer: Silencer, by_hand: Callable[[], ByHand]) -> None:
        self._store = store
        self._desk = desk
        self._silencer = silencer
        self._by_hand = by_hand

    async def merge(self, incident_id: str, by: str, text: str) -> Mapping[str, str]:
        """Put it into another incident, or that one into it; `text` is the other's id.

        The one that people know of stays, else the larger. Raises: KeyError, ActionError.
        """
        by = by or "somebody"
        incident_id = await self._desk.home(incident_id)
        try:
            other = await self._desk.home(text.strip())
        except KeyError as error:
            raise ActionError(f"there is no incident {text.strip()!r} to merge it with") from error
        if other == incident_id:
            raise ActionError(f"they are one already, {incident_id}")
        incident, episodes = await self._found(incident_id)
        _, others = await self._found(other)
        stays = self._by_hand().merge(incident_id, other)
        gone = other if stays == incident_id else incident_id
        self._desk.note(stays, "merge", f"{gone} was put into it", actor=by)
        if others:
            await self._desk.keep_verdict(incident, episodes, "duplicate", actor=by, others=others)
        return {"incident_id": stays}

    async def split(self, incident_id: str, by: str, text: str) -> Mapping[str, str]:
        """Take rules or fingerprints, separated by commas, out into an incident of their own.

        Raises: KeyError, ActionError.
        """
        names = [name.strip() for name in text.split(",") if name.strip()]
        by = by or "somebody"
        incident_id = await self._desk.home(incident_id)
        incident, episodes = await self._found(incident_id)
        new_id = self._by_hand().split(incident_id, names)
        self._desk.note(incident_id, "split", f"{text.strip()} went into {new_id}", actor=by)
        taken = [e for e in episodes if {e.fingerprint, e.labels.get("alertname", "")} & set(names)]
        left = [episode for episode in episodes if episode not in taken]
        if taken and left:
            await self._desk.keep_verdict(incident, left, "wrong_merge", actor=by, others=taken)
        return {"incident_id": new_id}

    async def silence(self, incident_id: str, by: str, text: str) -> Mapping[str, list[str]]:
        """Silence its alerts for so long as `text` says; by which matchers. Raises: KeyError, ActionError."""
        incident_id = await self._desk.home(incident_id)
        found = await self._found(incident_id)
        by, text = by or "somebody", text or DEFAULT_SILENCE
        try:
            seconds = parse_duration(text)
            ids = await self._silencer.silence(*found, seconds=seconds, why=f"asked for by {by}")
        except (ValueError, PullError) as error:
            raise ActionError(str(error)) from error
        matchers = in_words(matchers_of(*found))
        words = f"for {text}: {', '.join(ids)}, of {', '.join(matchers)}"
        self._desk.note(incident_id, "silence", words, actor=by)
        return {"silences": ids, "matchers": matchers}

    async def unsilence(self, incident_id: str, by: str, _: str) -> Mapping[str, int]:
        """End the silences that were made of it, and of what went into it. Raises: KeyError, ActionError."""
        incident_id = await self._desk.home(incident_id)
        try:
            parts = self._desk.parts(incident_id)
            n_ended = await self._silencer.end(*(f"incident {one}" for one in (incident_id, *parts)))
        except PullError as error:
            raise ActionError(str(error)) from error
        self._desk.note(incident_id, "silence", f"{n_ended} ended", actor=by or "somebody")
        return {"ended": n_ended}

    async def _found(self, incident_id: str) -> tuple[Incident, list[Episode]]:
        found = await self._store.incident(incident_id)
        if found is None:
            raise KeyError(incident_id)
        return found
