"""Which metrics are worth watching first, and as what expression: decided from names, types and labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby

from sidecar.config.model import NAME_LENGTH
from sidecar.loop.propose_alerts import Direction, Measured
from sidecar.series import LabelSet


class Rank(IntEnum):
    """The order in which candidates are taken; smaller is sooner."""

    ALERTED = 0
    ERRORS = 1
    LATENCY = 2
    TRAFFIC = 3
    UP = 4
    RECORDED = 5
    STATE = 6
    WORK = 7
    MACHINE = 8
    DETAIL = 9
    INTERNAL = 10


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What is known of one metric name: type and help (as scraped), series now, and their label sets.

    `labels` is empty where there are too many series to look at each.
    """

    name: str
    type: str
    help: str
    n_series: int
    labels: tuple[LabelSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An expression that may be watched, before anyone counted what it matches."""

    name: str
    expr: str
    rank: Rank
    reason: str
    direction: Direction = "both"
    rule: bool = False
    lower_bound: float | None = None
    upper_bound: float | None = None
    even_if_constant: bool = True
    """False where an answer that never moves leaves nothing to learn, as for a gauge of limits."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is not watched, and why."""

    what: str
    reason: str


OWN = re.compile(r"^(pronoia[_:]|ALERTS(_FOR_STATE)?$)")
INTERNAL = re.compile(
    r"^(go_|process_|promhttp_|scrape_|python_|jvm_|nodejs_|net_conntrack_|node_scrape_"
    r"|prometheus_|alertmanager_)"
)
MACHINE = re.compile(r"^(node_|container_|machine_|kube_|kubelet_|windows_|cadvisor_)")
DATES = re.compile(
    r"(_created|_timestamp(_seconds)?|_time_seconds|_last_\w+_seconds|start_time\w*|boot_time\w*|_mtime\w*)$"
)
FACTS = re.compile(r"(_info|_build_info|_labels|_metadata|_configs?)$")
LIMITS = re.compile(r"(_max|_limit|_limits|_capacity|_total_bytes|_size_bytes|_MemTotal_bytes)$")

CODE_LABELS = ("code", "status", "status_code", "http_status", "response_code", "http_status_code")
OUTCOME_LABELS = ("result", "outcome", "status", "state", "success")
BAD_OUTCOMES = frozenset(
    ("error", "errors", "failed", "failure", "fail", "declined", "rejected", "timeout", "dropped")
)

GROUP_FIRST = ("cluster", "namespace", "job", "service", "app")
"""Labels that say whose series it is; kept in every sum where they are."""

GROUP_NEVER = frozenset(
    (
        *(
            "instance",
            "pod",
            "container",
            "node",
            "cpu",
            "le",
            "quantile",
            "id",
            "ip",
            "endpoint",
            "path",
            "url",
        ),
        *("method", "handler", "version", *CODE_LABELS),
    )
)
GROUPS_AT_MOST = 40
PLAIN_AT_MOST = 40
"""A gauge with more series than this is averaged by its groups instead of watched one by one."""

WINDOW = "5m"


def candidates(
    metrics: Sequence[MetricFacts], alerts: Sequence[tuple[str, Measured]]
) -> tuple[list[Candidate], list[LeftOut]]:
    """Candidates, best first, and what is not worth watching at all. Pure: the same in, the same out."""
    found: list[Candidate] = []
    left_out: list[LeftOut] = []
    for alert, side in alerts:
        found.append(
            Candidate(
                slug(alert), side.expr, Rank.ALERTED, f"the alert {alert} compares it with a threshold",
                direction=side.direction, rule=True,
            )
        )  # fmt: skip
    by_name = {metric.name: metric for metric in metrics}
    reasons: list[tuple[str, str]] = []
    for metric in metrics:
        if reason := _worthless(metric, by_name):
            reasons.append((reason, metric.name))
        else:
            found.extend(one for one in _of_metric(metric, by_name) if not _watched(one, metric, alerts))
    for reason, group in groupby(sorted(reasons), key=lambda pair: pair[0]):
        if reason != PART:
            left_out.append(LeftOut(shorten([name for _, name in group]), reason))
    found.sort(key=lambda candidate: (candidate.rank, candidate.name))
    return found, left_out


def _watched(candidate: Candidate, metric: MetricFacts, alerts: Sequence[tuple[str, Measured]]) -> bool:
    """Whether an alert already measures this share of errors over all of the metric's series."""
    return candidate.rank is Rank.ERRORS and any(
        "/" in side.expr and f"({metric.name}[" in side.expr for _, side in alerts
    )


PART = "part of a histogram or summary"


def _worthless(metric: MetricFacts, by_name: Mapping[str, MetricFacts]) -> str:
    name = metric.name
    if OWN.match(name):
        return "pronoia's own, or made of alerts: it must not learn from itself"
    if name == "up" or ":" in name:
        return ""
    if _parent(name, by_name):
        return PART
    if FACTS.search(name) or metric.type == "info":
        return "carries facts in labels, its value is always 1"
    if DATES.search(name):
        return "a date, which only grows"
    if LIMITS.search(name):
        return "a limit or size, which hardly ever changes"
    if name.startswith("scrape_"):
        return "Prometheus' notes on its own scrapes; `up` tells it better"
    return ""


def _parent(name: str, by_name: Mapping[str, MetricFacts]) -> str:
    for suffix in ("_bucket", "_sum", "_count"):
        whole = name.removesuffix(suffix)
        if whole != name and f"{whole}_count" in by_name and f"{whole}_sum" in by_name and suffix != "_count":
            return whole
    return ""


def _of_metric(metric: MetricFacts, by_name: Mapping[str, MetricFacts]) -> Iterator[Candidate]:
    name = metric.name
    if name == "up":
        yield Candidate(
            "targets_up", "avg by (job) (up)", Rank.UP, "the share of a job's targets that can be scraped",
            direction="below", lower_bound=0.0, upper_bound=1.0,
        )  # fmt: skip
    elif ":" in name:
        yield Candidate(slug(name), name, Rank.RECORDED, "people record it by a rule, so they look at it",
                        even_if_constant=False)  # fmt: skip
    elif name.endswith("_count") and f"{name[:-6]}_sum" in by_name:
        yield from _timed(metric, by_name)
    elif metric.type == "counter" or (not metric.type and name.endswith("_total")):
        yield from _counted(metric)
    else:
        yield from _gauged(metric)


def _timed(metric: MetricFacts, by_name: Mapping[str, MetricFacts]) -> Iterator[Candidate]:
    """Duration, and rate, of a histogram or summary, told from its `_count`."""
    whole = metric.name[:-6]
    by = grouping(metric)
    rank = _rank(whole, Rank.LATENCY)
    if f"{whole}_bucket" in by_name:
        inner = ", ".join(("le", *by))
        expr = f"histogram_quantile(0.95, sum by ({inner}) (rate({whole}_bucket[{WINDOW}])))"
        yield Candidate(slug(f"{whole}_p95"), expr, rank, "95th percentile of a histogram",
                        direction="above", rule=rank is Rank.LATENCY, lower_bound=0.0)  # fmt: skip
    else:
        expr = f"{_sum(whole + '_sum', by)} / {_sum(metric.name, by)}"
        yield Candidate(slug(f"{whole}_mean"), expr, rank, "mean of a summary", direction="above",
                        lower_bound=0.0)  # fmt: skip
    yield Candidate(slug(f"{whole}_rate"), _sum(metric.name, by), _rank(whole, Rank.TRAFFIC),
                    "how often it happens", lower_bound=0.0, even_if_constant=False)  # fmt: skip
    yield from _failing(metric, by, whole)


def _counted(metric: MetricFacts) -> Iterator[Candidate]:
    by = grouping(metric)
    whole = metric.name.removesuffix("_total")
    traffic = any(label in _labels_of(metric) for label in (*CODE_LABELS, *OUTCOME_LABELS)) or re.search(
        r"(request|query|queries|message|payment|order|session|job)s?(_|$)", whole
    )
    rank = _rank(metric.name, Rank.TRAFFIC if traffic else Rank.WORK)
    yield Candidate(slug(f"{whole}_rate"), _sum(metric.name, by), rank, "how often it happens",
                    lower_bound=0.0, even_if_constant=False)  # fmt: skip
    yield from _failing(metric, by, whole)


def _failing(metric: MetricFacts, by: Sequence[str], whole: str) -> Iterator[Candidate]:
    """The share of errors, where a label tells errors from the rest."""
    labels = _labels_of(metric)
    matcher = ""
    for label in CODE_LABELS:
        if any(re.fullmatch(r"5\d\d|5xx", value) for value in labels.get(label, ())):
            matcher = f'{label}=~"5.."'
            break
    else:
        for label in OUTCOME_LABELS:
            bad = sorted(BAD_OUTCOMES & labels.get(label, frozenset()))
            if bad and len(labels[label]) > len(bad):
                matcher = f'{label}=~"{"|".join(bad)}"'
                break
    if matcher:
        expr = f"{_sum(f'{metric.name}{{{matcher}}}', by)} / {_sum(metric.name, by)}"
        yield Candidate(
            slug(f"{whole}_error_ratio"), expr, _rank(metric.name, Rank.ERRORS), "the share that fails",
            direction="above", rule=_rank(metric.name, Rank.ERRORS) is Rank.ERRORS, lower_bound=0.0,
        )  # fmt: skip


def _gauged(metric: MetricFacts) -> Iterator[Candidate]:
    rank, name = _rank(metric.name, Rank.STATE), metric.name
    latency = re.search(r"(latency|duration|response|wait)\w*_seconds$", name)
    failing = re.search(r"(error|failure|buffering|miss|drop)\w*_ratio$", name)
    how: dict[str, object] = {"even_if_constant": False}
    if latency or failing:
        rank = _rank(name, Rank.LATENCY if latency else Rank.ERRORS)
        how |= {"direction": "above", "lower_bound": 0.0, "rule": rank in (Rank.LATENCY, Rank.ERRORS)}
    if name.endswith("_ratio"):
        how |= {"lower_bound": 0.0, "upper_bound": 1.0}
    if metric.n_series <= PLAIN_AT_MOST:
        yield Candidate(slug(name), name, rank, "a state that moves", **how)  # type: ignore[arg-type]
    else:
        by = grouping(metric)
        expr = f"avg by ({', '.join(by)}) ({name})" if by else f"avg({name})"
        reason = f"the mean of a state of {metric.n_series} series"
        yield Candidate(slug(name), expr, rank, reason, **how)  # type: ignore[arg-type]


def grouping(metric: MetricFacts) -> list[str]:
    """Labels to sum by: whose series it is, then what splits it into few groups."""
    labels = _labels_of(metric)
    chosen = [label for label in GROUP_FIRST if label in labels]
    if not metric.labels:
        return ["job"]
    others = sorted(
        (
            label
            for label in labels
            if label not in GROUP_NEVER and label not in GROUP_FIRST and label != "__name__"
        ),
        key=lambda label: (len(labels[label]), label),
    )
    for label in others:
        if len(labels[label]) < 2 or label in OUTCOME_LABELS:
            continue
        if _n_groups(metric, [*chosen, label]) <= GROUPS_AT_MOST:
            chosen.append(label)
    return chosen


def _n_groups(metric: MetricFacts, by: Sequence[str]) -> int:
    return len({tuple(labels.get(label, "") for label in by) for labels in metric.labels})


def _labels_of(metric: MetricFacts) -> dict[str, frozenset[str]]:
    values: dict[str, set[str]] = {}
    for labels in metric.labels:
        for key, value in labels.pairs:
            values.setdefault(key, set()).add(value)
    return {key: frozenset(inside) for key, inside in values.items()}


def _sum(selector: str, by: Sequence[str]) -> str:
    inside = f"(rate({selector}[{WINDOW}]))"
    return f"sum by ({', '.join(by)}) {inside}" if by else f"sum{inside}"


def _rank(name: str, usual: Rank) -> Rank:
    if INTERNAL.match(name):
        return Rank.INTERNAL
    if not MACHINE.match(name):
        return usual
    return Rank.MACHINE if _FELT.search(name) else Rank.DETAIL


# Of a machine's several hundred metrics these are what its users feel.
_FELT = re.compile(
    r"load1$|MemAvailable|filesystem_avail|cpu_seconds|disk_io_time_seconds|network_(receive|transmit)_bytes"
    r"|memory_working_set|cpu_usage_seconds|oom|pressure_(cpu|io|memory)_waiting"
)


SLUG_LENGTH = NAME_LENGTH - 8
"""Room for a number behind names that would be equal."""


def slug(text: str) -> str:
    """A query name: lower-case words with underscores.

    >>> slug("KubePodCrashLooping"), slug("job:http_requests:rate5m"), slug("95th")
    ('kube_pod_crash_looping', 'job_http_requests_rate5m', '_95th')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return (name if re.match(r"[a-z]", name) else f"_{name}")[:SLUG_LENGTH]


def shorten(names: Sequence[str], at_most: int = 6) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"
