"""Back-test against reality: a real Prometheus evaluates many rules; its ALERTS are compared with ours.

What the rules see is written ahead: a sample that came late would be in the history, and not in what was
evaluated before it came.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry

from rules.backtest.past import BackTester, RulePast, Window
from rules.read import read_files
from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.integration.remote_write import Labels, remote_write
from tests.integration.servers import Prometheus, get_json, http, run_blocking, wait_until

pytestmark = pytest.mark.integration

LIVE_SECONDS = 20
WRITTEN_SECONDS = 180
TRIES = 3

Runs = dict[Labels, list[tuple[int, int]]]
"""By series the first and last evaluation of each firing, in ms."""


def page(t: int) -> Iterator[tuple[str, dict[str, str], float]]:
    """Squares and saws at a second: what is there then."""
    for pod, period, on in (("a", 12, 7), ("b", 20, 12), ("c", 8, 4)):
        high = t % period < on
        yield "level", {"pod": pod, "zone": "eu"}, 9 if high else 1
        yield "signed", {"pod": pod}, -3 if high else 3
        yield "asked", {"pod": pod}, 0 if high else 5
        yield "failed", {"pod": pod}, 2
        yield "info", {"pod": pod, "version": f"v{t // 10}"}, 1
        if high:
            yield "sometimes", {"pod": pod}, 1
    if t % 14 < 8:
        yield "lonely", {"job": "live"}, 1


def write_ahead(server: Prometheus) -> None:
    """A sample a second of everything, for as long as the test may last; what is gone ends."""
    began = int(time.time()) - 5
    series: dict[Labels, list[tuple[int, float | None]]] = defaultdict(list)
    there: set[Labels] = set()
    for t in range(WRITTEN_SECONDS):
        now = {tuple({"__name__": name, **labels}.items()): value for name, labels, value in page(t)}
        for labels, value in now.items():
            series[labels].append(((began + t) * 1000, value))
        for labels in there - now.keys():
            series[labels].append(((began + t) * 1000, None))
        there = set(now)
    remote_write(server, series)


RULES: list[tuple[str, str, str, str]] = [
    ("plain", "level > 5", "0s", "0s"),
    ("held", "level > 5", "2s", "0s"),
    ("held_long", "level > 5", "5s", "0s"),
    ("held_for_ever", "level > 5", "1m", "0s"),
    ("kept", "level > 5", "0s", "2s"),
    ("held_and_kept", "level > 5", "2s", "2s"),
    ("kept_over_gaps", "level > 5", "0s", "15s"),
    ("below", "level < 5", "2s", "0s"),
    ("mirrored", "5 < level", "2s", "0s"),
    ("equal", "level == 9", "0s", "0s"),
    ("unequal", "level != 9", "2s", "0s"),
    ("negative", "signed < -1", "0s", "0s"),
    ("present", "sometimes", "2s", "0s"),
    ("absent", "absent(lonely)", "0s", "0s"),
    ("absent_held", 'absent(lonely{job="live"})', "2s", "0s"),
    ("infinite_ratio", "failed / asked > 1", "0s", "0s"),
    ("not_a_number", "(asked - asked) / (asked - asked)", "0s", "0s"),
    ("sum", "sum(level) > 12", "2s", "0s"),
    ("by", "sum by (zone) (level) > 12", "0s", "0s"),
    ("most", "topk(1, level) > 5", "0s", "0s"),
    ("count", "count(level > 5) >= 2", "0s", "0s"),
    ("and", 'level > 5 and on (pod) signed < 0', "2s", "0s"),
    ("or", 'level{pod="a"} > 5 or level{pod="b"} < 5', "0s", "0s"),
    ("unless", 'level > 5 unless on (pod) level{pod="c"}', "2s", "0s"),
    ("joined", 'level * on (pod) group_left (version) info > 5', "0s", "0s"),
    ("offset", "level offset 3s > 5", "2s", "0s"),
    ("over_time", "max_over_time(level[3s]) > 5", "0s", "0s"),
    ("average", "avg_over_time(level[2s]) > 8", "0s", "0s"),
    ("subquery", "min_over_time((level > bool 5)[3s:1s]) == 1", "0s", "0s"),
    ("renamed", 'label_replace(level, "node", "n-$1", "pod", "(.*)") > 5', "2s", "0s"),
    ("regex", 'level{pod=~"a|c"} > 5', "2s", "2s"),
    ("constant", "vector(1)", "3s", "0s"),
    ("never", "level > 1000", "0s", "0s"),
    ("clock", "vector(time() % 10) < 5", "0s", "0s"),
    ("arithmetic", "level * 2 - 1 > 2 * 5", "2s", "0s"),
]  # fmt: skip

LIMIT = 2
LIMITED: list[tuple[str, str, str, str]] = [
    ("limited", "level > 5", "0s", "0s"),
    ("limited_held", "level > 5", "3s", "0s"),
    ("limited_kept", "level > 5", "0s", "2s"),
]
"""Of a group that allows two alerts at once; three pods are high at times."""


def written(name: str, expr: str, hold: str, keep: str, *, turn: int) -> dict[str, Any]:
    labels = {"severity": "page", "turn": str(turn)}
    rule = {"alert": name, "expr": expr, "for": hold, "labels": labels}
    return rule | ({"keep_firing_for": keep} if keep != "0s" else {})


def alerts_of(server: Prometheus, name: str, turn: int, state: str = "firing") -> dict[Labels, list[int]]:
    """When each series' alert was in that state, as the moments of evaluation in ms."""
    query = f'ALERTS{{alertname="{name}",turn="{turn}",alertstate="{state}"}}[{WRITTEN_SECONDS}s]'
    answer = get_json(f"{server.url}/api/v1/query?query={quote(query)}")
    return {
        _identity(series["metric"]): [round(moment * 1000) for moment, _ in series["values"]]
        for series in answer["data"]["result"]
    }


