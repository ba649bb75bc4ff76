"""PrometheusRule objects through the Kubernetes API: read, list, create, replace, delete, nothing else.

Sources: Kubernetes API concepts (resourceVersion, Status, preconditions) and
"Accessing the Kubernetes API from a Pod" (kubernetes.io/docs).
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from sidecar.config.model import PrometheusRuleConfig
from sidecar.errors import RuleError, RuleReason

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RESOURCE = "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules"
TIMEOUT_SECONDS = 35.0
"""Past the 30 s that an admission webhook may take."""
ATTEMPTS = 3
PAGE = 200
MAX_ANSWER_BYTES = 16 * 2**20
"""Many times the 1.5 MiB that etcd takes for an object."""

KubernetesObject = dict[str, Any]


class RuleObjects:
    """The PrometheusRule objects of one namespace.

    Every request reads the token and the CA again, because the kubelet rotates them,
    and opens a connection of its own: there are a few an hour.
    """

    def __init__(
        self,
        config: PrometheusRuleConfig,
        *,
        environment: Mapping[str, str] = os.environ,
        account: Path = ACCOUNT,
        pause_seconds: float = 1.0,
    ) -> None:
        self._config = config
        self._environment = environment
        self._account = account
        self._pause = pause_seconds

    def namespace(self) -> str:
        """Where the objects live. Raises: RuleError where neither configuration nor pod says."""
        if self._config.namespace is not None:
            return self._config.namespace
        try:
            return (self._account / "namespace").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RuleError(
                RuleReason.NOT_WRITABLE,
                f"{self._account}/namespace: {error.strerror}; set rules.prometheus_rule.namespace",
            ) from error

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
        url, headers, tls = await asyncio.to_thread(self._approach)
        namespace = await asyncio.to_thread(self.namespace)
        path = RESOURCE.format(namespace) + (f"/{name}" if name else "")
        if method in ("POST", "PUT"):
            query = {**query, "fieldManager": "pronoia"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session,
                session.request(
                    method,
                    url + path,
                    params=dict(query),
                    json=body,
                    headers=headers,
                    ssl=tls if tls is not None else True,
                    allow_redirects=False,
                ) as answer,
            ):
                status, raw = answer.status, await answer.content.read(MAX_ANSWER_BYTES)
                while not answer.content.at_eof() and len(raw) < MAX_ANSWER_BYTES:
                    raw += await answer.content.read(MAX_ANSWER_BYTES - len(raw))
        except aiohttp.ClientSSLError as error:
            raise RuleError(
                RuleReason.UNREACHABLE,
                f"Kubernetes API {url}: {error}; is rules.prometheus_rule.ca_file its CA?",
            ) from error
        except (aiohttp.ClientError, OSError) as error:  # A timeout is an OSError, too.
            raise RuleError(
                RuleReason.UNREACHABLE,
                f"Kubernetes API {url}: {error or type(error).__name__}; "
                "a NetworkPolicy must let pronoia reach it, tried again in a minute",
            ) from error
        document = _document(raw)
        if 200 <= status < 300:
            if document is None:
                raise RuleError(RuleReason.UNREACHABLE, f"{url} answers, and not as a Kubernetes API does")
            return document
        told = (document or {}).get("details") or {}
        if status == 404 and name and told.get("name") == name:
            return None
        raise refusal(status, document, raw, namespace)

    def _approach(self) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
        """URL, headers and TLS of a request made now."""
        config = self._config
        token_file, ca_file = config.token_file, config.ca_file
        url = config.api_url
        if url is None:
            host = self._environment.get("KUBERNETES_SERVICE_HOST")
            if not host:
                raise RuleError(
                    RuleReason.NOT_WRITABLE,
                    "not inside a cluster (KUBERNETES_SERVICE_HOST is not set); run in a pod, "
                    "set rules.prometheus_rule.api_url, or use rules.publish: files",
                )
            port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
            url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
            token_file = token_file or self._account / "token"
            ca_file = ca_file or self._account / "ca.crt"
        headers = {"Accept": "application/json"}
        try:
            if token_file is not None:
                headers["Authorization"] = f"Bearer {token_file.read_text(encoding='utf-8').strip()}"
            tls = None
            if url.startswith("https://"):
                tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ValueError) as error:
            raise RuleError(
                RuleReason.UNAUTHORIZED,
                f"service account: {getattr(error, 'filename', None) or ca_file}: "
                f"{getattr(error, 'strerror', None) or error}; is automountServiceAccountToken on?",
            ) from error
        return url.rstrip("/"), headers, tls


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


def _document(raw: bytes) -> KubernetesObject | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
