"""A configuration of vmanomaly, read from its public documentation's keys, as one of pronoia's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.config.fields import format_duration, parse_duration
from sidecar.promql.nesting import parse as parse_promql

_ISO_DURATION = re.compile(r"P(?=.)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_PLACEHOLDER = re.compile(r"%\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DIRECTIONS = {"both": "both", "above_expected": "above", "below_expected": "below"}
_QUERY_KEYS = {
    *("expr", "step", "data_range", "detection_direction", "min_dev_from_expected"),
    *("min_rel_dev_from_expected",),
}
_READER_KEYS = {
    *("class", "datasource_url", "sampling_period", "queries", "user", "password", "bearer_token"),
    *("bearer_token_file", "verify_tls", "timeout", "tls_cert_file", "tls_key_file"),
}
_MODEL_KEYS = {"class", "queries", "schedulers"}
_DEVIATIONS = {
    "min_dev_from_expected": ("min_deviation", 1.0),
    "min_rel_dev_from_expected": ("min_relative_deviation", 0.01),  # Theirs is in percent.
}


@dataclass
class Imported:
    """A configuration as plain values, and what of the source has no equivalent, each with its place."""

    document: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def from_vmanomaly(source: Mapping[str, Any]) -> Imported:
    """Translate a parsed file; what cannot be said in pronoia's words is listed, never dropped silently.

    >>> from_vmanomaly({"reader": {"datasource_url": "http://vm:8428", "queries": {"up": "up"}}}).document
    {'prometheus': {'url': 'http://vm:8428'}, 'queries': [{'name': 'up', 'expr': 'up'}], \
'export': {'metric_format': ['pronoia', 'vmanomaly']}}
    """
    found = Imported()
    reader = _section(source, "reader")
    models = _aliased(source, "models", "model")
    schedulers = _aliased(source, "schedulers", "scheduler")
    found.document["prometheus"] = _prometheus(reader, found.left_out)
    found.document["queries"] = _queries(reader, models, schedulers, found.left_out)
    found.document["export"] = _export(_section(source, "writer"), found.left_out)
    _tell_of_models(models, found.left_out)
    for name, scheduler in schedulers.items():
        for key in sorted(set(scheduler) - {"class", "fit_window", "infer_every"}):
            found.left_out.append(
                f"schedulers.{name}.{key}: pronoia learns with every sample, nothing is refitted"
            )
        if str(scheduler.get("class", "periodic")).split(".")[-1].lower().startswith(("oneoff", "backtest")):
            found.left_out.append(f"schedulers.{name}: use `pronoia backtest`")
    for key in sorted(set(source) & {"preset", "settings", "monitoring", "server", "license"}):
        found.left_out.append(f"{key}: {_ELSEWHERE[key]}")
    return found


_ELSEWHERE = {
    "preset": "has no equivalent; `pronoia init` proposes queries from what your server has",
    "settings": "state is always saved; log levels are under log.level",
    "monitoring": "the sidecar's own metrics are at /metrics of server.listen",
    "server": "one port serves everything: server.listen",
    "license": "none is needed",
}


def _section(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = source.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def _aliased(source: Mapping[str, Any], plural: str, singular: str) -> dict[str, dict[str, Any]]:
    """Sections by alias; the older form has one without an alias."""
    if singular in source:
        return {"default": _section(source, singular)}
    return {str(name): dict(value or {}) for name, value in _section(source, plural).items()}


def _environment(text: str) -> str:
    """Their `%{NAME}` as our `${NAME}`; a `${NAME}` of theirs is plain text."""
    return _PLACEHOLDER.sub(r"${\1}", text.replace("${", "$${"))


def _duration(value: object) -> object:
    """A duration of theirs as one of ours: theirs may be ISO 8601's, `PT1H` or `P14D`."""
    found = _ISO_DURATION.fullmatch(str(value))
    if found is None:
        return value
    return "".join(f"{count}{unit}" for count, unit in zip(found.groups(), "wdhms", strict=True) if count)


def _prometheus(reader: dict[str, Any], left_out: list[str]) -> dict[str, Any]:
    section: dict[str, Any] = {}
    if reader.get("datasource_url"):
        section["url"] = _environment(str(reader["datasource_url"])).rstrip("/")
    if reader.get("timeout"):
        section["timeout"] = _duration(reader["timeout"])
    http: dict[str, Any] = {
        name: _environment(str(reader[name]))
        for name in ("bearer_token", "bearer_token_file")
        if reader.get(name)
    }
    if reader.get("user"):
        http["basic_auth"] = {
            "username": _environment(str(reader["user"])),
            "password": _environment(str(reader.get("password", ""))),
        }
    tls: dict[str, Any] = {}
    if reader.get("verify_tls") is False:
        tls["insecure_skip_verify"] = True
    if reader.get("tls_cert_file"):
        tls |= {"cert_file": reader["tls_cert_file"], "key_file": reader.get("tls_key_file")}
    if tls:
        http["tls"] = tls
    if http:
        section["http"] = http
    if str(reader.get("class", "vm")).lower() not in ("vm", "reader.vm.vmreader"):
        left_out.append(f"reader.class {reader['class']}: only Prometheus' API is read")
    for key in sorted(set(reader) - _READER_KEYS):
        why = (
            "put the tenant into the URL's path, as VictoriaMetrics' cluster has it"
            if key == "tenant_id"
            else ""
        )
        left_out.append(f"reader.{key}" + (f": {why}" if why else ""))
    return section


