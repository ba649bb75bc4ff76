"""The demo's neighbourhood: one folder, its configuration files, and the servers that read them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sidecar.cli.demo.children import Child, choose_port
from sidecar.cli.demo.courses import FULL_RATIO, RELEASE
from sidecar.errors import SidecarError

MARK = ".pronoia-demo"
"""A folder that holds this file is ours to empty; no other folder is."""

LIVE_JOB = "music-platform"


class FolderError(SidecarError):
    """The demo's folder cannot be used."""

    reason = "folder"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each server of the demo listens, on loopback."""

    prometheus: int
    alertmanager: int
    pronoia: int
    platform: int
    node_exporter: int

    @classmethod
    def choose(cls) -> Ports:
        """The well-known ports where they are free, others where they are not."""
        return cls(*(choose_port(port) for port in (9090, 9093, 9469, 9480, 9100)))


TOPOLOGY = {
    "services": [
        {"name": "player", "kind": "gateway", "tier": 1, "depends_on": ["cdn", "api-gateway"]},
        {
            "name": "api-gateway",
            "kind": "gateway",
            "tier": 1,
            "depends_on": ["search", "recommendation", "billing", "cdn"],
        },
        {"name": "search", "tier": 2},
        {"name": "recommendation", "tier": 3},
        {"name": "billing", "tier": 1},
        {"name": "cdn", "kind": "external", "tier": 2},
    ]
}
"""The platform's service graph, as an operator would write it down: who asks whom."""


def prepare_folder(directory: Path) -> Path:
    """An empty folder at `directory`, marked as the demo's.

    Raises: FolderError where it holds something that is not a demo's, or a demo that still runs.
    """
    mark = directory / MARK
    if directory.exists() and not directory.is_dir():
        raise FolderError(f"{directory} is a file; name a folder with --data")
    if directory.exists() and any(directory.iterdir()):
        if not mark.exists():
            raise FolderError(f"{directory} is not empty and not a demo's; name another with --data")
        owner = mark.read_text().strip()
        if owner.isdigit() and _is_demo(int(owner)):
            raise FolderError(f"a demo (process {owner}) still runs in {directory}; stop it, or use --data")
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != mark:
                entry.unlink()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{os.getpid()}\n")
        for name in ("tsdb", "rules", "pronoia", "logs", "alertmanager"):
            (directory / name).mkdir()
    except OSError as error:
        raise FolderError(
            f"{directory} cannot be written: {error.strerror}; name another with --data"
        ) from error
    return directory.resolve()


