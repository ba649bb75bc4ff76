"""Real neighbours on loopback: starts Prometheus, Alertmanager and pronoia on free ports, and stops them.

A missing binary is an error with the command that installs it, never a skip.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

BINARIES = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "amtool": ("amtool",),
    "node_exporter": ("prometheus-node-exporter", "node_exporter"),
    "victoria_metrics": ("victoria-metrics",),
    "vmalert": ("vmalert",),
}
INSTALL = "apt-get install prometheus prometheus-alertmanager prometheus-node-exporter victoria-metrics"


def binary(name: str) -> str:
    """Path of a server program: from PRONOIA_TEST_<NAME>, then from PATH."""
    named = os.environ.get(f"PRONOIA_TEST_{name.upper()}")
    for candidate in (named,) if named else BINARIES[name]:
        found = shutil.which(candidate)
        if found:
            return found
    raise RuntimeError(f"{name} is not installed; run: {INSTALL}")


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def http(
    url: str,
    *,
    data: bytes | None = None,
    method: str | None = None,
    timeout: float = 10.0,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body of one request; HTTP errors are answers, not exceptions."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def get_json(url: str) -> Any:
    status, body = http(url)
    assert status == 200, f"{url} answered {status}: {body[:300]!r}"
    return json.loads(body)


def wait_until(
    condition: Callable[[], Any], *, timeout: float = 30.0, what: str = "condition", every: float = 0.05
) -> Any:
    """The first true value of `condition`; AssertionError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
        except (OSError, AssertionError, KeyError, IndexError, ValueError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"{what}: not seen within {timeout} s (last: {last!r})")


