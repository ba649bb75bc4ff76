"""Generated rules through a ruler API: one namespace a file, its groups posted one by one.

Source: Grafana Mimir HTTP API, "Ruler"; Cortex and Loki have the same under other prefixes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import yaml
from prometheus_client import CollectorRegistry

from rules.document import RuleFile, as_yaml
from rules.publish_objects import essence
from rules.publisher import Found
from rules.verify import LoadedRules, wait_until_live
from sidecar.config.ruler import RulerConfig
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.prometheus.session import PullMetrics, Session, SessionSettings

POLL_SECONDS = 1.0
Groups = list[dict[str, Any]]


class RulerPublisher:
    """Puts generated groups into a ruler, and takes them back.

    `server` shows what is loaded: the Prometheus API of the same Mimir, Cortex or Loki.
    """

    def __init__(
        self,
        config: RulerConfig,
        server: LoadedRules,
        *,
        verify_timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._server = server
        self._timeout = verify_timeout_seconds
        self._monotonic = monotonic

    @property
    def at_once(self) -> int:
        """A few: namespaces do not touch each other."""
        return 4

    def place(self, group: str) -> str:
        """The namespace's address."""
        return f"{self._config.url}/{quote(group, safe='')}"

    async def found(self, group: str, text: str) -> Found:
        """Whether the namespace means the same as that text."""
        there = await self._read(group)
        if not there:
            return Found.ABSENT
        return Found.SAME if _meaning(there) == _meaning(_groups(text)) else Found.OTHER

    async def publish(self, file: RuleFile) -> None:
        """Make the file's groups live.

        Raises: RuleError with the reason; the namespace is as it was then.
        """
        before = await self._read(file.group)
        try:
            await self._put(file.group, _groups(file.text))
            await wait_until_live(
                self._server,
                file,
                timeout_seconds=self._timeout,
                poll_seconds=POLL_SECONDS,
                advice="does prometheus.url ask the tenant whose rules the ruler keeps?",
                monotonic=self._monotonic,
            )
        except RuleError:
            await self._put(file.group, before)
            raise

    async def restore(self, group: str, text: str | None) -> None:
        """Put an earlier text (None: nothing) into the namespace. Raises: RuleError."""
        await self._put(group, [] if text is None else _groups(text))

    async def sweep(self) -> None:
        """Nothing: a killed process leaves a revision that is not live, which is put right at the start."""

    async def _read(self, namespace: str) -> Groups:
        """The namespace's groups; empty where there is none."""
        try:
            body = await self._fetch("GET", namespace)
        except PullError as error:
            if ": 404" in str(error):
                return []
            raise _as_rule_error(error) from error
        answer = yaml.safe_load(body) or {}
        return list(answer.get(namespace) or ()) if isinstance(answer, dict) else []

    async def _put(self, namespace: str, groups: Groups) -> None:
        """The namespace as these groups, and no others."""
        wanted = {group["name"] for group in groups}
        try:
            for group in groups:
                await self._fetch("POST", namespace, body=as_yaml(group).encode())
            for group in await self._read(namespace):
                if group["name"] not in wanted:
                    await self._fetch("DELETE", f"{namespace}/{quote(group['name'], safe='')}")
        except PullError as error:
            raise _as_rule_error(error) from error

    async def _fetch(self, method: str, path: str, body: bytes | None = None) -> bytes:
        # A session a request: there are a few an hour, and none holds a connection meanwhile.
        settings = SessionSettings(
            url=self._config.url,
            http=self._config.http,
            timeout_seconds=self._config.timeout,
            retries=2,
            max_concurrent=1,
            breaker_failures=10,
            breaker_cooldown_seconds=1.0,
            tenant=self._config.tenant,
        )
        headers = {"Content-Type": "application/yaml"} if body is not None else {}
        async with Session(settings, PullMetrics(CollectorRegistry())) as session:
            return await session.fetch(method, f"/{path}", api="ruler", body=body, headers=headers)


def _groups(text: str) -> Groups:
    return list(yaml.safe_load(text)["groups"])


def _meaning(groups: Groups) -> Any:
    return essence({"groups": sorted(groups, key=lambda group: str(group["name"]))})


def _as_rule_error(error: PullError) -> RuleError:
    reason = RuleReason.UNREACHABLE if error.retryable else RuleReason.CHECK_FAILED
    if error.reason == "unauthorized":
        reason = RuleReason.UNAUTHORIZED
    return RuleError(reason, f"ruler: {error}")
