"""Alerts that are over into stored incidents, of which nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from sidecar.config.webhook import WebhookConfig
from sidecar.ports import AlertStore
from sidecar.records import Episode, Incident
from webhooks.incident import bind, describe
from webhooks.reconcile.history import unknown
from webhooks.replay import regroup, ways_of

CHUNK = 5_000


class PastStore(AlertStore, Protocol):
    """What is asked of the store."""

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        """Open episodes, and those last seen since then."""
        ...


async def store_past(store: PastStore, config: WebhookConfig, episodes: Sequence[Episode]) -> tuple[int, int]:
    """Store what is not stored yet, and the incidents that it was; how many alerts and incidents.

    Raises: StoreError.
    """
    if not episodes:
        return 0, 0
    since_ns = min(episode.starts_at_ns for episode in episodes)
    stored = await store.recent_episodes(since_ns)
    new = await asyncio.to_thread(unknown, episodes, stored)
    incidents = await asyncio.to_thread(_grouped, config, new)
    for first in range(0, len(new), CHUNK):
        await store.commit_deliveries([], new[first : first + CHUNK])
    await store.put_incidents(incidents, [])
    return len(new), len(incidents)


def _grouped(config: WebhookConfig, episodes: Sequence[Episode]) -> list[Incident]:
    """The incidents of these, each episode bound to its own."""
    analyst = regroup(episodes, **ways_of(config))
    groups = analyst.correlator.groups
    for group in groups.values():
        analyst.learn(group)
    usual = analyst.usual()
    for episode in episodes:
        home = groups[analyst.correlator.home[episode.key]]
        bind(episode, home.incident_id, home.links.get(episode.key))
    return [
        describe(
            group, analyst.consider(group, now=group.last_end, usual=usual), now_ns=int(group.last_end * 1e9)
        )
        for group in groups.values()
    ]
