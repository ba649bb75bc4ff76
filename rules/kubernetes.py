"""PrometheusRule objects through the Kubernetes API: read, list, create, replace, delete, nothing else.

Sources: Kubernetes API concepts (resourceVersion, Status, preconditions) and
"Accessing the Kubernetes API from a Pod" (kubernetes.io/docs).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from sidecar.config.kubernetes import KubernetesConfig
from sidecar.config.model import PrometheusRuleConfig
from sidecar.errors import KubernetesError, KubernetesReason, RuleError, RuleReason
from sidecar.kubernetes import ACCOUNT, Cluster, KubernetesObject

RESOURCE = "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules"
ATTEMPTS = 3
PAGE = 200

MEANING: Mapping[KubernetesReason, tuple[RuleReason, str]] = {
    KubernetesReason.OUTSIDE: (
        RuleReason.NOT_WRITABLE,
        " in rules.prometheus_rule, or use rules.publish: files",
    ),
    KubernetesReason.ACCOUNT: (RuleReason.UNAUTHORIZED, ""),
    KubernetesReason.TLS: (RuleReason.UNREACHABLE, " (rules.prometheus_rule.ca_file)"),
    KubernetesReason.UNREACHABLE: (RuleReason.UNREACHABLE, ", tried again in a minute"),
}
"""What a request without an answer means for a rule, and what to add for people."""


class RuleObjects:
    """The PrometheusRule objects of one namespace."""

    def __init__(
        self,
        config: PrometheusRuleConfig,
        *,
        environment: Mapping[str, str] = os.environ,
        account: Path = ACCOUNT,
        pause_seconds: float = 1.0,
    ) -> None:
        self._config = config
        access = KubernetesConfig(
            api_url=config.api_url, token_file=config.token_file, ca_file=config.ca_file
        )
        self._cluster = Cluster(access, environment=environment, account=account)
        self._pause = pause_seconds

    def namespace(self) -> str:
        """Where the objects live. Raises: RuleError where neither configuration nor pod says."""
        if self._config.namespace is not None:
            return self._config.namespace
        try:
            return self._cluster.own_namespace()
        except KubernetesError as error:
            raise RuleError(RuleReason.NOT_WRITABLE, f"{error} in rules.prometheus_rule.namespace") from error

    async def get(self, name: str) -> KubernetesObject | None:
        """The object of that name; None where there is none. Raises: RuleError."""
        return await self._request("GET", name)

    async def all(self) -> list[KubernetesObject]:
        """Every object of the namespace, page by page. Raises: RuleError."""
        found: list[KubernetesObject] = []
        query = {"limit": str(PAGE)}
        while True:
            page = await self._request("GET", "", query=query) or {}
            found.extend(page.get("items") or ())
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return found
            query = {"limit": str(PAGE), "continue": following}

    async def create(self, body: KubernetesObject) -> None:
        """Make an object. Raises: RuleError (CONFLICT: there is one of that name)."""
        await self._request("POST", "", body)

    async def replace(self, body: KubernetesObject) -> None:
        """Put `body` in the place of the version that its resourceVersion names.

        Raises: RuleError (CONFLICT: that version is no longer the newest, or it is gone).
        """
        if await self._request("PUT", body["metadata"]["name"], body) is None:
            raise RuleError(RuleReason.CONFLICT, f"{body['metadata']['name']}: deleted by somebody else")

    async def delete(self, current: KubernetesObject) -> None:
        """Delete exactly that version of the object; one that is gone is fine.

        Raises: RuleError (CONFLICT: it was changed or made anew since).
        """
        facts = current["metadata"]
        exactly = {key: facts[key] for key in ("uid", "resourceVersion") if key in facts}
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": exactly}
        await self._request("DELETE", facts["name"], options)

    async def _request(
        self,
        method: str,
        name: str,
        body: KubernetesObject | None = None,
        query: Mapping[str, str] | None = None,
    ) -> KubernetesObject | None:
        """One exchange, tried again while waiting may help; None for an object that is not there."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._wait,
            retry=retry_if_exception(
                lambda error: isinstance(error, RuleError) and error.reason == RuleReason.UNREACHABLE.value
            ),
            reraise=True,
        ):
            with attempt:
                return await self._exchange(method, name, body, query or {})
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait(self, state: RetryCallState) -> float:
        return float(self._pause * 2 ** (state.attempt_number - 1))

    async def _exchange(
        self, method: str, name: str, body: KubernetesObject | None, query: Mapping[str, str]
    ) -> KubernetesObject | None:
        namespace = await asyncio.to_thread(self.namespace)
        path = RESOURCE.format(namespace) + (f"/{name}" if name else "")
        try:
            answer = await self._cluster.exchange(method, path, body, query)
        except KubernetesError as error:
            reason, hint = MEANING[KubernetesReason(error.reason)]
            raise RuleError(reason, f"{error}{hint}") from error
        status, document = answer.status, answer.document
        if 200 <= status < 300:
            if document is None:
                raise RuleError(
                    RuleReason.UNREACHABLE, f"{path} is answered, and not as a Kubernetes API does"
                )
            return document
        told = (document or {}).get("details") or {}
        if status == 404 and name and told.get("name") == name:
            return None
        raise refusal(status, document, answer.raw, namespace)


def refusal(status: int, document: KubernetesObject | None, raw: bytes, namespace: str) -> RuleError:
    """What an answer that is no success means, and what to do about it."""
    words = str((document or {}).get("message") or raw[:300].decode(errors="replace").strip() or status)
    if status == 401:
        return RuleError(
            RuleReason.UNAUTHORIZED,
            f"Kubernetes does not accept the service account's token ({words}); is the account still there?",
        )
    if status == 403 and " cannot " in words:
        return RuleError(
            RuleReason.UNAUTHORIZED,
            f"{words}; let the Role of pronoia's service account in {namespace} get, list, create, update "
            "and delete prometheusrules of monitoring.coreos.com (the chart does: rules.mode prometheusRule)",
        )
    if status == 404:
        return RuleError(
            RuleReason.NOT_INSTALLED,
            f"no PrometheusRule in {namespace} ({words}); install the Prometheus Operator's CRDs, "
            "and check rules.prometheus_rule.namespace",
        )
    if status == 409:
        return RuleError(RuleReason.CONFLICT, words)
    if status in (400, 413, 422):
        causes = ((document or {}).get("details") or {}).get("causes") or ()
        detail = "; ".join(f"{each.get('field', '')} {each.get('message', '')}".strip() for each in causes)
        told = f"{words} ({detail})" if detail and detail not in words else words
        return RuleError(RuleReason.CHECK_FAILED, f"Kubernetes refuses the object: {told}")
    if status == 429 or status >= 500:
        return RuleError(
            RuleReason.UNREACHABLE, f"Kubernetes API answered {status}: {words}; tried again in a minute"
        )
    return RuleError(
        RuleReason.NOT_WRITABLE, f"Kubernetes answered {status}: {words}; a policy or quota may forbid it"
    )
