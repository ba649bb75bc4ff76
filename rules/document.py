"""Thresholds into a rule file that people can read and Prometheus can load.

Recording rules hold the learned numbers as literals, one a series; the alert
compares with the live expectation where Prometheus has one and with the
literals where it has none, so it keeps firing when pronoia is down. Learned
numbers and revisions stand in expressions and annotations only: Prometheus
keeps an alert's pending state over a reload by its name and labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from rules.learn import Threshold, Thresholds
from sidecar.config.fields import format_duration
from sidecar.config.model import RulesConfig

UPPER_LITERAL = "pronoia:expected_upper:literal"
LOWER_LITERAL = "pronoia:expected_lower:literal"
HOUR_OF_WEEK = "day_of_week() * 24 + hour()"


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A generated rule file: its group, file name, text, and the revision that names this very text."""

    group: str
    file_name: str
    revision: str
    text: str


def render(thresholds: Thresholds, config: RulesConfig) -> RuleFile:
    """The rule file of one query; the same thresholds give the same bytes."""
    query = thresholds.query
    rules: list[dict[str, Any]] = []
    for name, side in ((UPPER_LITERAL, thresholds.above), (LOWER_LITERAL, thresholds.below)):
        rules.extend(_recording(name, threshold, query.name) for threshold in side)
    revision = _digest([rules, shape(thresholds, config)])
    rules.extend(_alerts(thresholds, revision))
    group = f"pronoia-{query.name}"
    document = {
        "groups": [
            {"name": group, "interval": format_duration(config.evaluation_interval), "rules": rules},
        ]
    }
    header = (
        f"# Written by pronoia from what it learned of the query {query.name!r}; "
        "edits are kept, not renewed.\n"
        f"# revision: {revision}\n"
        f"# learned from {thresholds.n_samples} samples\n"
        f"# undo: pronoia rules rollback {group}\n"
    )
    for reason, count in sorted(thresholds.left_out.items()):
        header += f"# left out: {count} series, {reason}\n"
    text = header + as_yaml(document)
    return RuleFile(group, f"{group}.rules.yaml", revision, text)


def shape(thresholds: Thresholds, config: RulesConfig) -> str:
    """What names all of a file but its numbers: how its alerts are worded, and how often evaluated."""
    return _digest([_alerts(thresholds, ""), config.evaluation_interval])


def _digest(document: list[Any]) -> str:
    return hashlib.sha256(yaml.safe_dump(document, sort_keys=True).encode()).hexdigest()[:12]


def literal_expr(threshold: Threshold) -> str:
    """PromQL whose value is the bound at the time of evaluation.

    >>> from rules.learn import Segment
    >>> from sidecar.series import LabelSet
    >>> literal_expr(Threshold(LabelSet(), 24, (Segment(0, 8, 5.0), Segment(8, 24, 9.5))))
    'vector(5) and on () (hour() < 8)\\nor vector(9.5) and on () (hour() >= 8)'
    """
    clock = "hour()" if threshold.period == 24 else HOUR_OF_WEEK
    parts = []
    for segment in threshold.segments:
        value = f"vector({segment.value:.12g})"
        bounds = ""
        if segment.first > 0:
            bounds += f" >= {segment.first}"
        if segment.end < threshold.period:
            bounds += f" < {segment.end}"
        parts.append(f"{value} and on () ({clock}{bounds})" if bounds else value)
    return "\nor ".join(parts)


def _recording(name: str, threshold: Threshold, query: str) -> dict[str, Any]:
    return {
        "record": name,
        "expr": literal_expr(threshold),
        "labels": {**dict(threshold.labels.pairs), "query": query},
    }


def _alerts(thresholds: Thresholds, revision: str) -> list[dict[str, Any]]:
    sides = (("above", thresholds.above), ("below", thresholds.below))
    with_value = [_alert(thresholds, side, revision) for side, members in sides if members]
    return [*with_value, *_alerts_without_value(thresholds, revision)]


def _alert(thresholds: Thresholds, side: str, revision: str) -> dict[str, Any]:
    query = thresholds.query
    members = thresholds.above if side == "above" else thresholds.below
    live, literal, operator = (
        ("pronoia_expected_upper", UPPER_LITERAL, ">")
        if side == "above"
        else ("pronoia_expected_lower", LOWER_LITERAL, "<")
    )
    on = _label_names(members)
    bound = (
        f'max by ({on}) ({live}{{query="{query.name}"}})\n'
        f'  or max by ({on}) ({literal}{{query="{query.name}"}})'
    )
    # group_left: a label that the series gain after learning must not break the alert.
    expr = f"({query.expr})\n{operator} on ({on}) group_left () (\n  {bound}\n)"
    return _alert_of(
        thresholds, f"{side.capitalize()}Expected", expr, f"is {side} what is expected", members, revision
    )


def _alert_of(
    thresholds: Thresholds,
    name: str,
    expr: str,
    what: str,
    members: tuple[Threshold, ...],
    revision: str,
) -> dict[str, Any]:
    query = thresholds.query
    taken = {name for threshold in members for name in threshold.labels}
    labels = {"severity": query.severity, "query": query.name, "generator": "pronoia"}
    on = _label_names(members)
    where = ", ".join(f"{name} {{{{ $labels.{name} }}}}" for name in on.split(", ") if name)
    return {
        "alert": camel(query.name) + name,
        "expr": expr,
        "for": format_duration(query.rule_for),
        # A series' own label of that name stays: overwriting it would merge different alerts.
        "labels": {name: value for name, value in labels.items() if name not in taken},
        "annotations": {
            "summary": f"{query.name} {what}" + (f" ({where})" if where else ""),
            "description": f"Now {{{{ $value | humanize }}}}. "
            f'See pronoia_expected{{query="{query.name}"}} and /api/v1/series?query={query.name}.',
            "pronoia_revision": revision,
        },
    }


def _alerts_without_value(thresholds: Thresholds, revision: str) -> list[dict[str, Any]]:
    """What no comparison with a value sees: a course unlike itself inside the band, a series that stopped."""
    query = thresholds.query
    members = thresholds.above + thresholds.below
    on = _label_names(members)
    found = [
        (
            "Unusual",
            f'max by ({on}) (pronoia_anomaly_score{{query="{query.name}"}}) > 1\n'
            # Where the value is told of already, this would be the same incident twice.
            f"unless on ({on}) ALERTS{{"
            f'alertname=~"{camel(query.name)}(Above|Below)Expected", alertstate="firing"}}',
            "moves unlike itself, within what is expected of each value",
        )
    ]
    if query.absence != "off":
        found.append(
            (
                "Absent",
                f'max by ({on}) (pronoia_series_absent{{query="{query.name}"}}) > 0',
                "has stopped: there are no samples any more",
            )
        )
    return [_alert_of(thresholds, name, expr, summary, members, revision) for name, expr, summary in found]


def _label_names(members: Iterable[Threshold]) -> str:
    return ", ".join(sorted({name for threshold in members for name in threshold.labels}))


def camel(name: str) -> str:
    """An alert's name from a query's.

    >>> camel("cdn_error_ratio")
    'CdnErrorRatio'
    """
    return "".join(part.capitalize() for part in name.split("_") if part)


def as_yaml(document: dict[str, Any]) -> str:
    """A rule file's text: keys in their order, expressions of several lines as blocks."""
    return yaml.dump(document, Dumper=_Readable, sort_keys=False, width=100)


class _Readable(yaml.SafeDumper):
    """Expressions of several lines as blocks, as people write them; nothing as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each rule stands for itself."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)
