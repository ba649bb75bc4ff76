"""A Kubernetes API for prometheusrules alone, and an operator that carries them into a real Prometheus.

No cluster can run here, so this speaks what the Kubernetes documentation says of
the API: resourceVersion on every change, Status objects with their reasons, RBAC
by verb, validation as the CRD's schema has it, an admission webhook.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.integration.servers import Prometheus, binary, http

VERBS = ("get", "list", "create", "update", "delete")
"""What the chart's Role allows."""
BASE = "/apis/monitoring.coreos.com/v1/namespaces/{namespace}/prometheusrules"
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
DURATION = re.compile(
    r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
)
Object = dict[str, Any]


class KubernetesApi:
    """The objects, and everything that may go wrong with them."""

    def __init__(self, token: str = "good-token") -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.token = token
        self.verbs = set(VERBS)
        self.installed = True
        self.admit: Callable[[Object], str | None] = lambda _: None
        """The words of a validating webhook's refusal, or None."""
        self.mutate: Callable[[Object], None] = lambda _: None
        self.failures: list[int] = []
        """Statuses to answer the next requests with."""
        self.before_write: list[Callable[[], None]] = []
        """What others do between our reading and our writing."""
        self.requests: list[tuple[str, str]] = []
        self._version = 100

    def app(self) -> web.Application:
        """The HTTP side."""
        app = web.Application()
        app.router.add_get(BASE + "/{name}", self._get)
        app.router.add_get(BASE, self._list)
        app.router.add_post(BASE, self._create)
        app.router.add_put(BASE + "/{name}", self._replace)
        app.router.add_delete(BASE + "/{name}", self._delete)
        app.middlewares.append(self._gate)
        return app

    def seed(self, namespace: str, body: Object) -> Object:
        """Store an object as if somebody else had made it."""
        self._version += 1
        made = copy.deepcopy(body)
        made["metadata"] |= {
            "namespace": namespace,
            "uid": made["metadata"].get("uid") or str(uuid.uuid4()),
            "resourceVersion": str(self._version),
        }
        self.objects[namespace, made["metadata"]["name"]] = made
        return made

    def one(self, name: str, namespace: str = "monitoring") -> Object:
        return self.objects[namespace, name]

    @web.middleware
    async def _gate(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        if self.failures:
            return _status(self.failures.pop(0), "InternalError", "etcdserver: request timed out")
        if not self.installed:
            return web.Response(status=404, text="404 page not found\n")
        verb = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}[request.method]
        if verb == "get" and "name" not in request.match_info:
            verb = "list"
        if verb not in self.verbs:
            return _status(
                403,
                "Forbidden",
                'prometheusrules.monitoring.coreos.com is forbidden: User "system:serviceaccount:x:pronoia" '
                f'cannot {verb} resource "prometheusrules" in API group "monitoring.coreos.com" '
                f'in the namespace "{request.match_info["namespace"]}"',
            )
        if request.method != "GET" and self.before_write:
            self.before_write.pop(0)()
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _get(self, request: web.Request) -> web.Response:
        found = self.objects.get((request.match_info["namespace"], request.match_info["name"]))
        return web.json_response(found) if found else _missing(request.match_info["name"])

    async def _list(self, request: web.Request) -> web.Response:
        """Two at a time at most, so that every reader must follow `continue`."""
        there = [
            o for (where, _), o in sorted(self.objects.items()) if where == request.match_info["namespace"]
        ]
        begin = int(request.query.get("continue", 0))
        end = begin + min(int(request.query.get("limit", 2)), 2)
        facts = {"continue": str(end)} if end < len(there) else {}
        items = [
            {k: v for k, v in each.items() if k not in ("kind", "apiVersion")} for each in there[begin:end]
        ]
        return web.json_response({"kind": "PrometheusRuleList", "metadata": facts, "items": items})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        namespace, name = request.match_info["namespace"], body["metadata"]["name"]
        if (namespace, name) in self.objects:
            return _status(409, "AlreadyExists", f'prometheusrules "{name}" already exists', name)
        if refused := self._refused(body):
            return refused
        return web.json_response(self.seed(namespace, body), status=201)

    async def _replace(self, request: web.Request) -> web.Response:
        body = await request.json()
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        current = self.objects.get((namespace, name))
        if current is None:
            return _missing(name)
        version = body["metadata"].get("resourceVersion")
        if not version:
            return _status(
                422,
                "Invalid",
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
            )
        if version != current["metadata"]["resourceVersion"]:
            return _status(409, "Conflict", "the object has been modified; please apply your changes", name)
        if refused := self._refused(body):
            return refused
        return web.json_response(self.seed(namespace, body))

    async def _delete(self, request: web.Request) -> web.Response:
        key = request.match_info["namespace"], request.match_info["name"]
        if key not in self.objects:
            return _missing(key[1])
        facts = self.objects[key]["metadata"]
        wanted = (await request.json()).get("preconditions", {}) if request.can_read_body else {}
        if any(facts[field] != value for field, value in wanted.items()):
            return _status(409, "Conflict", "Precondition failed: resourceVersion in precondition", key[1])
        del self.objects[key]
        return _status(200, "", "", key[1], status="Success")

    def _refused(self, body: Object) -> web.Response | None:
        self.mutate(body)
        faults = list(_schema_faults(body))
        if faults:
            causes = [{"reason": "FieldValueInvalid", "field": f, "message": words} for f, words in faults]
            return _status(
                422, "Invalid", "PrometheusRule is invalid", body["metadata"]["name"], causes=causes
            )
        words = self.admit(body)
        if words:
            hook = "prometheusrulevalidate.monitoring.coreos.com"
            return _status(400, "BadRequest", f'admission webhook "{hook}" denied the request: {words}')
        return None