class Server:
    """A child process with a port, a log file and a health URL."""

    def __init__(
        self, argv: list[str], *, port: int, health: str, log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.argv, self.port, self.log = argv, port, log
        self.url = f"http://127.0.0.1:{port}"
        self._health = health
        self._env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True, timeout: float = 30.0) -> Server:
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(self.argv, stdout=sink, stderr=subprocess.STDOUT, env=self._env)
        if wait:
            self.wait_healthy(timeout)
        return self

    def wait_healthy(self, timeout: float = 30.0) -> None:
        def healthy() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.argv[0]} exited with {self.process.returncode}: {self.tail()}")
            return http(self.url + self._health)[0] == 200

        wait_until(healthy, timeout=timeout, what=f"{self.argv[0]} healthy")

    def tail(self, n: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-n:] if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def stop(self, timeout: float = 15.0) -> float:
        """SIGTERM; seconds until the process was gone."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return time.monotonic() - began


class Prometheus(Server):
    """A real Prometheus with its own data directory and rule directory."""

    def __init__(
        self,
        directory: Path,
        *,
        alertmanager: str | None = None,
        scrape: Iterable[dict[str, Any]] = (),
        evaluation_interval: str = "1s",
        flags: Iterable[str] = (),
    ) -> None:
        self.directory = directory
        self.rules = directory / "rules"
        self.data = directory / "data"
        self.rules.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(exist_ok=True)
        self.config = directory / "prometheus.yml"
        port = free_port()
        document: dict[str, Any] = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": evaluation_interval,
            },
            "rule_files": [str(self.rules / "*.yaml")],
            "scrape_configs": list(scrape),
        }
        if alertmanager:
            target = alertmanager.removeprefix("http://")
            document["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [target]}]}]}
        self.config.write_text(json.dumps(document))  # JSON is YAML
        super().__init__(
            [
                binary("prometheus"),
                f"--config.file={self.config}",
                f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-lifecycle",
                "--web.enable-remote-write-receiver",
                "--web.enable-admin-api",
                "--storage.tsdb.retention.time=400d",
                "--rules.alert.resend-delay=2s",
                *flags,
            ],
            port=port,
            health="/-/ready",
            log=directory / "prometheus.log",
        )

    def backfill(self, openmetrics: str) -> None:
        """Write history given as OpenMetrics text (with timestamps and `# EOF`); before start()."""
        page = self.directory / "backfill.om"
        page.write_text(openmetrics)
        subprocess.run(
            [binary("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(page), str(self.data)],
            check=True,
            capture_output=True,
        )
        page.unlink()

    def query(self, expr: str) -> list[dict[str, Any]]:
        from urllib.parse import quote

        return list(get_json(f"{self.url}/api/v1/query?query={quote(expr)}")["data"]["result"])


class Alertmanager(Server):
    """A real Alertmanager that sends everything to one webhook."""

    def __init__(
        self,
        directory: Path,
        *,
        webhook: str,
        group_wait: str = "1s",
        group_interval: str = "2s",
        repeat_interval: str = "1h",
        group_by: Iterable[str] = ("alertname",),
        http_config: dict[str, Any] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "alertmanager.yml"
        hook: dict[str, Any] = {"url": webhook, "send_resolved": True}
        if http_config:
            hook["http_config"] = http_config
        config.write_text(
            json.dumps(
                {
                    "route": {
                        "receiver": "pronoia",
                        "group_by": list(group_by),
                        "group_wait": group_wait,
                        "group_interval": group_interval,
                        "repeat_interval": repeat_interval,
                    },
                    "receivers": [{"name": "pronoia", "webhook_configs": [hook]}],
                }
            )
        )
        port = free_port()
        super().__init__(
            [
                binary("alertmanager"),
                f"--config.file={config}",
                f"--storage.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            port=port,
            health="/-/ready",
            log=directory / "alertmanager.log",
        )

    def post(self, alerts: list[dict[str, Any]]) -> None:
        status, body = http(
            f"{self.url}/api/v2/alerts",
            data=json.dumps(alerts).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert status == 200, body


class VictoriaMetrics(Server):
    """A real single-node VictoriaMetrics, which scrapes the targets."""

    def __init__(self, directory: Path, *, scrape: Iterable[dict[str, Any]] = ()) -> None:
        config = directory / "scrape.yml"
        config.write_text(json.dumps({"scrape_configs": list(scrape)}))
        port = free_port()
        super().__init__(
            [
                binary("victoria_metrics"),
                f"-storageDataPath={directory / 'data'}",
                f"-httpListenAddr=127.0.0.1:{port}",
                f"-promscrape.config={config}",
                "-search.latencyOffset=1s",
            ],
            port=port,
            health="/health",
            log=directory / "victoria-metrics.log",
        )

    def store(self, lines: Iterable[str]) -> None:
        """Take in lines of `name{labels} value` or `name{labels} value milliseconds`."""
        status, body = http(f"{self.url}/api/v1/import/prometheus", data="\n".join(lines).encode())
        assert status == 204, body

    def settle(self) -> None:
        """Have what was just taken in be found by searches, which would be seconds later."""
        status, body = http(f"{self.url}/internal/force_flush")
        assert status == 200, body


class Vmalert(Server):
    """A real vmalert that evaluates the rule files of a folder and tells nobody."""

    def __init__(self, directory: Path, *, rules: Path, source: str) -> None:
        port = free_port()
        super().__init__(
            [
                binary("vmalert"),
                f"-rule={rules}/*.yaml",
                f"-datasource.url={source}",
                f"-remoteWrite.url={source}",
                "-notifier.url=http://127.0.0.1:1",
                "-evaluationInterval=1s",
                f"-httpListenAddr=127.0.0.1:{port}",
            ],
            port=port,
            health="/health",
            log=directory / "vmalert.log",
        )


class Pronoia(Server):
    """The sidecar as its users start it: `pronoia run`."""

    def __init__(
        self, directory: Path, *arguments: str, port: int | None = None, env: dict[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        port = port or free_port()
        super().__init__(
            [sys.executable, "-m", "sidecar", "run", "--listen", f"127.0.0.1:{port}", *arguments],
            port=port,
            health="/-/healthy",
            log=directory / "pronoia.log",
            env=env,
        )


@contextlib.contextmanager
def stopping(*servers: Server) -> Iterator[None]:
    """Kill the servers on the way out, whatever happened; on failure show the ends of their logs."""
    try:
        yield
    except BaseException:
        for server in servers:
            print(f"--- {server.log}\n{server.tail()}", file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.kill()


async def run_blocking(work: Callable[[], Any]) -> Any:
    """Blocking test code beside a running event loop."""
    return await asyncio.to_thread(work)
