"""Rules as people wrote them, from wherever they stand: files, PrometheusRule objects, a Prometheus' API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rules.adapt.joined import without_series
from sidecar import plain_yaml
from sidecar.config.fields import parse_duration
from sidecar.errors import RuleError, RuleReason
from sidecar.prometheus.answers import Rule
from sidecar.promql.nesting import MAX_DEPTH
from sidecar.promql.syntax import Syntax
from sidecar.promql.threshold import Comparison, NoComparison, parse_comparison

PROTECTED = ("pronoia", "ignore")
"""A rule with this label is never touched."""

UNITS = {
    "seconds": "seconds",
    "bytes": "bytes",
    "ratio": "ratio",
    "percent": "percent",
    "celsius": "celsius",
    "total": "events",
}
_ONE_MOMENT = re.compile(r"@ (?:start|end)\(\)")
"""In a rule the time of its evaluation, in the question about its past one moment of all those days."""

_IN_SCALE = re.compile(r"(?:_(?:bucket|sum|count))?$")

WHY = {
    NoComparison.NOT_PROMQL: "its expression is not PromQL that the parser knows",
    NoComparison.TOO_DEEP: f"it is nested deeper than {MAX_DEPTH}, and is not read",
    NoComparison.NO_COMPARISON: "it compares nothing with a threshold",
    NoComparison.SEVERAL: "it has several comparisons; give each an alert of its own",
    NoComparison.NOT_A_NUMBER: "it compares with another series, not with a number",
    NoComparison.NO_SERIES: "it selects no series",
    NoComparison.BOOL: "its comparison is `bool`: 0 and 1 both make it fire",
}


UNWRITTEN = "what it measures cannot be asked for by itself: the parser writes it as no PromQL"


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """One rule as it was written; durations in seconds, `interval_seconds` None where the server's holds.

    `labels`: those of its group among them, as they are on its alerts. `group_options`: what else its
    group says of how it is evaluated. `evaluation_seconds`, `health` and `last_error` are known of
    loaded rules only.
    """

    name: str
    expr: str
    kind: str  # alerting | recording
    group: str = ""
    file: str = ""
    for_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    interval_seconds: float | None = None
    group_options: Mapping[str, Any] = field(default_factory=dict)
    evaluation_seconds: float | None = None
    health: str = ""
    last_error: str = ""

    @property
    def alerting(self) -> bool:
        """True for an alert, False for a recording rule."""
        return self.kind == "alerting"

    @property
    def protected(self) -> bool:
        """True where its people do not want it touched: label `pronoia: ignore`."""
        name, value = PROTECTED
        return self.labels.get(name) == value

    @property
    def limit(self) -> int:
        """More alerts at once than that make its evaluation fail, by its group; 0: none do."""
        limit = self.group_options.get("limit")
        return limit if isinstance(limit, int) else 0

    @property
    def key(self) -> str:
        """Group, name and labels: what Prometheus carries an alert's state over a reload by."""
        labels = ",".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return f"{self.group}/{self.name}" + (f"{{{labels}}}" if labels else "")

    @property
    def severity(self) -> str:
        """The label of that name; empty where there is none."""
        return self.labels.get("severity", "")


def taken_apart(rule: WrittenRule) -> Comparison | str:
    """The rule's comparison with a number, or why pronoia cannot adapt the rule, in words."""
    if not rule.alerting:
        return "it is a recording rule"
    if rule.protected:
        return "it carries the label pronoia: ignore"
    if rule.labels.get("generator") == "pronoia" or "pronoia_canary" in rule.labels:
        return "pronoia itself wrote it"
    found = parse_comparison(without_series(rule.expr) or rule.expr)
    if isinstance(found, NoComparison):
        return WHY[found]
    try:
        again = [str(Syntax.parse(f"{found.measured} {rest}").tree) for rest in ("", *found.conditions)]
    except ValueError:
        return UNWRITTEN
    if _ONE_MOMENT.search(again[0]):
        return "it asks for one moment (@ start() or @ end()), which is another one in its past"
    if not found.ordered:
        return f"its threshold is a state ({found.operator} {found.threshold:g}), not a level"
    return found


def unit_of(comparison: Comparison) -> str:
    """What the threshold counts, as far as the metric's name tells; empty where it does not.

    >>> unit_of(Comparison("node_filesystem_free_bytes", "<", 1e9, (), ("node_filesystem_free_bytes",)))
    'bytes'
    >>> unit_of(Comparison("rate(errors_total[5m]) / rate(asked_total[5m])", ">", 0.1, (), ("a_total",)))
    'ratio'
    """
    if " / " in comparison.measured:
        return "ratio"
    names = {_IN_SCALE.sub("", name).rpartition("_")[2] for name in comparison.metrics}
    known = {UNITS[name] for name in names if name in UNITS}
    unit = known.pop() if len(known) == 1 else ""
    return "events per second" if unit == "events" and "rate(" in comparison.measured else unit


