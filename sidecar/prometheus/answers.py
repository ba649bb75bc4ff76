"""Typed answers of Prometheus' and Alertmanager's APIs, other than series."""

from __future__ import annotations

from typing import Any

import msgspec


class Metadata(msgspec.Struct, frozen=True):
    """What a target says of one of its metrics (`/api/v1/metadata`)."""

    name: str
    type: str
    help: str = ""
    unit: str = ""


class Target(
    msgspec.Struct, frozen=True, rename={"discovered": "discoveredLabels", "scrape_url": "scrapeUrl"}
):
    """One active scrape target (`/api/v1/targets`). `scrape_interval` is a Prometheus duration."""

    labels: dict[str, str] = {}
    discovered: dict[str, str] = {}
    health: str = "unknown"
    scrape_url: str = ""
    scrape_interval: str = msgspec.field(default="", name="scrapeInterval")


class Rule(msgspec.Struct, frozen=True):
    """One rule as Prometheus has it loaded (`/api/v1/rules`); `kind` is alerting or recording.

    `limit`: its group's, on what it may give at once; 0: none.
    """

    name: str
    expr: str
    kind: str
    group: str
    file: str
    health: str
    last_error: str
    state: str
    duration_seconds: float
    labels: dict[str, str]
    annotations: dict[str, str]
    last_evaluation: str = ""
    keep_firing_seconds: float = 0.0
    interval_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    limit: int = 0


class QueryCost(msgspec.Struct, frozen=True):
    """What evaluating an expression took, as the server says; None where it does not say."""

    seconds: float | None = None
    samples: int | None = None


class BuildInfo(msgspec.Struct, frozen=True):
    """Which server it is (`/api/v1/status/buildinfo`)."""

    version: str = ""
    revision: str = ""


class _RawRule(msgspec.Struct, rename="camel"):
    name: str = ""
    query: str = ""
    type: str = ""
    health: str = "unknown"
    last_error: str = ""
    state: str = ""
    duration: float = 0.0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    last_evaluation: str = ""
    keep_firing_for: float = 0.0
    evaluation_time: float = 0.0


class _RawGroup(msgspec.Struct):
    name: str = ""
    file: str = ""
    interval: float = 0.0
    limit: int = 0
    rules: list[_RawRule] = []


class _RawGroups(msgspec.Struct):
    groups: list[_RawGroup] = []


def rules_of(data: bytes) -> list[Rule]:
    """The rules in the `data` of an answer of `/api/v1/rules`, in the order of evaluation."""
    return [
        Rule(
            name=rule.name,
            expr=rule.query,
            kind=rule.type,
            group=group.name,
            file=group.file,
            health=rule.health,
            last_error=rule.last_error,
            state=rule.state,
            duration_seconds=rule.duration,
            labels=rule.labels,
            annotations=rule.annotations,
            last_evaluation=rule.last_evaluation,
            keep_firing_seconds=rule.keep_firing_for,
            interval_seconds=group.interval,
            evaluation_seconds=rule.evaluation_time,
            limit=group.limit,
        )
        for group in msgspec.json.decode(data, type=_RawGroups).groups
        for rule in group.rules
    ]


class _RawTargets(msgspec.Struct, rename={"active": "activeTargets"}):
    active: list[Target] | None = None


def targets_of(data: bytes) -> list[Target]:
    """The active targets in the `data` of an answer of `/api/v1/targets`."""
    return msgspec.json.decode(data, type=_RawTargets).active or []


class _RawMetadata(msgspec.Struct):
    type: str = "unknown"
    help: str = ""
    unit: str = ""


def metadata_of(data: bytes) -> list[Metadata]:
    """One entry a metric in the `data` of an answer of `/api/v1/metadata`, by name."""
    raw = msgspec.json.decode(data, type=dict[str, list[_RawMetadata]])
    return [
        Metadata(name, entries[0].type, entries[0].help, entries[0].unit)
        for name, entries in sorted(raw.items())
        if entries
    ]


def build_info_of(data: bytes) -> BuildInfo:
    """The `data` of an answer of `/api/v1/status/buildinfo`."""
    return msgspec.json.decode(data, type=BuildInfo)


def label_maps_of(data: bytes) -> list[dict[str, str]]:
    """The label sets in the `data` of an answer of `/api/v1/series`."""
    return msgspec.json.decode(data, type=list[dict[str, str]] | None) or []


def texts_of(data: bytes) -> list[str]:
    """The texts in the `data` of an answer of `/api/v1/label/<name>/values`."""
    return msgspec.json.decode(data, type=list[str] | None) or []


class _RawConfig(msgspec.Struct):
    yaml: str = ""


def config_of(data: bytes) -> str:
    """The YAML in the `data` of an answer of `/api/v1/status/config`."""
    return msgspec.json.decode(data, type=_RawConfig).yaml


def flags_of(data: bytes) -> dict[str, str]:
    """The `data` of an answer of `/api/v1/status/flags`."""
    return msgspec.json.decode(data, type=dict[str, str])


class _Stats(msgspec.Struct):
    timings: dict[str, float] = {}
    samples: dict[str, Any] = {}


class _WithStats(msgspec.Struct):
    stats: _Stats | None = None


def query_cost_of(data: bytes) -> QueryCost:
    """Time and samples of an answer that was asked for with `stats=all`."""
    stats = msgspec.json.decode(data, type=_WithStats).stats or _Stats()
    seconds, samples = stats.timings.get("execTotalTime"), stats.samples.get("totalQueryableSamples")
    return QueryCost(seconds, int(samples) if samples is not None else None)
