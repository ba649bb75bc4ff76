"""Back-test against reality: a real Prometheus evaluates many rules; its ALERTS are compared with ours."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rules.backtest.past import BackTester, RulePast, Window
from rules.read import read_files
from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.integration.servers import Prometheus, get_json, wait_until

pytestmark = pytest.mark.integration

LIVE_SECONDS = 20
BEGAN = time.time()


def page(now: float) -> str:
    """Squares and saws whose edges lie seconds apart, so that a scrape more or less decides nothing."""
    t = now - BEGAN
    lines = []
    for pod, period, on in (("a", 12, 7), ("b", 20, 12), ("c", 8, 4)):
        high = t % period < on
        lines += [
            f'level{{pod="{pod}",zone="eu"}} {9 if high else 1}',
            f'signed{{pod="{pod}"}} {-3 if high else 3}',
            f'work_total{{pod="{pod}"}} {int(t * 10)}',
            f'bad_total{{pod="{pod}"}} {int(t // period * on * 5 + min(t % period, on) * 5)}',
            f'asked{{pod="{pod}"}} {0 if high else 5}',
            f'failed{{pod="{pod}"}} 2',
            f'info{{pod="{pod}",version="v{int(t // 10)}"}} 1',
        ]
        if high:
            lines.append(f'sometimes{{pod="{pod}"}} 1')
    if t % 14 < 8:
        lines.append("lonely 1")
    return "\n".join(lines) + "\n"


@pytest.fixture
def exporter() -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(time.time()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


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
    ("clock", "time() % 10 < 5 and on () vector(1)" , "0s", "0s"),
    ("arithmetic", "level * 2 - 1 > 2 * 5", "2s", "0s"),
]  # fmt: skip


def written(name: str, expr: str, hold: str, keep: str) -> dict[str, Any]:
    expr = expr.replace("time() % 10", "vector(time() % 10)")
    rule = {"alert": name, "expr": expr, "for": hold, "labels": {"severity": "page"}}
    return rule | ({"keep_firing_for": keep} if keep != "0s" else {})


def alerts_of(server: Prometheus, name: str, until: float) -> dict[tuple[tuple[str, str], ...], list[float]]:
    """When each series' alert fired, as the moments of evaluation in seconds."""
    query = f'ALERTS{{alertname="{name}",alertstate="firing"}}[{LIVE_SECONDS + 10}s]'
    answer = get_json(f"{server.url}/api/v1/query?query={_quoted(query)}&time={until}")
    return {
        _identity(series["metric"]): [moment for moment, _ in series["values"]]
        for series in answer["data"]["result"]
    }


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text)


def _identity(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    ours = ("__name__", "alertname", "alertstate", "severity")
    return tuple(sorted((name, value) for name, value in labels.items() if name not in ours))


def intervals(moments: list[float]) -> list[tuple[float, float]]:
    """First and last moment of each run of evaluations a second apart."""
    runs: list[tuple[float, float]] = []
    for moment in moments:
        if runs and moment - runs[-1][1] < 1.7:
            runs[-1] = (runs[-1][0], moment)
        else:
            runs.append((moment, moment))
    return runs


def ours(past: RulePast, since: float) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
    """The same from a back-test: the last evaluation that fired lies one step before the end."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for firing in past.firings:
        run = (max(firing.start_ms / 1000, since), firing.end_ms / 1000 - 1)
        found.setdefault(_identity(dict(past.labels[firing.row])), []).append(run)
    return found


async def test_firings_equal_those_of_a_real_prometheus(
    exporter: str, tmp_path: Path, keep: Callable[..., Any]
) -> None:
    assert len(RULES) >= 30
    server: Prometheus = keep(
        Prometheus(
            tmp_path / "prometheus",
            scrape=[{"job_name": "live", "static_configs": [{"targets": [exporter]}]}],
        )
    )
    file = server.rules / "many.yaml"
    groups = [{"name": "many", "rules": [written(*rule) for rule in RULES]}]
    server.start()
    wait_until(lambda: server.query("level"), what="the first scrape")
    # Loaded after a scrape, so that both see the same first samples.
    file.write_text(json.dumps({"groups": groups}))
    began = time.time()
    async with PrometheusClient(
        SourceConfig(url=server.url), metrics=PullMetrics(CollectorRegistry())
    ) as client:
        await client.reload()
        await asyncio.sleep(LIVE_SECONDS)
        until = time.time() - 1
        first = min(
            moment
            for name, *_ in RULES
            for moments in alerts_of(server, name, until).values()
            for moment in moments
        )
        assert first - began < 5
        window = Window(int(first * 1000) - 500, int(until * 1000), 1000)
        tester = BackTester(client, at_once=4, memory=tmp_path / "memory")
        pasts = await tester.all(read_files([file]), window)
        again = await BackTester(client, memory=tmp_path / "memory").all(read_files([file]), window)
    assert [past.firings for past in again] == [past.firings for past in pasts]
    assert not [past.error for past in pasts if past.error]
    wrong = {}
    compared = 0
    for past in pasts:
        real = {key: intervals(moments) for key, moments in alerts_of(server, past.rule.name, until).items()}
        mine = ours(past, first)
        compared += sum(len(runs) for runs in real.values())
        if not same(real, mine, first, until):
            wrong[past.rule.name] = {"real": real, "ours": mine}
    assert not wrong, f"from {first} to {until}: {wrong}"
    assert compared > 45


def same(real: dict[Any, Any], mine: dict[Any, Any], first: float, until: float) -> bool:
    """Every firing has its like on the other side, to one evaluation; at the window's edges it may not."""

    def has_like(run: tuple[float, float], others: list[tuple[float, float]]) -> bool:
        at_edge = run[1] < first + 3 or run[0] > until - 3
        return at_edge or any(abs(run[0] - o[0]) < 1.1 and abs(run[1] - o[1]) < 1.1 for o in others)

    return all(
        has_like(run, others.get(key, []))
        for some, others in ((real, mine), (mine, real))
        for key, runs in some.items()
        for run in runs
    )