_OF_TESTS, _OF_RULES = re.compile(r"^tests:", re.MULTILINE), re.compile(r"^groups:", re.MULTILINE)


def read_files(paths: Iterable[Path]) -> list[WrittenRule]:
    """The rules of files and of the `*.y*ml` files of folders, promtool's unit tests in these left out.

    Raises: RuleError for what is no rule file.
    """
    found: list[WrittenRule] = []
    for path in paths:
        for file in sorted(path.glob("*.y*ml")) if path.is_dir() else [path]:
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RuleError(RuleReason.CHECK_FAILED, f"{file}: {error}") from error
            if path.is_dir() and _OF_TESTS.search(text) and not _OF_RULES.search(text):
                continue
            found.extend(read_text(text, str(file)))
    return found


_OF_EACH = ("name", "interval", "labels", "rules")
"""What a group says that is a field of each of its rules."""


class _AsWritten(yaml.SafeLoader):
    """Scalars as the text that they are: to Prometheus a label `yes` is no truth, and `012` no ten."""


_AsWritten.yaml_implicit_resolvers = {
    first: [each for each in known if each[0].endswith((":merge", ":null"))]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_text(text: str, file: str = "") -> list[WrittenRule]:
    """The rules of a rule file, of PrometheusRule objects, or of a list of such, in order.

    `file`: where the text is from; objects of a text from nowhere are named after themselves.

    Raises: RuleError naming the place of what is no rule.
    """
    try:
        documents = list(yaml.load_all(text, _AsWritten))
        return [rule for document in documents for rule in _rules_in(document, file)]
    except yaml.YAMLError as error:
        words = f"{file}: {plain_yaml.place_of(error)} {plain_yaml.words_of(error)}"
        raise RuleError(RuleReason.CHECK_FAILED, words) from error
    except RecursionError as error:
        raise RuleError(
            RuleReason.CHECK_FAILED, f"{file}: not a rule file: it is nested too deeply"
        ) from error
    except KeyError as error:
        words = f"{file}: not a rule file: something in it has no {error.args[0]!r}"
        raise RuleError(RuleReason.CHECK_FAILED, words) from error
    except (AttributeError, TypeError) as error:
        words = f"{file}: not a rule file: write groups, each with a name and rules"
        raise RuleError(RuleReason.CHECK_FAILED, words) from error
    except ValueError as error:
        raise RuleError(RuleReason.CHECK_FAILED, f"{file}: {error}") from error


def _rules_in(document: Any, file: str) -> Iterator[WrittenRule]:
    if document is None:
        return
    if document.get("kind") == "List":
        for item in document["items"]:
            yield from _rules_in(item, file)
        return
    if document.get("kind") == "PrometheusRule":
        facts = document.get("metadata") or {}
        file = file or "/".join(part for part in (facts.get("namespace"), facts.get("name")) if part)
        document = {"groups": (), **(document["spec"] or {})}
    for group in document["groups"] or ():
        for rule in group.get("rules") or ():
            name = rule.get("alert") or rule.get("record")
            if not name:
                raise ValueError(f"a rule of the group {group['name']} has neither `alert` nor `record`")
            if rule.get("expr") is None:
                raise ValueError(f"{name} has no `expr`")
            try:
                yield _rule_of(rule, group, file)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error


def _rule_of(rule: Mapping[str, Any], group: Mapping[str, Any], file: str) -> WrittenRule:
    return WrittenRule(
        name=str(rule.get("alert") or rule["record"]),
        expr=str(rule["expr"]).strip(),
        kind="alerting" if "alert" in rule else "recording",
        group=str(group["name"]),
        file=file,
        for_seconds=parse_duration(rule.get("for") or 0),
        keep_firing_seconds=parse_duration(rule.get("keep_firing_for") or 0),
        labels=_texts(group.get("labels")) | _texts(rule.get("labels")),
        annotations=_texts(rule.get("annotations")),
        interval_seconds=parse_duration(group["interval"]) if group.get("interval") else None,
        group_options={key: _typed(value) for key, value in group.items() if key not in _OF_EACH},
    )


def _typed(value: object) -> object:
    """An option as YAML means it: a limit is a number."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(name): "" if value is None else str(value) for name, value in (values or {}).items()}


def of_server(loaded: Iterable[Rule]) -> list[WrittenRule]:
    """The rules that a Prometheus has loaded."""
    return [
        WrittenRule(
            name=rule.name,
            expr=rule.expr,
            kind=rule.kind,
            group=rule.group,
            file=rule.file,
            for_seconds=rule.duration_seconds,
            keep_firing_seconds=rule.keep_firing_seconds,
            labels=rule.labels,
            annotations=rule.annotations,
            interval_seconds=rule.interval_seconds or None,
            group_options={"limit": rule.limit} if rule.limit else {},
            evaluation_seconds=rule.evaluation_seconds,
            health=rule.health,
            last_error=rule.last_error,
        )
        for rule in loaded
    ]