def _is_demo(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        return b"demo" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def write_files(directory: Path, ports: Ports, promtool: str, anchor_seconds: float) -> None:
    """Every configuration file of the neighbourhood, for reading as much as for running."""
    documents = {
        "prometheus.yml": prometheus_document(directory, ports),
        "platform.rules.yaml": platform_rules(),
        "alertmanager.yml": alertmanager_document(ports),
        "topology.yaml": TOPOLOGY,
        "pronoia.yaml": pronoia_document(directory, ports, promtool, anchor_seconds),
    }
    for name, document in documents.items():
        text = yaml.safe_dump(document, sort_keys=False, width=110)
        (directory / name).write_text(text, encoding="utf-8")


def prometheus_document(directory: Path, ports: Ports) -> dict[str, Any]:
    """prometheus.yml: scrapes every 5 s, so that the demo's story is short."""
    pronoia = f"127.0.0.1:{ports.pronoia}"
    return {
        "global": {
            "scrape_interval": "5s",
            "scrape_timeout": "4s",
            "evaluation_interval": "5s",
            "external_labels": {"platform": "music"},
        },
        "rule_files": [str(directory / "platform.rules.yaml"), str(directory / "rules" / "*.rules.yaml")],
        "alerting": {"alertmanagers": [_targets(f"127.0.0.1:{ports.alertmanager}")]},
        "scrape_configs": [
            # The page names job and instance of each service itself, as a federation does.
            _scrape(LIVE_JOB, f"127.0.0.1:{ports.platform}", honor_labels=True),
            _scrape("pronoia", pronoia),
            _scrape("pronoia-synthetic", pronoia, honor_labels=True, metrics_path="/synthetic"),
            _scrape("node", f"127.0.0.1:{ports.node_exporter}"),
            _scrape("prometheus", f"127.0.0.1:{ports.prometheus}"),
        ],
    }


def live_target(ports: Ports) -> str:
    """Labels by which Prometheus knows the platform's page."""
    return f'instance="127.0.0.1:{ports.platform}",job="{LIVE_JOB}"'


def _targets(address: str) -> dict[str, Any]:
    return {"static_configs": [{"targets": [address]}]}


def _scrape(job: str, address: str, **options: Any) -> dict[str, Any]:
    return {"job_name": job, **options, **_targets(address)}


def platform_rules() -> dict[str, Any]:
    """Fixed thresholds written by hand, as the platform's people had them before pronoia."""
    failed = 'sum by (service, edge, region) (rate(cdn_requests_total{code=~"5.."}[1m]))'
    asked = "sum by (service, edge, region) (rate(cdn_requests_total[1m]))"
    gateway_failed = 'sum by (service) (rate(http_requests_total{service="api-gateway",code=~"5.."}[1m]))'
    gateway_asked = 'sum by (service) (rate(http_requests_total{service="api-gateway"}[1m]))'
    rules = [
        ("CdnEdgeErrors", f"{failed} / {asked} > 0.05", "critical",
         "CDN edge {{ $labels.edge }} answers {{ $value | humanizePercentage }} of requests with errors"),
        ("BufferingRatioHigh", "player_buffering_ratio > 0.04", "warning",
         "Players in {{ $labels.region }} wait for {{ $value | humanizePercentage }} of their time"),
        ("ApiGatewayErrors", f"{gateway_failed} / {gateway_asked} > 0.04", "critical",
         "The API gateway fails {{ $value | humanizePercentage }} of its requests"),
        ("DiskAlmostFull", f"disk_used_ratio > {FULL_RATIO}", "critical",
         "The disk of {{ $labels.service }} is {{ $value | humanizePercentage }} full"),
    ]  # fmt: skip
    return {
        "groups": [
            {
                "name": "platform",
                "rules": [
                    {
                        "alert": name,
                        "expr": expr,
                        "for": "20s",
                        "labels": {"severity": severity},
                        "annotations": {"summary": summary},
                    }
                    for name, expr, severity, summary in rules
                ],
            }
        ]
    }


def alertmanager_document(ports: Ports) -> dict[str, Any]:
    """alertmanager.yml: everything goes to pronoia, within seconds."""
    hook = f"http://127.0.0.1:{ports.pronoia}/webhooks/alertmanager"
    return {
        "route": {
            "receiver": "pronoia",
            "group_by": ["alertname", "service"],
            "group_wait": "2s",
            "group_interval": "5s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "pronoia", "webhook_configs": [{"url": hook, "send_resolved": True}]}],
    }


def pronoia_document(directory: Path, ports: Ports, promtool: str, anchor_seconds: float) -> dict[str, Any]:
    """pronoia.yaml: what is watched, which of it gets an adaptive rule, and the album that came out."""

    def ratio(metric: str, by: str) -> str:
        return f'sum by ({by}) (rate({metric}{{code=~"5.."}}[2m])) / sum by ({by}) (rate({metric}[2m]))'

    watched = [
        ("cdn_error_ratio", ratio("cdn_requests_total", "service, edge, region"), "above", True),
        ("cdn_edge_response", "cdn_edge_response_seconds", "above", False),
        ("cdn_hit_ratio", "cdn_hit_ratio", "below", False),
        ("buffering_ratio", "player_buffering_ratio", "above", True),
        ("http_error_ratio", ratio("http_requests_total", "service"), "above", True),
        ("request_rate", "sum by (service) (rate(http_requests_total[2m]))", "both", False),
        ("sessions_active", "stream_sessions_active", "both", False),
        ("search_latency", "search_latency_seconds", "above", False),
        ("payment_rate", "sum by (service, result) (rate(billing_payments_total[2m]))", "both", False),
    ]
    queries: list[dict[str, Any]] = []
    for name, expr, direction, rule in watched:
        query: dict[str, Any] = {"name": name, "expr": expr, "step": "15s", "history": "14d"}
        query |= {"direction": direction, "lower_bound": 0.0, "rule": rule}
        if rule:
            query |= {"rule_for": "15s", "severity": "warning"}
        queries.append(query)
    return {
        "server": {"listen": f"127.0.0.1:{ports.pronoia}"},
        "prometheus": {"url": f"http://127.0.0.1:{ports.prometheus}"},
        "alertmanagers": [{"url": f"http://127.0.0.1:{ports.alertmanager}"}],
        "rules": {"directory": str(directory / "rules"), "evaluation_interval": "5s", "promtool": promtool},
        "webhook": {
            "incident_gap": "5m",
            "incident_hold": "2s",
            "topology_file": str(directory / "topology.yaml"),
        },
        "store": {"directory": str(directory / "pronoia")},
        "events": [release_event(anchor_seconds)],
        "queries": queries,
    }


def release_event(anchor_seconds: float) -> dict[str, Any]:
    """The album's entry, as its label announced it."""
    begins = datetime.fromtimestamp(anchor_seconds + RELEASE.begins_seconds, UTC)
    return {
        "name": "album of the year",
        "kind": "release",
        "start": begins.isoformat(),
        "duration": f"{RELEASE.duration_seconds:.0f}s",
        "uplift": RELEASE.uplift,
        "queries": ["sessions_active"],
        "match": {"region": RELEASE.region},
    }


def make_children(directory: Path, ports: Ports, programs: Mapping[str, str]) -> dict[str, Child]:
    """The server processes by name, not yet started, in the order in which to start them."""
    here = "127.0.0.1"

    def child(name: str, port: int, argv: list[str], health: str) -> Child:
        log = directory / "logs" / f"{name}.log"
        return Child(name, argv, log=log, url=f"http://{here}:{port}", health=health)

    return {
        "node_exporter": child(
            "node_exporter",
            ports.node_exporter,
            [programs["node_exporter"], f"--web.listen-address={here}:{ports.node_exporter}"],
            "/",
        ),
        "alertmanager": child(
            "alertmanager",
            ports.alertmanager,
            [
                programs["alertmanager"],
                f"--config.file={directory / 'alertmanager.yml'}",
                f"--storage.path={directory / 'alertmanager'}",
                f"--web.listen-address={here}:{ports.alertmanager}",
                "--cluster.listen-address=",
            ],
            "/-/ready",
        ),
        "prometheus": child(
            "prometheus",
            ports.prometheus,
            [
                programs["prometheus"],
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                "--storage.tsdb.retention.time=60d",
                f"--web.listen-address={here}:{ports.prometheus}",
                "--web.enable-lifecycle",
                "--rules.alert.resend-delay=5s",
            ],
            "/-/ready",
        ),
        "pronoia": child(
            "pronoia",
            ports.pronoia,
            [
                sys.executable,
                "-m",
                "sidecar",
                "run",
                "--config",
                str(directory / "pronoia.yaml"),
                "--log-format",
                "human",
            ],
            "/-/healthy",
        ),
    }
