"""Generated rules through a ruler API: one namespace a file, its groups posted one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from rules.document import RuleFile, as_yaml
from rules.publish_objects import essence
from rules.publisher import Found, not_put_back
from rules.ruler import Groups, RulerApi
from rules.verify import LoadedRules, wait_until_live
from sidecar.errors import RuleError, RuleReason

POLL_SECONDS = 1.0


class RulerPublisher:
    """Puts generated groups into a ruler, and takes them back.

    `server` shows what is loaded: the Prometheus API of the same Mimir, Cortex or Loki.
    """

    def __init__(
        self,
        api: RulerApi,
        server: LoadedRules,
        *,
        verify_timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._server = server
        self._timeout = verify_timeout_seconds
        self._monotonic = monotonic

    @property
    def at_once(self) -> int:
        """A few: namespaces do not touch each other."""
        return 4

    def place(self, group: str) -> str:
        """The namespace's address."""
        return self._api.address(group)

    async def found(self, group: str, text: str) -> Found:
        """Whether the namespace means the same as that text."""
        there = await self._api.read(group)
        if not there:
            return Found.ABSENT
        return Found.SAME if _meaning(there) == _meaning(_groups(text)) else Found.OTHER

    async def says_one_of(self, group: str, texts: Sequence[str]) -> bool:
        """Whether the namespace means the same as one of them."""
        there = await self._api.read(group)
        return bool(there) and any(_meaning(there) == _meaning(_groups(text)) for text in texts)

    async def text(self, group: str) -> str | None:
        """The namespace's groups as a rule file."""
        there = await self._api.read(group)
        return as_yaml({"groups": there}) if there else None

    async def publish(self, file: RuleFile) -> None:
        """Make the file's groups live.

        Raises: RuleError with the reason; the namespace is as it was then.
        """
        before = await self._api.read(file.group)
        await self._api.put(file.group, _groups(file.text))
        try:
            await wait_until_live(
                self._server,
                file,
                timeout_seconds=self._timeout,
                poll_seconds=POLL_SECONDS,
                advice="does prometheus.url ask the tenant whose rules the ruler keeps?",
                monotonic=self._monotonic,
            )
        except RuleError as error:
            if error.reason == RuleReason.UNHEALTHY.value and _meaning(before) == _meaning(
                _groups(file.text)
            ):
                before = []  # The same bad text, left by a roll-back that did not get through.
            try:
                await self._api.put(file.group, before)
            except RuleError as trouble:
                raise not_put_back(error, trouble) from trouble
            raise

    async def restore(self, group: str, text: str | None) -> None:
        """Put an earlier text (None: nothing) into the namespace. Raises: RuleError."""
        await self._api.put(group, [] if text is None else _groups(text))

    async def sweep(self) -> None:
        """Nothing: a killed process leaves a revision that is not live, which is put right at the start."""


def _groups(text: str) -> Groups:
    return list(yaml.safe_load(text)["groups"])


def _meaning(groups: Groups) -> Any:
    return essence({"groups": sorted(groups, key=lambda group: str(group["name"]))})
