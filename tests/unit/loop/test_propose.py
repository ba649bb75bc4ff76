"""What is proposed from what a Prometheus tells: order, expressions, limits, and the reasons for the rest."""

from __future__ import annotations

import numpy as np
import promql_parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.config.load import load_text
from sidecar.errors import PullError, PullReason, TooManySeries
from sidecar.loop.propose import LeftOut, Proposal, ProposedQuery, configs, propose, step_seconds
from sidecar.loop.propose_alerts import Measured, measured
from sidecar.loop.propose_rank import MetricFacts, Rank, candidates, grouping, slug
from sidecar.loop.propose_yaml import ConfigFacts, render_yaml
from sidecar.prometheus.answers import Metadata, Rule, Target
from sidecar.series import LabelSet, SeriesBatch


@pytest.mark.parametrize(
    ("expr", "sides"),
    [
        pytest.param("a / b > 0.05", [("a / b", "above")], id="a ratio above a number"),
        pytest.param("100 > a", [("a", "below")], id="the number stands first"),
        pytest.param("up == 0", [("up", "both")], id="equality has no side"),
        pytest.param("a > 1 and on (x) b < 2", [("a", "above"), ("b", "below")], id="both sides of and"),
        pytest.param("a > 1 unless b > 2", [("a", "above")], id="an excuse is no symptom"),
        pytest.param("absent(a)", [], id="absence compares nothing"),
        pytest.param("vector(1) > 0", [], id="no series"),
        pytest.param("a > on (x) group_left () b", [("a", "above")], id="another series as threshold"),
        pytest.param("(a + b) > bool 1", [("a + b", "above")], id="parentheses are dropped"),
        pytest.param("pronoia_actual > pronoia_expected_upper", [], id="our own"),
        pytest.param("ALERTS > 0", [], id="alerts of alerts"),
        pytest.param('a{x="b{}  c"} > 1', [('a{x="b{}  c"}', "above")], id="label values stay as they are"),
        pytest.param(
            r'a{x=~"b\\.c\"d", y=`\d`} > 1', [(r'a{x=~"b\\.c\"d",y="\\d"}', "above")], id="escapes in strings"
        ),
        pytest.param("a > 1 or a > 2", [("a", "above")], id="once each"),
    ],
)
def test_measured_sides(expr: str, sides: list[tuple[str, str]]) -> None:
    assert [(side.expr, side.direction) for side in measured(expr)] == sides


def test_what_is_not_promql_is_said() -> None:
    with pytest.raises(ValueError, match=r".+"):
        measured("sum(")


def series(name: str, *label_sets: dict[str, str]) -> tuple[LabelSet, ...]:
    return tuple(LabelSet({"__name__": name, **labels}) for labels in label_sets)


def metric(name: str, kind: str, *label_sets: dict[str, str], n: int = 0) -> MetricFacts:
    return MetricFacts(name, kind, "", n or len(label_sets) or 1, series(name, *label_sets))


