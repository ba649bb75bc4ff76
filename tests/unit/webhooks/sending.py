"""A notifier over a real store, with targets that note what they get, on a clock set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.config.channels import NotifyConfig, NotifyTarget
from sidecar.config.model import StoreConfig
from sidecar.errors import NotifyError
from sidecar.records import OutboxMessage
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import Clock
from webhooks.notify.channel import Outgoing
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics


class Recorder:
    """A target that fails for so long, with that error."""

    def __init__(self, error: NotifyError | None = None) -> None:
        self.error = error
        self.got: list[str] = []
        self.uncertain: list[bool] = []

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        self.uncertain.append(outgoing.uncertain)
        if self.error is not None:
            raise self.error
        self.got.append(f"{outgoing.document['kind']} {outgoing.document['incident']['incident_id']}")
        return {}

    async def close(self) -> None:
        pass


class Bench:
    """A notifier with recording targets, on a clock set by hand."""

    def __init__(self, directory: Path, targets: dict[str, Recorder], **config: Any) -> None:
        self.clock = Clock()
        self.targets = targets
        self.directory = directory
        fallbacks = config.pop("fallbacks", {})
        self.config = NotifyConfig(
            targets=tuple(
                NotifyTarget(
                    name=name,
                    url=SecretStr("http://x"),
                    fallback=fallbacks.get(name),
                    messages_per_minute=config.get("per_minute", 600),
                )
                for name in targets
            ),
            update_interval=0.0,
        )

    async def __aenter__(self) -> Bench:
        registry = CollectorRegistry()
        self.store = await SqliteStore.open(StoreConfig(directory=self.directory), registry=registry)
        self.notifier = Notifier(
            self.store,
            self.config,
            hold_seconds=0.0,
            metrics=NotifyMetrics(registry),
            make_channel=lambda target: self.targets[target.name],
            now=self.clock,
        )
        await self.notifier.open([])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.notifier.stop()
        await self.store.close()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.005)

    async def stored(self, n: int) -> None:
        """Wait until the outbox holds so many."""
        async with asyncio.timeout(10):
            while len(await self.states()) < n:
                await asyncio.sleep(0.005)

    async def states(self) -> dict[str, str]:
        return {one.key: one.state for one in await self.store.messages_of_recent_incidents(0)}

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.notifier._sender.wake(self.targets)
        self.notifier._wake.set()


REFUSED = NotifyError("wrong credentials", retryable=False)

AWAY = NotifyError("timeout", retryable=True)


class OnlyFirst:
    """The audience in which `b` is told of nothing by itself."""

    def listeners(self, *_: object, **__: object) -> list[str]:
        return ["a"]

    def held_back(self, *_: object, **__: object) -> str:
        return ""

    def status(self, _: object) -> str:
        return "open"

    async def prepare(self, _: object) -> None:
        pass

    def facts(self, *_: object, **__: object) -> dict[str, object]:
        return {}


def message(kind: str, number: int, status: str = "open") -> OutboxMessage:
    key = f"a/i1/{number}"
    return OutboxMessage(key, "a", "i1", number, kind, "P2", 1, 0, 0, {"status": status})
