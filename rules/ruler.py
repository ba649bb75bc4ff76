"""The ruler API of Mimir, Cortex and Loki: namespaces of rule groups, read and written.

Source: Grafana Mimir HTTP API, "Ruler"; Cortex and Loki have the same under other prefixes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import yaml
from prometheus_client import CollectorRegistry

from rules.document import as_yaml
from rules.publisher import NotPutBack
from sidecar.config.ruler import RulerConfig
from sidecar.errors import PullError, PullReason, RuleError, RuleReason
from sidecar.prometheus.session import PullMetrics, Session, SessionSettings

Groups = list[dict[str, Any]]


class RulerApi:
    """Namespaces of one tenant."""

    def __init__(self, config: RulerConfig) -> None:
        self._config = config

    def address(self, namespace: str) -> str:
        """Where a namespace is."""
        return f"{self._config.url}/{quote(namespace, safe='')}"

    async def namespaces(self) -> dict[str, Groups]:
        """Every namespace with its groups. Raises: RuleError."""
        answer = await self._document("")
        return {str(name): list(groups or ()) for name, groups in answer.items()}

    async def read(self, namespace: str) -> Groups:
        """The namespace's groups; empty where there is none. Raises: RuleError."""
        return list((await self._document(quote(namespace, safe=""))).get(namespace) or ())

    async def put(self, namespace: str, groups: Groups) -> None:
        """The namespace as these groups, and no others; as it was, where the ruler takes only some.

        Raises: RuleError.
        """
        before = await self.read(namespace)
        try:
            await self._write(namespace, groups)
        except (PullError, RuleError) as error:
            # The API takes one group at a time and knows no transaction.
            told = error if isinstance(error, RuleError) else _as_rule_error(error)
            try:
                await self._write(namespace, before)
            except (PullError, RuleError) as trouble:
                words = f"{told}; and {self.address(namespace)} may be changed in part: {trouble}"
                raise NotPutBack(RuleReason(told.reason), words) from error
            raise told from error

    async def _write(self, namespace: str, groups: Groups) -> None:
        wanted = {group["name"] for group in groups}
        path = quote(namespace, safe="")
        for group in groups:
            await self._fetch("POST", path, body=as_yaml(group).encode())
        for group in await self.read(namespace):
            if group["name"] not in wanted:
                await self._delete(f"{path}/{quote(group['name'], safe='')}")

    async def _delete(self, path: str) -> None:
        try:
            await self._fetch("DELETE", path)
        except PullError as error:
            if not _is_missing(error):  # Else it went though the answer got lost, and was asked for again.
                raise

    async def _document(self, path: str) -> dict[str, Any]:
        try:
            body = await self._fetch("GET", path)
        except PullError as error:
            if _is_missing(error):
                return {}
            raise _as_rule_error(error) from error
        answer = yaml.safe_load(body)
        return answer if isinstance(answer, dict) else {}

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
            place = f"/{path}" if path else ""
            return await session.fetch(method, place, api="ruler", body=body, headers=headers)


def _is_missing(error: PullError) -> bool:
    """Whether the ruler says that there is no such thing; not that it failed as its own store said so."""
    return error.reason == PullReason.BAD_QUERY.value and ": 404" in str(error)


def _as_rule_error(error: PullError) -> RuleError:
    reason = RuleReason.UNREACHABLE if error.retryable else RuleReason.CHECK_FAILED
    if error.reason == "unauthorized":
        reason = RuleReason.UNAUTHORIZED
    return RuleError(reason, f"ruler: {error}")