API = [{"job": "api", "instance": f"i{n}", "code": code} for n in range(3) for code in ("200", "503")]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        pytest.param(
            [metric("http_requests_total", "counter", *API)],
            {
                "http_requests_error_ratio": 'sum by (job) (rate(http_requests_total{code=~"5.."}[5m]))'
                " / sum by (job) (rate(http_requests_total[5m]))",
                "http_requests_rate": "sum by (job) (rate(http_requests_total[5m]))",
            },
            id="a counter with codes is traffic and errors",
        ),
        pytest.param(
            [metric("jobs_total", "counter", {"job": "w", "result": "ok"}, {"job": "w", "result": "failed"})],
            {
                "jobs_error_ratio": 'sum by (job) (rate(jobs_total{result=~"failed"}[5m]))'
                " / sum by (job) (rate(jobs_total[5m]))",
                "jobs_rate": "sum by (job) (rate(jobs_total[5m]))",
            },
            id="an outcome in words",
        ),
        pytest.param(
            [
                metric("rpc_seconds_bucket", "", n=30),
                metric("rpc_seconds_count", "", {"job": "api", "shard": "a"}, {"job": "api", "shard": "b"}),
                metric("rpc_seconds_sum", "", n=2),
            ],
            {
                "rpc_seconds_p95": "histogram_quantile(0.95, "
                "sum by (le, job, shard) (rate(rpc_seconds_bucket[5m])))",
                "rpc_seconds_rate": "sum by (job, shard) (rate(rpc_seconds_count[5m]))",
            },
            id="a histogram is latency and traffic",
        ),
        pytest.param(
            [metric("gc_seconds_count", "", {"job": "a"}), metric("gc_seconds_sum", "", {"job": "a"})],
            {
                "gc_seconds_mean": "sum by (job) (rate(gc_seconds_sum[5m]))"
                " / sum by (job) (rate(gc_seconds_count[5m]))",
                "gc_seconds_rate": "sum by (job) (rate(gc_seconds_count[5m]))",
            },
            id="a summary is its mean",
        ),
        pytest.param(
            [metric("queue_length", "gauge", {"job": "a"})], {"queue_length": "queue_length"}, id="a gauge"
        ),
        pytest.param(
            [metric("heap_used", "gauge", *({"job": "a", "pod": f"p{n}"} for n in range(60)))],
            {"heap_used": "avg by (job) (heap_used)"},
            id="a gauge of many series is averaged",
        ),
        pytest.param(
            [metric("big_total", "counter", n=9000)],
            {"big_rate": "sum by (job) (rate(big_total[5m]))"},
            id="too many series for a look at their labels",
        ),
        pytest.param(
            [metric("job:errors:ratio", "", n=4)],
            {"job_errors_ratio": "job:errors:ratio"},
            id="a recorded series",
        ),
        pytest.param([metric("up", "", n=4)], {"targets_up": "avg by (job) (up)"}, id="targets"),
        pytest.param([metric("build_info", "gauge")], {}, id="an info metric"),
        pytest.param([metric("x_created", "gauge")], {}, id="a date"),
        pytest.param([metric("process_start_time_seconds", "gauge")], {}, id="a start time"),
        pytest.param([metric("pronoia_actual", "gauge")], {}, id="pronoia's own"),
        pytest.param([metric("ALERTS", "")], {}, id="alerts"),
    ],
)  # fmt: skip
def test_expressions(metrics: list[MetricFacts], expected: dict[str, str]) -> None:
    found, _ = candidates(metrics, [])
    assert {candidate.name: candidate.expr for candidate in found} == expected
    for candidate in found:
        promql_parser.parse(candidate.expr)


def test_order_alerts_errors_latency_traffic_state_machines_runtimes() -> None:
    metrics = [
        metric("go_goroutines", "gauge"),
        metric("node_load1", "gauge"),
        metric("queue_length", "gauge"),
        metric("search_latency_seconds", "gauge"),
        metric("http_requests_total", "counter", *API),
        metric("up", ""),
    ]
    found, _ = candidates(metrics, [("DiskFull", Measured("disk_used_ratio", "above"))])
    assert [candidate.rank for candidate in found] == sorted(
        {
            Rank.ALERTED,
            Rank.ERRORS,
            Rank.LATENCY,
            Rank.TRAFFIC,
            Rank.UP,
            Rank.STATE,
            Rank.MACHINE,
            Rank.INTERNAL,
        }
    )
    assert found[0].rule
    assert found[0].name == "disk_full"
    assert not found[-1].rule


def test_groups_stay_few() -> None:
    many = metric(
        "x_total", "counter", *({"job": "a", "user": f"u{n}", "edge": f"e{n % 3}"} for n in range(90))
    )
    assert grouping(many) == ["job", "edge"]


@given(st.text(min_size=1))
@example("TheAlertThatSaysItAll" * 20)
def test_every_slug_is_a_query_name(text: str) -> None:
    from sidecar.config.model import QueryConfig

    QueryConfig(name=slug(text), expr="up")


def rule(name: str, expr: str, kind: str = "alerting", labels: dict[str, str] | None = None) -> Rule:
    return Rule(
        name=name, expr=expr, kind=kind, group="g", file="f", health="ok", last_error="", state="inactive",
        duration_seconds=0.0, labels=labels or {}, annotations={},
    )  # fmt: skip