def _schema_faults(body: Object) -> Any:
    name = body["metadata"]["name"]
    if not SUBDOMAIN.fullmatch(name) or len(name) > 253:
        yield "metadata.name", f"{name!r}: a lowercase RFC 1123 subdomain must consist of …"
    if body.get("kind") != "PrometheusRule" or body.get("apiVersion") != "monitoring.coreos.com/v1":
        yield "kind", "not a PrometheusRule"
    for number, group in enumerate(body["spec"].get("groups", ())):
        at = f"spec.groups[{number}]"
        if not DURATION.match(group.get("interval", "0")):
            yield f"{at}.interval", f"Invalid value: {group['interval']!r}"
        for index, rule in enumerate(group["rules"]):
            if not isinstance(rule.get("expr"), str | int):
                yield f"{at}.rules[{index}].expr", "Required value"
            for part in ("labels", "annotations"):
                for key, value in rule.get(part, {}).items():
                    if not isinstance(value, str):
                        yield f"{at}.rules[{index}].{part}.{key}", "must be of type string"


def _missing(name: str) -> web.Response:
    return _status(404, "NotFound", f'prometheusrules.monitoring.coreos.com "{name}" not found', name)


def _status(
    code: int, reason: str, message: str, name: str = "", *, status: str = "Failure", causes: Any = ()
) -> web.Response:
    details: Object = {"name": name, "group": "monitoring.coreos.com", "kind": "prometheusrules"}
    if causes:
        details["causes"] = list(causes)
    return web.json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": status,
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        },
        status=code,
    )


@asynccontextmanager
async def serving(api: KubernetesApi, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """URL of the API while the block runs."""
    runner = web.AppRunner(api.app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Operator:
    """What the Prometheus Operator and its reloader do: selected, valid objects become rule files.

    As the real one, it leaves out an object that promtool's parser refuses, and loads late.
    """

    def __init__(
        self,
        api: KubernetesApi,
        server: Prometheus,
        *,
        selector: Mapping[str, str],
        delay_seconds: float = 0.3,
    ) -> None:
        self.api, self.server, self.selector = api, server, dict(selector)
        self.delay_seconds = delay_seconds
        self._last: dict[str, str] = {}

    def selected(self) -> dict[str, str]:
        """File name and content of every object that the selector matches."""
        files: dict[str, str] = {}
        for (namespace, name), each in list(self.api.objects.items()):
            labels = each["metadata"].get("labels", {})
            if self.selector.items() <= labels.items():
                files[f"{namespace}-{name}-{each['metadata']['uid']}.yaml"] = yaml.safe_dump(each["spec"])
        return files

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self.delay_seconds)
            wanted = self.selected()
            if wanted != self._last:
                self._last = wanted
                await asyncio.to_thread(self._carry, wanted)

    def _carry(self, wanted: dict[str, str]) -> None:
        for old in self.server.rules.glob("*-*-*.yaml"):
            if old.name not in wanted:
                old.unlink()
        for name, text in wanted.items():
            path = self.server.rules / name
            hidden = path.with_suffix(".candidate")
            hidden.write_text(text)
            check = [binary("promtool"), "check", "rules", str(hidden)]
            if subprocess.run(check, capture_output=True).returncode == 0:
                hidden.replace(path)
            else:
                hidden.unlink()
        http(f"{self.server.url}/-/reload", data=b"", method="POST")

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The operator runs while the block does."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def account(directory: Path, *, token: str = "good-token", namespace: str = "monitoring") -> Path:
    """A service account's mounted folder."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "token").write_text(token + "\n")
    (directory / "namespace").write_text(namespace)
    return directory


def certified(directory: Path) -> ssl.SSLContext:
    """TLS for the API on loopback; its certificate lies in the account's folder as `ca.crt`."""
    key, certificate = directory / "key.pem", directory / "ca.crt"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=kubernetes"
    subprocess.run(
        [
            *("openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),  # Python 3.13 asks for it.
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
