"""The loop over alert rules' thresholds: which are watched, what is read, what is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.config.capacity import CAPACITIES, CapacityConfig
from sidecar.config.forecast import ThresholdsConfig
from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.config.model import QueryConfig
from sidecar.engine.forecast import watched
from sidecar.engine.forecast.eta import Crossing
from sidecar.errors import TooManySeries
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_rules import known_of, taken_apart, with_capacities
from sidecar.loop.forecast_thresholds import ThresholdLoop, ThresholdMetrics
from sidecar.loop.forecast_trials import Terms, trials
from sidecar.offload import Offload
from sidecar.prometheus.answers import Rule
from sidecar.series import FloatArray, LabelSet, SeriesBatch, ThresholdEta

NOW = 1_800_000_000
STEP = 300


def rule(expr: str, name: str = "R", kind: str = "alerting", **labels: str) -> Rule:
    return Rule(name, expr, kind, "g", "f", "ok", "", "inactive", 0.0, labels, {}, [])


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        pytest.param(rule("a > 1"), "watched", id="bound"),
        pytest.param(rule("a == 0"), "equality", id="equality"),
        pytest.param(rule("absent(a)"), "no_comparison", id="absence"),
        pytest.param(rule("pronoia_anomaly_score > 1"), "own", id="our metric"),
        pytest.param(rule("ALERTS > 0"), "own", id="alerts"),
        pytest.param(rule("a > 1", generator="pronoia", query="a"), "own", id="our rule"),
        pytest.param(rule("a > 1", generator="pronoia", ahead_of="A"), "own", id="our warning"),
        pytest.param(rule("slo:error_ratio:rate1h > 1", generator="pronoia"), "own", id="our objective"),
        pytest.param(rule("a > 1", generator="pronoia"), "watched", id="of a pack"),
        pytest.param(rule("predict_linear(a[1h], 3600) > 1"), "predicts_already", id="predicts"),
    ],
)
def test_each_rule_has_one_outcome(given: Rule, outcome: str) -> None:
    measured, counts = taken_apart([given, rule("x", kind="recording")], 10)
    assert counts == {outcome: 1}
    assert bool(measured) == (outcome == "watched")


def test_rules_on_one_expression_share_it_and_expressions_are_bounded() -> None:
    rules = [rule("a > 1", "Low"), rule("(a > 2)", "High"), rule("b < 1"), rule("c < 1")]
    measured, counts = taken_apart(rules, 2)
    assert [(one.expr, [str(t.bound) for t in one.thresholds]) for one in measured] == [
        ("a", ["> 1", "> 2"]),
        ("b", ["< 1"]),
    ]
    assert counts == {"watched": 3, "beyond_max_rules": 1}


def test_a_rule_that_holds_at_its_bound_has_a_threshold_below_it() -> None:
    (measured,), _ = taken_apart([rule("a >= 100", "At"), rule("a > 100", "Beyond")], 1)
    assert [one.bound.value < 100.0 for one in measured.thresholds] == [True, False]


TABLE = "on () group_left () (vector(5) and on () (hour() < 8) or vector(9))"


@pytest.mark.parametrize(
    ("expr", "measured", "bound"),
    [
        pytest.param(f"load > {TABLE}", "(load) - on () group_left () ", "> 0", id="a table by hour"),
        pytest.param(
            f"load < {TABLE} unless on () x", "(load) - on () group_left () ", "< 0", id="conditions"
        ),
        pytest.param("load >= (4 + 0.1 * time())", "(load) - (4 + 0.1 * time())", "> 0", id="a line"),
    ],
)
def test_a_threshold_that_follows_the_clock_is_forecast_by_the_distance_from_it(
    expr: str, measured: str, bound: str
) -> None:
    (found,), counts = taken_apart([rule(expr)], 1)
    assert found.expr.startswith(measured)
    assert [str(threshold.bound) for threshold in found.thresholds] == [bound]
    assert found.metrics == ("load",)
    assert counts == {"watched": 1}


@pytest.mark.parametrize(
    "expr",
    [
        pytest.param("load > vector(5)", id="of one series alone"),
        pytest.param("load > on () group_left () other", id="another series"),
        pytest.param("load > bool time()", id="a flag"),
        pytest.param("load == time()", id="equal"),
    ],
)
def test_other_thresholds_are_no_clocks(expr: str) -> None:
    assert taken_apart([rule(expr)], 1)[0] == []


def test_rules_of_packs_leave_room_for_those_of_people() -> None:
    rules = [rule("packed > 1", generator="pronoia"), rule("a > 1"), rule("b > 1")]
    measured, counts = taken_apart(rules, 2)
    assert [one.expr for one in measured] == ["a", "b"]
    assert counts == {"watched": 2, "beyond_max_rules": 1}


@pytest.mark.parametrize(
    ("expr", "named", "counts"),
    [
        pytest.param("rate(plays_total[5m]) > 9", (), True, id="a metric of a watched query"),
        pytest.param("rate(plays_total[5m]) > 9", ("plays",), True, id="of the named query"),
        pytest.param("rate(plays_total[5m]) > 9", ("errors",), False, id="of another query"),
        pytest.param("disk_used > 90", (), False, id="a metric that nobody watches"),
    ],
)
def test_events_are_about_rules_that_measure_what_their_queries_do(
    expr: str, named: tuple[str, ...], counts: bool
) -> None:
    queries = [
        QueryConfig(name="plays", expr="sum(rate(plays_total[5m]))"),
        QueryConfig(name="errors", expr="sum(rate(errors_total[5m]))"),
        QueryConfig(name="dialect", expr="plays_total keep_metric_names"),
    ]
    event = EventConfig(
        name="album", start=datetime(2026, 1, 1, tzinfo=UTC), duration=60.0, uplift=2.0, queries=named
    )
    (measured,), _ = taken_apart([rule(expr)], 10)
    events, calendar = known_of(measured, queries, [event], CalendarConfig(country="DE", queries=named))
    assert [one.name for one in events] == (["album"] if counts else [])
    assert (calendar is not None) == counts


class Wall:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Source:
    """A disk that is at 40 and grows by 50 in six hours since an hour and a half before NOW."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = list(rules)
        self.asked: list[tuple[str, int]] = []
        self.unread: set[str] = set()
        self.on_asked: Callable[[], None] = lambda: None

    async def rules(self) -> list[Rule]:
        return self._rules

    async def history(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        if expr == "many" or expr in self.unread:
            raise TooManySeries(expr, 1000, max_series)
        self.on_asked()
        times = np.arange(-(-start_ms // step_ms) * step_ms, end_ms + 1, step_ms, dtype=np.int64)
        self.asked.append((expr, len(times)))
        if expr == "none":
            return SeriesBatch(name, (), times, np.empty((0, len(times))))
        hours = np.maximum(times / 1000 - (NOW - 5400), 0.0) / 3600
        noise = np.sin(times / 1000.0) * 0.05
        grows = 40 + 50 * hours / 6 + noise
        if expr == "odd":
            below = LabelSet({"path": "/below"})
            return SeriesBatch(name, (below, LabelSet({"path": "/"})), times, np.stack([-grows, grows]))
        return SeriesBatch(name, (LabelSet({"path": "/"}),), times, grows[None, :])

    instant = range = None  # type: ignore[assignment]


class Sink:
    def __init__(self) -> None:
        self.shown: Sequence[ThresholdEta] = ()

    def publish(self, etas: Sequence[ThresholdEta], *, valid_seconds: float) -> None:
        assert valid_seconds == 3 * STEP
        self.shown = etas


def make(
    source: Source,
    directory: Path,
    wall: Wall,
    *capacities: CapacityConfig,
    offload: Offload | None = None,
) -> tuple[ThresholdLoop, Sink, CollectorRegistry]:
    sink, registry = Sink(), CollectorRegistry()
    loop = ThresholdLoop(
        ThresholdsConfig(capacities=capacities),
        source=source,  # type: ignore[arg-type]
        sink=sink,
        offload=offload or Offload(1),
        clock=SourceClock(wall),
        metrics=ThresholdMetrics(registry),
        directory=directory,
    )
    return loop, sink, registry


async def test_a_threshold_is_announced_and_history_is_read_once(tmp_path: Path) -> None:
    wall, source = Wall(), Source([rule("disk > 90", "DiskFull"), rule("many > 1")])
    loop, sink, registry = make(source, tmp_path, wall)
    await loop.cycle()
    (eta,) = [eta for eta in sink.shown if eta.probability == 0.5]
    assert (eta.rule, eta.threshold, dict(eta.labels)) == ("DiskFull", "> 90", {"path": "/"})
    assert eta.seconds == pytest.approx(4.5 * 3600, rel=0.25)
    count = registry.get_sample_value
    assert count("pronoia_threshold_rules", {"result": "watched"}) == 1
    assert count("pronoia_threshold_rules", {"result": "not_read"}) == 1
    assert count("pronoia_threshold_series") == 1

    wall.now += STEP
    await loop.cycle()
    loop.start()
    await loop.stop()
    again, _, _ = make(source, tmp_path, wall)
    wall.now += STEP
    await again.cycle()
    assert [n for _, n in source.asked] == [14 * 288 + 1, 1, 1]
    assert again.etas


async def test_what_can_be_used_up_is_announced_without_a_rule_and_beside_one(tmp_path: Path) -> None:
    disk, other = (
        CapacityConfig(name="DiskSpace", expr="disk", above=90),
        CapacityConfig(name="x", expr="many"),
    )
    source = Source([rule("disk > 80", "DiskWarning")])
    loop, sink, registry = make(source, tmp_path, Wall(), disk, other)
    await loop.cycle()
    found = {eta.rule: eta.seconds for eta in sink.shown if eta.probability == 0.5}
    assert found["DiskSpace"] == pytest.approx(4.5 * 3600, rel=0.25)
    assert found["DiskWarning"] < found["DiskSpace"]
    assert [expr for expr, _ in source.asked] == ["disk"]
    # Capacities are no rules, and one that cannot be read is none that failed.
    assert registry.get_sample_value("pronoia_threshold_rules", {"result": "watched"}) == 1
    assert registry.get_sample_value("pronoia_threshold_rules", {"result": "not_read"}) == 0


async def test_warnings_of_capacities_that_there_are_are_tried_on_the_past() -> None:
    source = Source([])
    terms = Terms(STEP, 4 * 86400.0, 4 * 3600.0, 0.5, 600.0, 3)
    found = await trials(
        source,  # type: ignore[arg-type]
        [],
        terms,
        end_seconds=NOW + 4.6 * 3600.0,
        run=asyncio.to_thread,
        capacities=[
            CapacityConfig(name="DiskSpace", expr="disk", above=90),
            CapacityConfig(name="Pools", expr="none"),
        ],
    )
    ((name, worth),) = [(trial.rule, trial.worth) for trial in found]
    assert name == "DiskSpace"
    assert (worth.n_warnings, worth.n_true, worth.n_crossings) == (1, 1, 1)


async def test_a_rule_without_series_is_not_worth_a_warning() -> None:
    found = await trials(
        Source([]),  # type: ignore[arg-type]
        [rule("disk > 90", "DiskFull"), rule("none > 1", "NothingThere")],
        Terms(STEP, 4 * 86400.0, 4 * 3600.0, 0.5, 600.0, 3),
        end_seconds=NOW + 4.6 * 3600.0,
        run=asyncio.to_thread,
    )
    assert {trial.rule: trial.may_be_published(0.5) for trial in found} == {
        "DiskFull": True,
        "NothingThere": False,
    }
    assert found[1].words == "there is no series to try it on"


def test_every_usual_capacity_is_promql_with_metrics_of_its_own() -> None:
    found = with_capacities([], CAPACITIES)
    assert len({one.expr for one in found}) == len(CAPACITIES)
    assert all(one.metrics for one in found)


async def test_a_rule_that_is_gone_is_no_longer_shown(tmp_path: Path) -> None:
    source = Source([rule("disk > 90")])
    loop, sink, _ = make(source, tmp_path, Wall())
    await loop.cycle()
    assert sink.shown
    source._rules = []
    await loop.cycle()
    assert not sink.shown


async def test_rules_that_change_while_their_series_cannot_be_read_keep_their_own_bounds(
    tmp_path: Path,
) -> None:
    source = Source([rule("disk > 50", "Half"), rule("disk > 90", "Full")])
    loop, sink, _ = make(source, tmp_path, wall := Wall())
    await loop.cycle()
    assert {(eta.rule, eta.threshold) for eta in sink.shown} == {("Half", "> 50"), ("Full", "> 90")}

    source.unread.add("disk")
    source._rules = [rule("disk > 95", "Brim")]
    wall.now += STEP
    await loop.cycle()
    assert {(eta.rule, eta.threshold) for eta in sink.shown} == {("Brim", "> 95")}


async def test_what_cannot_be_read_any_more_is_no_longer_told(tmp_path: Path) -> None:
    source = Source([rule("disk > 90", "Full"), rule("other > 90", "Other")])
    loop, sink, _ = make(source, tmp_path, wall := Wall())
    await loop.cycle()
    source.unread.add("disk")
    told = []
    for _ in range(5):
        wall.now += STEP
        await loop.cycle()
        told.append({eta.rule for eta in sink.shown})
    assert told == [*[{"Full", "Other"}] * 2, *[{"Other"}] * 3]


async def test_a_round_that_was_broken_off_ends_before_its_history_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def crossing(*_: object, **__: object) -> Crossing:
        reached.set()
        go_on.wait(30)
        return Crossing(np.array([600.0]), np.array([1.0]))

    monkeypatch.setattr(watched, "crossing", crossing)
    loop, _, _ = make(Source([rule("disk > 90", "Full")]), tmp_path, Wall(), offload=Offload(2))
    loop.start()
    await asyncio.to_thread(reached.wait, 30)
    stopping = asyncio.create_task(loop.stop())
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done, "its thread is still at the history"
    assert not list(tmp_path.iterdir())
    go_on.set()
    await asyncio.wait_for(stopping, 30)
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_reload_that_switches_it_off_leaves_no_old_numbers(tmp_path: Path) -> None:
    loop, _, registry = make(Source([rule("disk > 90", "Full")]), tmp_path, Wall())
    await loop.cycle()
    loop._config = ThresholdsConfig(enabled=False)
    loop.start()
    await loop.stop()
    assert registry.get_sample_value("pronoia_threshold_rules", {"result": "watched"}) is None
    assert registry.get_sample_value("pronoia_threshold_series") == 0


async def test_a_series_that_cannot_be_forecast_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crossing(grid: FloatArray, *_: object, **__: object) -> Crossing:
        if grid[-1] < 0:
            raise ValueError("nobody foresaw this")
        return Crossing(np.array([600.0]), np.array([1.0]))

    monkeypatch.setattr(watched, "crossing", crossing)
    source = Source([rule("odd > 90", "Odd"), rule("disk > 90", "Full")])
    loop, sink, registry = make(source, tmp_path, wall := Wall())
    with capture_logs() as logs:
        await loop.cycle()
        wall.now += STEP
        await loop.cycle()
    assert {(eta.rule, eta.labels["path"]) for eta in sink.shown} == {("Full", "/"), ("Odd", "/")}
    assert registry.get_sample_value("pronoia_threshold_rules", {"result": "broke_off"}) == 1
    assert [one["expr"] for one in logs if one["event"] == "a series not forecast"] == ["odd"]


async def test_what_the_source_tells_of_its_future_is_not_taken(tmp_path: Path) -> None:
    source = Source([rule("disk > 90", "Full")])
    loop, sink, _ = make(source, tmp_path, wall := Wall())
    await loop.cycle()
    source.on_asked = lambda: loop._clock.observe(wall.now - 7200)
    wall.now += STEP
    await loop.cycle()
    source.on_asked = lambda: None
    loop._clock.observe(wall.now)
    for _ in range(2):
        wall.now += STEP
        await loop.cycle()
    assert [n for _, n in source.asked] == [14 * 288 + 1, 1, 2, 1]
    assert sink.shown


async def test_a_history_from_the_future_is_read_anew(tmp_path: Path) -> None:
    wall = Wall()
    wall.now += 86400
    loop, _, _ = make(Source([rule("disk > 90", "Full")]), tmp_path, wall)
    await loop.cycle()
    loop.start()
    await loop.stop()
    wall.now -= 86400
    source = Source([rule("disk > 90", "Full")])
    loop, sink, _ = make(source, tmp_path, wall)
    for _ in range(3):
        await loop.cycle()
        assert not source.asked, "one of several servers may say so for a moment"
    await loop.cycle()
    assert [n for _, n in source.asked] == [14 * 288 + 1]
    assert sink.shown