class Server:
    """A Prometheus as far as a proposal asks: names with series, alert rules, targets."""

    def __init__(self, names: dict[str, int], rules: list[Rule] | None = None) -> None:
        self.names, self._rules, self.asked = names, rules or [], []

    async def metadata(self) -> list[Metadata]:
        return [Metadata(name, "counter" if name.endswith("_total") else "gauge") for name in self.names]

    async def targets(self) -> list[Target]:
        return [Target(scrape_interval="10s")]

    async def rules(self) -> list[Rule]:
        return self._rules

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        self.asked.append(expr)
        if expr.startswith("count by (__name__)"):
            labels = tuple(LabelSet({"__name__": name}) for name in self.names)
            return batch(labels, list(self.names.values()))
        if expr.startswith("max(changes("):
            moves, asked = "constant" not in expr, expr.endswith(" > 0")
            return batch((LabelSet(),), [0.0]) if moves == asked else batch((), [])
        if "broken" in expr:
            raise PullError(PullReason.BAD_QUERY, "found duplicate series")
        count = next((n for metric, n in self.names.items() if metric in expr), 0)
        if expr.startswith("count("):
            return batch((LabelSet(),), [float(count)]) if count else batch((), [])
        if "by (" in expr:
            count = min(count, 1)
        if count > max_series:
            raise TooManySeries(name, count, max_series)
        return batch(tuple(LabelSet({"n": str(n)}) for n in range(count)), [1.0] * count)


def batch(labels: tuple[LabelSet, ...], values: list[float]) -> SeriesBatch:
    column = np.array(values, dtype=np.float64).reshape(len(labels), 1)
    return SeriesBatch("q", labels, np.array([1000]), column)


async def test_a_proposal_says_what_it_leaves_out_and_why() -> None:
    server = Server(
        {"errors_total": 3, "queue": 5, "huge": 39, "constant": 2, "broken": 1, "x_info": 1, "gone_total": 0},
        [
            rule("TooLong", "queue > 10"),
            rule("Recorded", "queue", kind="recording"),
            rule("Ours", "queue > 11", labels={"pronoia_rule": "true"}),
            rule("QueueAboveExpected", "max(queue) > 12", labels={"generator": "pronoia", "query": "queue"}),
            rule("Absent", "absent(queue)"),
            rule("Odd", "sum("),
        ],
    )
    proposal = await propose(server, max_series=100, now=lambda: 1000.0)
    assert [(query.config.name, query.n_series) for query in proposal.queries] == [
        ("too_long", 5),
        ("errors_rate", 1),
    ]
    assert proposal.n_series == 6
    assert proposal.queries[0].config.step == 20.0
    assert proposal.queries[0].config.direction == "above"
    why = {left.what: left.reason for left in proposal.left_out}
    assert "39 series" in why["huge"]
    assert "did not change" in why["constant"]
    assert "duplicate series" in why["broken"]
    assert "facts in labels" in why["x_info"]
    assert "no series" in why["gone_rate"]
    assert "compares no series" in why["alert Absent"]
    assert "not understood" in why["alert Odd"]


async def test_series_and_queries_are_bounded() -> None:
    server = Server({f"gauge_{n:02}": 8 for n in range(40)})
    proposal = await propose(server, max_series=40, max_queries=25, now=lambda: 1000.0)
    assert proposal.n_series <= 40
    assert len(proposal.queries) == 5
    few = await propose(server, max_queries=3, now=lambda: 1000.0)
    assert len(few.queries) == 3
    assert any("enough queries" in left.reason for left in few.left_out)


async def test_what_is_watched_already_is_not_proposed_again_and_takes_its_room() -> None:
    server = Server({"errors_total": 3, "queue": 5, "depth": 4})
    first = await propose(server, now=lambda: 1000.0)
    watched = configs(first)
    assert {query.name for query in watched} == {"errors_rate", "queue", "depth"}
    assert not (await propose(server, watched=watched, now=lambda: 1000.0)).queries

    server.names |= {"wait_seconds": 2, "lag": 30}
    more = await propose(server, watched=watched, now=lambda: 1000.0)
    assert {query.config.name for query in more.queries} == {"wait_seconds", "lag"}
    assert more.n_series == 32
    few = await propose(server, watched=watched, max_queries=4, now=lambda: 1000.0)
    assert [query.config.name for query in few.queries] == ["wait_seconds"], "the better one"
    small = await propose(server, watched=watched, max_series=30, now=lambda: 1000.0)
    assert [query.config.name for query in small.queries] == ["wait_seconds"], "18 are left"

    server.asked.clear()
    assert not (await propose(server, watched=watched, max_queries=3)).queries
    assert '{__name__!=""}' not in " ".join(server.asked), "there is no room, whatever else it has"

    by_code = [query.model_copy(update={"expr": f"sum by (code) ({query.expr})"}) for query in watched]
    again = await propose(server, watched=by_code, now=lambda: 1000.0)
    assert "queue" not in " ".join(query.config.name for query in again.queries), "it has more labels since"


