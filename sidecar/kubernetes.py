"""The Kubernetes API as a pod reaches it: where it is, who we are, one request and its answer.

Sources: "Accessing the Kubernetes API from a Pod" and "API concepts" (kubernetes.io/docs).
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.bodies import read_up_to
from sidecar.config.kubernetes import KubernetesConfig
from sidecar.errors import KubernetesError, KubernetesReason

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 35.0
"""Past the 30 s that an admission webhook may take."""
MAX_ANSWER_BYTES = 16 * 2**20
"""Many times the 1.5 MiB that etcd takes for an object."""

KubernetesObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the object, None where the body is none, and the body itself."""

    status: int
    document: KubernetesObject | None
    raw: bytes


class Cluster:
    """The API of one cluster.

    Every request reads the token and the CA again, because the kubelet rotates them, and opens a
    connection of its own: there are few.
    """

    def __init__(
        self,
        config: KubernetesConfig,
        *,
        environment: Mapping[str, str] = os.environ,
        account: Path = ACCOUNT,
    ) -> None:
        self._config = config
        self._environment = environment
        self._account = account

    def own_namespace(self) -> str:
        """The namespace of the pod that we run in. Raises: KubernetesError outside of one."""
        try:
            return (self._account / "namespace").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise KubernetesError(
                KubernetesReason.OUTSIDE, f"{self._account}/namespace: {error.strerror}; name a namespace"
            ) from error

    async def request(
        self, method: str, path: str, body: KubernetesObject | None = None
    ) -> tuple[int, KubernetesObject]:
        """Status and object of an answer; what is no success comes with Kubernetes' own Status object.

        Raises: KubernetesError where there is no answer, or none of a Kubernetes API.
        """
        answer = await self.exchange(method, path, body)
        if answer.document is None:
            words = f"Kubernetes API answers {answer.status}, and not as one does"
            raise KubernetesError(KubernetesReason.UNREACHABLE, words)
        return answer.status, answer.document

    async def exchange(
        self,
        method: str,
        path: str,
        body: KubernetesObject | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and whatever comes back. What is written names us as its field manager.

        Raises: KubernetesError where there is no answer.
        """
        url, headers, tls = await asyncio.to_thread(self._approach)
        writer = {"fieldManager": "pronoia"} if method in ("POST", "PUT") else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session,
                session.request(
                    method,
                    url + path,
                    params={**(query or {}), **writer},
                    json=body,
                    headers=headers,
                    ssl=tls if tls is not None else True,
                    allow_redirects=False,
                ) as answer,
            ):
                status, raw = answer.status, await read_up_to(answer.content, MAX_ANSWER_BYTES)
        except aiohttp.ClientSSLError as error:
            raise KubernetesError(
                KubernetesReason.TLS, f"Kubernetes API {url}: {error}; is ca_file its CA?"
            ) from error
        except (aiohttp.ClientError, OSError) as error:  # A timeout is an OSError, too.
            raise KubernetesError(
                KubernetesReason.UNREACHABLE,
                f"Kubernetes API {url}: {error or type(error).__name__}; "
                "a NetworkPolicy must let pronoia reach it",
            ) from error
        return Answer(status, _document(raw), raw)

    def _approach(self) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
        """URL, headers and TLS of a request made now."""
        url, token_file, ca_file = self._config.api_url, self._config.token_file, self._config.ca_file
        if url is None:
            host = self._environment.get("KUBERNETES_SERVICE_HOST")
            if not host:
                raise KubernetesError(
                    KubernetesReason.OUTSIDE,
                    "not inside a cluster (KUBERNETES_SERVICE_HOST is not set); run in a pod, or set api_url",
                )
            port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
            url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
            token_file, ca_file = token_file or self._account / "token", ca_file or self._account / "ca.crt"
        headers = {"Accept": "application/json"}
        try:
            if token_file is not None:
                headers["Authorization"] = f"Bearer {token_file.read_text(encoding='utf-8').strip()}"
            tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https://") else None
        except (OSError, ValueError) as error:
            raise KubernetesError(
                KubernetesReason.ACCOUNT,
                f"service account: {getattr(error, 'filename', None) or ca_file}: "
                f"{getattr(error, 'strerror', None) or error}; is automountServiceAccountToken on?",
            ) from error
        return url.rstrip("/"), headers, tls


def _document(raw: bytes) -> KubernetesObject | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
