"""What people do to incidents by hand beyond answering them: merge, split, silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.config.fields import parse_duration
from sidecar.errors import PullError
from sidecar.records import Episode
from sidecar.store.sqlite import SqliteStore
from webhooks.correlate.by_hand import ByHand
from webhooks.respond.desk import Desk
from webhooks.respond.lifecycle import ActionError
from webhooks.respond.silences import Silencer

DEFAULT_SILENCE = "1h"


class Deeds:
    """Each deed is given the incident, who does it, and a text; it answers what came of it."""

    def __init__(
        self, store: SqliteStore, desk: Desk, silencer: Silencer, by_hand: Callable[[], ByHand]
    ) -> None:
        self._store = store
        self._desk = desk
        self._silencer = silencer
        self._by_hand = by_hand

    async def merge(self, incident_id: str, by: str, text: str) -> Mapping[str, str]:
        """Put it into another incident, or that one into it: the older stays. `text` is the other's id."""
        by = by or "somebody"
        found = await self._store.incident(incident_id)
        others = await self._episodes(text.strip())
        stays = self._by_hand().merge(incident_id, text.strip())
        gone = text.strip() if stays == incident_id else incident_id
        self._desk.note(stays, "merge", f"{gone} was put into it", actor=by)
        if found is not None and others:
            await self._desk.keep_verdict(*found, "duplicate", actor=by, others=others)
        return {"incident_id": stays}

    async def split(self, incident_id: str, by: str, text: str) -> Mapping[str, str]:
        """Take rules or fingerprints, separated by commas, out into an incident of their own."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        by = by or "somebody"
        found = await self._store.incident(incident_id)
        new_id = self._by_hand().split(incident_id, names)
        self._desk.note(incident_id, "split", f"{text.strip()} went into {new_id}", actor=by)
        if found is not None:
            incident, episodes = found
            taken = [e for e in episodes if {e.fingerprint, e.labels.get("alertname", "")} & set(names)]
            left = [episode for episode in episodes if episode not in taken]
            if taken and left:
                await self._desk.keep_verdict(incident, left, "wrong_merge", actor=by, others=taken)
        return {"incident_id": new_id}

    async def silence(self, incident_id: str, by: str, text: str) -> Mapping[str, list[str]]:
        """Silence its alerts for so long as `text` says. Raises: KeyError, ActionError."""
        found = await self._store.incident(incident_id)
        if found is None:
            raise KeyError(incident_id)
        by, text = by or "somebody", text or DEFAULT_SILENCE
        try:
            seconds = parse_duration(text)
            ids = await self._silencer.silence(*found, seconds=seconds, why=f"asked for by {by}")
        except (ValueError, PullError) as error:
            raise ActionError(str(error)) from error
        self._desk.note(incident_id, "silence", f"for {text}: {', '.join(ids)}", actor=by)
        return {"silences": ids}

    async def unsilence(self, incident_id: str, by: str, _: str) -> Mapping[str, int]:
        """End the silences that were made of it. Raises: ActionError."""
        try:
            n_ended = await self._silencer.end(f"incident {incident_id}")
        except PullError as error:
            raise ActionError(str(error)) from error
        self._desk.note(incident_id, "silence", f"{n_ended} ended", actor=by or "somebody")
        return {"ended": n_ended}

    async def _episodes(self, incident_id: str) -> list[Episode]:
        found = await self._store.incident(incident_id)
        return found[1] if found is not None else []