@pytest.mark.parametrize("max_queries", [25, 1], ids=["room", "full"])
async def test_a_metric_that_got_labels_is_proposed_anew_by_its_name(max_queries: int) -> None:
    class Labelled(Server):
        labels: tuple[dict[str, str], ...] = ({"job": "api"},)

        async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
            if expr == "asked_total":
                return batch(series(expr, *self.labels), [1.0] * len(self.labels))
            return await super().instant(expr, at_ms=at_ms, name=name, max_series=max_series)

    server = Labelled({"asked_total": 2})
    watched = configs(await propose(server, now=lambda: 1000.0))
    assert [query.expr for query in watched] == ["sum by (job) (rate(asked_total[5m]))"]
    server.labels = ({"job": "api", "shop": "a"}, {"job": "api", "shop": "b"})
    again = configs(await propose(server, watched=watched, max_queries=max_queries, now=lambda: 1000.0))
    assert [(one.name, one.expr) for one in again] == [
        ("asked_rate", "sum by (job, shop) (rate(asked_total[5m]))")
    ]
    server.labels = ({"job": "api"},)
    back = await propose(server, watched=again, max_queries=max_queries, now=lambda: 1000.0)
    assert not back.queries, "what has learnt stays where labels are fewer"


async def test_an_unreachable_server_is_no_empty_proposal() -> None:
    class Down(Server):
        async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
            raise PullError(PullReason.UNREACHABLE, "refused", retryable=True)

    with pytest.raises(PullError, match="refused"):
        await propose(Down({"a": 1}))


async def test_an_empty_server_gives_an_empty_proposal() -> None:
    assert (await propose(Server({}))).queries == ()


@pytest.mark.parametrize(
    ("intervals", "step"),
    [
        pytest.param([], 60.0, id="unknown"),
        pytest.param(["5s"], 15.0, id="short intervals are bundled"),
        pytest.param(["10s"], 20.0, id="always a multiple"),
        pytest.param(["15s", "15s", "1m"], 15.0, id="the usual one counts"),
        pytest.param(["30s"], 30.0, id="as it is"),
        pytest.param(["2m"], 120.0, id="never faster than the scrape"),
    ],
)
def test_step(intervals: list[str], step: float) -> None:
    assert step_seconds([Target(scrape_interval=interval) for interval in intervals]) == step


async def test_the_file_loads_and_says_the_same() -> None:
    server = Server(
        {"errors_total": 3, "queue": 5, "x_info": 1}, [rule("TooLong", 'queue{a="${b}\\"#"} > 10')]
    )
    proposal = await propose(server, now=lambda: 1000.0)
    text = render_yaml(proposal, ConfigFacts("http://localhost:9090", ["http://localhost:9093"]))
    config = load_text(text)
    assert config.queries == tuple(query.config for query in proposal.queries)
    assert config.prometheus.url == "http://localhost:9090"
    assert [manager.url for manager in config.alertmanagers] == ["http://localhost:9093"]
    assert "5 series: the alert TooLong compares it" in text
    assert "x_info: carries facts in labels" in text
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= 100


@given(st.text(), st.text())
def test_no_text_breaks_out_of_a_comment(what: str, reason: str) -> None:
    from sidecar.config.model import QueryConfig

    query = ProposedQuery(QueryConfig(name="a", expr="up"), reason, 1)
    text = render_yaml(Proposal((query,), (LeftOut(what, reason),), 1), ConfigFacts("http://p:9090"))
    printable = "".join(c for c in text if c.isprintable() or c == "\n")
    if printable == text:
        assert [q.name for q in load_text(text).queries] == ["a"]