def _identity(labels: dict[str, str]) -> Labels:
    ours = ("__name__", "alertname", "alertstate", "severity", "turn")
    return tuple(sorted((name, value) for name, value in labels.items() if name not in ours))


def evaluations(server: Prometheus, turn: int) -> list[int]:
    """When the rules were evaluated, by one that is always active; the last may not be through yet."""
    states = (alerts_of(server, "constant", turn, state) for state in ("pending", "firing"))
    return sorted(moment for state in states for moments in state.values() for moment in moments)[:-1]


def load_and_watch(server: Prometheus, file: Path) -> tuple[int, list[int]]:
    """Load the rules, wait until they were evaluated each second for a while; the turn and the moments.

    An evaluation that a busy Prometheus left out is not for a back-test to know: the rules begin anew then.
    """
    for turn in range(TRIES):
        many, limited = ([written(*rule, turn=turn) for rule in those] for those in (RULES, LIMITED))
        groups = [
            {"name": f"many-{turn}", "rules": many},
            {"name": f"limited-{turn}", "limit": LIMIT, "rules": limited},
        ]
        file.write_text(json.dumps({"groups": groups}))
        assert http(f"{server.url}/-/reload", method="POST")[0] == 200

        def watched(turn: int = turn) -> list[int]:
            moments = evaluations(server, turn)
            enough = len(moments) > LIVE_SECONDS or left_out(moments)
            return moments if enough else []

        moments = wait_until(watched, every=0.5, timeout=50, what="evaluations")
        if not left_out(moments):
            return turn, moments
    raise AssertionError(f"Prometheus left out evaluations in each of {TRIES} tries")


def left_out(moments: list[int]) -> bool:
    return any(after - before > 1000 for before, after in pairwise(moments))


def real(server: Prometheus, name: str, turn: int, moments: list[int]) -> Runs:
    """Each run of evaluations at which an alert fired."""
    found: Runs = {}
    for key, fired in alerts_of(server, name, turn).items():
        runs: list[tuple[int, int]] = []
        for moment in (each for each in fired if each <= moments[-1]):
            follows = runs and moment - runs[-1][1] == 1000
            runs[-1:] = [(runs[-1][0], moment)] if follows else [*runs[-1:], (moment, moment)]
        if runs:
            found[key] = runs
    return found


def ours(past: RulePast) -> Runs:
    """The same from a back-test."""
    found: Runs = defaultdict(list)
    for firing in past.firings:
        found[_identity(dict(past.labels[firing.row]))].append((firing.start_ms, firing.end_ms - 1000))
    return dict(found)


async def test_firings_equal_those_of_a_real_prometheus(tmp_path: Path, keep: Callable[..., Any]) -> None:
    assert len(RULES) >= 30
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    file = server.rules / "many.yaml"
    server.start()
    write_ahead(server)
    turn, moments = await run_blocking(lambda: load_and_watch(server, file))
    told = {name: real(server, name, turn, moments) for name, *_ in (*RULES, *LIMITED)}
    rules = read_files([file])
    metrics = PullMetrics(CollectorRegistry())
    # Back-tests ask for whole steps; between one and the first evaluation nothing was written.
    window = Window(moments[0] // 1000 * 1000, moments[-1], 1000)
    async with PrometheusClient(SourceConfig(url=server.url), metrics=metrics) as client:
        pasts = await BackTester(client, at_once=4, memory=tmp_path / "memory").all(rules, window)
        again = await BackTester(client, memory=tmp_path / "memory").all(rules, window)
    assert [past.firings for past in again] == [past.firings for past in pasts]
    assert not [past.error for past in pasts if past.error]
    found = {past.rule.name: ours(past) for past in pasts}
    wrong = {name: (told[name], found[name]) for name in told if not alike(told[name], found[name], window)}
    assert not wrong, f"what was and what the back-test says: {wrong}"
    assert sum(len(runs) for by_series in told.values() for runs in by_series.values()) > 45


def alike(some: Runs, others: Runs, window: Window) -> bool:
    """Every firing has its like on the other side, to one evaluation; at the window's edges it may not.

    Prometheus evaluates each group at a part of the second of its own, so only whole ones are compared.
    """

    def close(moment: int, other: int) -> bool:
        return abs(moment // 1000 - other // 1000) <= 1

    def has_like(run: tuple[int, int], choice: list[tuple[int, int]]) -> bool:
        at_edge = run[1] <= window.start_ms + 1000 or run[0] >= window.end_ms - 1000
        return at_edge or any(close(run[0], one[0]) and close(run[1], one[1]) for one in choice)

    return all(
        has_like(run, those.get(key, []))
        for these, those in ((some, others), (others, some))
        for key, runs in these.items()
        for run in runs
    )