def _queries(
    reader: dict[str, Any],
    models: dict[str, dict[str, Any]],
    schedulers: dict[str, dict[str, Any]],
    left_out: list[str],
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for alias, value in _section(reader, "queries").items():
        given = {"expr": value} if isinstance(value, str) else dict(value or {})
        place = f"reader.queries.{alias}"
        expr = _environment(str(given.get("expr", "")))
        try:
            parse_promql(expr.replace("$${", "${"))
        except ValueError as error:
            left_out.append(f"{place}: not watched, since it is not PromQL: {' '.join(str(error).split())}")
            continue
        of_query = [one for one in models.values() if alias in (one.get("queries") or [alias])]
        if models and not of_query:
            left_out.append(f"{place}: no model used it; it is watched now")
        name = _legal(str(alias))
        while any(name == other["name"] for other in found):
            name += "_"
        if name != alias:
            left_out.append(f"{place}: is called {name} now, its name has to be one for a label")
        query: dict[str, Any] = {"name": name, "expr": expr}
        step = given.get("step") or reader.get("sampling_period")
        if step:
            query["step"] = _duration(step)
        windows = [
            parse_duration(_duration(schedulers[name]["fit_window"]))
            for model in of_query or [{}]
            for name in (model.get("schedulers") or schedulers)
            if schedulers.get(name, {}).get("fit_window")
        ]
        if windows:
            query["history"] = format_duration(max(windows))
        query |= _policy(given, of_query, place, left_out)
        left_out.extend(f"{place}.{key}" for key in sorted(set(given) - _QUERY_KEYS))
        found.append(query)
    return found


def _policy(
    given: dict[str, Any], of_query: Sequence[dict[str, Any]], place: str, left_out: list[str]
) -> dict[str, Any]:
    """What counts as an anomaly: said of the query, in older files of its model."""
    policy: dict[str, Any] = {}

    def said(key: str) -> Any:
        if key in given:
            return given[key]
        return next((model[key] for model in of_query if key in model), None)

    direction = said("detection_direction")
    if direction in _DIRECTIONS and direction != "both":
        policy["direction"] = _DIRECTIONS[direction]
    for theirs, (ours, unit) in _DEVIATIONS.items():
        value = said(theirs)
        if value is None:
            continue
        sides = [float(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if len(set(sides)) > 1:
            left_out.append(f"{place}.{theirs}: one number for both sides, the smaller is taken")
        if min(sides) > 0:
            policy[ours] = min(sides) * unit
    for bound, limit in zip(("lower_bound", "upper_bound"), said("data_range") or (), strict=False):
        if abs(number := float(limit)) != float("inf"):
            policy[bound] = number
    return policy


def _legal(name: str) -> str:
    legal = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "_" + legal if legal[:1].isdigit() or not legal else legal


def _export(writer: dict[str, Any], left_out: list[str]) -> dict[str, Any]:
    section: dict[str, Any] = {"metric_format": ["pronoia", "vmanomaly"]}
    names = _section(writer, "metric_format")
    extra = {}
    for key, value in names.items():
        usual = {"__name__": "$VAR", "for": "$QUERY_KEY"}.get(key)
        if usual is None:
            extra[_legal(key)] = str(value)
        elif value != usual:
            left_out.append(f"writer.metric_format.{key}: {value!r}; pronoia writes {usual}")
    if extra:
        section["extra_labels"] = extra
    left_out.extend(
        f"writer.{key}: nothing is written; let your agent scrape /synthetic with honor_labels"
        for key in sorted(set(writer) - {"class", "metric_format"})
    )
    return section


def _tell_of_models(models: dict[str, dict[str, Any]], left_out: list[str]) -> None:
    for name, model in models.items():
        kind = model.get("class", "?")
        left_out.append(f"models.{name}.class {kind}: pronoia's ensemble takes its place")
        if model.get("groupby") or "multivariate" in str(kind):
            left_out.append(f"models.{name}: series are judged each by itself, not as a group")
        known = {*_MODEL_KEYS, *_DEVIATIONS, "detection_direction", "data_range", "groupby"}
        left_out.extend(f"models.{name}.{key}" for key in sorted(set(model) - known))
