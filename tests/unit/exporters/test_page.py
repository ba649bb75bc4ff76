"""The scrape page: what stands on it, what does not, and that parsers read it back."""

from __future__ import annotations

import dataclasses
import gzip
import math
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporters import names
from exporters.eta import EtaPage
from exporters.labels import legal_name
from exporters.page import SyntheticPage
from sidecar.series import Evaluation, FloatArray, Forecast, LabelSet, ThresholdEta

NAN = math.nan


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def evaluation(
    labels: Sequence[dict[str, str]] | tuple[LabelSet, ...],
    actual: Sequence[float] | FloatArray,
    *,
    query: str = "q",
    tenant: str = "default",
    at_ms: int = 60_000,
    score: Sequence[float] | None = None,
    forecasts: tuple[Forecast, ...] = (),
    step_seconds: float = 60.0,
) -> Evaluation:
    values = np.array(actual, dtype=np.float64)
    n = len(values)
    sets = labels if isinstance(labels, tuple) else tuple(LabelSet(one) for one in labels)
    scores = np.full(n, 0.5) if score is None else np.array(score, dtype=np.float64)
    return Evaluation(
        query, tenant, at_ms, sets, values, values, values, values, scores,
        np.zeros(n, dtype=np.int8), np.ones(n), forecasts, step_seconds=step_seconds,
    )  # fmt: skip


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(registry: CollectorRegistry, clock: Clock) -> SyntheticPage:
    return SyntheticPage(max_series=1000, registry=registry, monotonic=clock)


def text(page: SyntheticPage, *, openmetrics: bool = False) -> str:
    return page.render(openmetrics=openmetrics, gzipped=False)[0].decode()


def lines(page: SyntheticPage, family: str = "pronoia_actual") -> list[str]:
    return [line for line in text(page).splitlines() if line.startswith(family + "{")]


def test_a_small_page_to_the_letter(page: SyntheticPage) -> None:
    forecast = Forecast(5400.0, np.array([7.0]), np.array([6.5]), np.array([1e21]))
    page.publish(evaluation([{"__name__": "up", "job": "a"}], [1.5], score=[0.25], forecasts=(forecast,)))
    helps = {family.name: family.help for family in names.FAMILIES}
    samples = {
        "pronoia_actual": '{job="a",query="q"} 1.5',
        "pronoia_expected": '{job="a",query="q"} 1.5',
        "pronoia_expected_lower": '{job="a",query="q"} 1.5',
        "pronoia_expected_upper": '{job="a",query="q"} 1.5',
        "pronoia_anomaly_score": '{job="a",query="q"} 0.25',
        "pronoia_forecast": '{job="a",query="q",horizon="1h30m"} 7',
        "pronoia_forecast_lower": '{job="a",query="q",horizon="1h30m"} 6.5',
        "pronoia_forecast_upper": '{job="a",query="q",horizon="1h30m"} 1e+21',
    }
    golden = "".join(
        f"# HELP {name} {helps[name]}\n# TYPE {name} gauge\n{name}{rest}\n" for name, rest in samples.items()
    )
    assert text(page) == golden
    assert text(page, openmetrics=True) == golden + "# EOF\n"


@pytest.mark.parametrize(
    ("labels", "tenant", "expected"),
    [
        pytest.param([{"a": 'x\\y"z\nü'}], "default", ['{a="x\\\\y\\"z\\nü",query="q"}'], id="escaped"),
        pytest.param([{"query": "s"}], "default", ['{exported_query="s",query="q"}'], id="query collides"),
        pytest.param([{"horizon": "s"}], "default", ['{exported_horizon="s",query="q"}'], id="horizon"),
        pytest.param(
            [{"query": "s", "exported_query": "t"}],
            "default",
            ['{exported_query="t",exported_exported_query="s",query="q"}'],
            id="exported_query is taken too",
        ),
        pytest.param([{"tenant": "s"}], "default", ['{tenant="s",query="q"}'], id="tenant is the source's"),
        pytest.param(
            [{"tenant": "s"}], "t1", ['{exported_tenant="s",query="q",tenant="t1"}'], id="tenant is ours"
        ),
        pytest.param(
            [{"__name__": "m1", "a": "1"}, {"__name__": "m2", "a": "1"}],
            "default",
            ['{metric="m1",a="1",query="q"}', '{metric="m2",a="1",query="q"}'],
            id="two names",
        ),
        pytest.param(
            [{"__name__": "m1", "metric": "s"}, {"__name__": "m2", "metric": "s"}],
            "default",
            ['{metric="m1",exported_metric="s",query="q"}', '{metric="m2",exported_metric="s",query="q"}'],
            id="two names and a label metric",
        ),
        pytest.param([{"metric": "s"}], "default", ['{metric="s",query="q"}'], id="metric is the source's"),
        pytest.param(
            [{"__name__": "m1", "a": "1"}, {"a": "1"}],
            "default",
            ['{metric="m1",a="1",query="q"}', '{a="1",query="q"}'],
            id="one with a name and one without",
        ),
        pytest.param([{"5xx": "a", "x5": "b"}], "default", ['{_5xx="a",x5="b",query="q"}'], id="digits"),
        pytest.param([{"http.method": "GET"}], "default", ['{http_method="GET",query="q"}'], id="dotted"),
        pytest.param([{"__name__": "up"}], "default", ['{query="q"}'], id="no label"),
    ],
)  # fmt: skip
def test_labels(page: SyntheticPage, labels: list[dict[str, str]], tenant: str, expected: list[str]) -> None:
    page.publish(evaluation(labels, [1.0] * len(labels), tenant=tenant))
    assert lines(page) == [f"pronoia_actual{one} 1" for one in expected]


def test_label_sets_that_fall_together_give_one_sample_and_are_counted(
    page: SyntheticPage, registry: CollectorRegistry
) -> None:
    page.publish(evaluation([{"a.b": "x"}, {"a_b": "x"}, {"c": "y"}], [NAN, 2.0, 3.0]))
    assert lines(page) == ['pronoia_actual{a_b="x",query="q"} 2', 'pronoia_actual{c="y",query="q"} 3']
    page.publish(evaluation([{"a.b": "x"}, {"a_b": "x"}, {"c": "y"}], [1.0, 2.0, 3.0]))
    assert lines(page) == ['pronoia_actual{a_b="x",query="q"} 1', 'pronoia_actual{c="y",query="q"} 3']
    assert registry.get_sample_value("pronoia_export_dropped_series", {"query": "q"}) == 1


def test_a_gone_row_leaves_and_a_warming_row_has_no_score(page: SyntheticPage) -> None:
    page.publish(evaluation([{"a": "1"}, {"a": "2"}, {"a": "3"}], [1.0, NAN, 3.0], score=[NAN, 9.0, 2.0]))
    assert 'a="2"' not in text(page)
    assert lines(page) == ['pronoia_actual{a="1",query="q"} 1', 'pronoia_actual{a="3",query="q"} 3']
    assert lines(page, "pronoia_anomaly_score") == ['pronoia_anomaly_score{a="3",query="q"} 2']


def test_a_missed_series_has_one_line(page: SyntheticPage) -> None:
    seen = evaluation([{"a": "1"}, {"a": "2"}], [1.0, NAN])
    page.publish(dataclasses.replace(seen, absent=np.array([False, True])))
    assert [line for line in text(page).splitlines() if 'a="2"' in line] == [
        'pronoia_series_absent{a="2",query="q"} 1'
    ]
    page.publish(evaluation([{"a": "1"}, {"a": "2"}], [1.0, 2.0]))
    assert lines(page, "pronoia_series_absent") == []


def test_missed_series_take_no_more_room_than_is_left(registry: CollectorRegistry) -> None:
    page = SyntheticPage(max_series=7, registry=registry)
    seen = evaluation([{"a": str(n)} for n in range(4)], [1.0, NAN, NAN, NAN])
    page.publish(dataclasses.replace(seen, absent=np.array([False, True, True, True])))
    assert len(lines(page, "pronoia_series_absent")) == 2


def test_only_an_alarm_has_a_severity(page: SyntheticPage) -> None:
    seen = evaluation([{"a": "1"}, {"a": "2"}], [1.0, 2.0], score=[0.5, 3.0])
    page.publish(dataclasses.replace(seen, severity=np.array([0, 2], dtype=np.int8)))
    assert lines(page, "pronoia_anomaly_severity") == ['pronoia_anomaly_severity{a="2",query="q"} 2']


def test_infinities_are_written_as_prometheus_reads_them(page: SyntheticPage) -> None:
    page.publish(evaluation([{"a": "1"}, {"a": "2"}], [math.inf, -math.inf]))
    assert [line.split()[-1] for line in lines(page)] == ["+Inf", "-Inf"]


def test_families_stay_together_across_queries(page: SyntheticPage) -> None:
    for query in ("q1", "q2"):
        page.publish(evaluation([{"a": "1"}], [1.0], query=query))
    order = [line.split("{")[0] for line in text(page).splitlines() if not line.startswith("#")]
    assert order == sorted(order, key=[family.name for family in names.FAMILIES].index)
    assert len(order) == 10


def test_a_page_is_made_once_an_evaluation(page: SyntheticPage) -> None:
    page.publish(evaluation([{"a": "1"}], [1.0]))
    for gzipped in (False, True):
        first, headers = page.render(openmetrics=False, gzipped=gzipped)
        assert page.render(openmetrics=False, gzipped=gzipped)[0] is first
        assert headers.get("Content-Encoding") == ("gzip" if gzipped else None)
    assert gzip.decompress(first) == page.render(openmetrics=False, gzipped=False)[0]
    page.publish(evaluation([{"a": "1"}], [2.0]))
    assert lines(page) == ['pronoia_actual{a="1",query="q"} 2']


def test_retired_rows_and_new_ones_reuse_what_is_known(page: SyntheticPage) -> None:
    page.publish(evaluation([{"a": "1"}, {"a": "2"}], [1.0, 2.0]))
    page.publish(evaluation([{}, {"a": "2"}, {"a": "3"}], [NAN, 2.0, 3.0]))
    assert lines(page) == ['pronoia_actual{a="2",query="q"} 2', 'pronoia_actual{a="3",query="q"} 3']


@pytest.mark.parametrize(
    ("step_seconds", "gone_after"),
    [
        pytest.param(15.0, 300, id="five minutes"),
        pytest.param(600.0, 1800, id="three long steps"),
        pytest.param(0.0, 300, id="a step that nobody told"),
    ],
)
def test_a_query_without_news_leaves(
    page: SyntheticPage, clock: Clock, registry: CollectorRegistry, step_seconds: float, gone_after: int
) -> None:
    # Between the second and the third the source was away for two days.
    for at_ms in (60_000, 660_000, 173_460_000):
        page.publish(evaluation([{"a": "1"}], [1.0], at_ms=at_ms, step_seconds=step_seconds))
    clock.now += gone_after
    assert lines(page)
    clock.now += 1
    assert text(page) == ""
    assert registry.get_sample_value("pronoia_export_dropped_series", {"query": "q"}) is None


def test_a_query_of_long_steps_stays_from_one_to_the_next(page: SyntheticPage, clock: Clock) -> None:
    for step in range(3):
        page.publish(evaluation([{"a": "1"}], [1.0], at_ms=step * 3_600_000, step_seconds=3600.0))
        for _ in range(60):
            clock.now += 60.0
            assert lines(page)


def test_a_retired_query_leaves_at_once(page: SyntheticPage) -> None:
    page.publish(evaluation([{"a": "1"}], [1.0], query="q1"))
    page.publish(evaluation([{"a": "1"}], [1.0], query="q2"))
    assert len(lines(page)) == 2
    page.retire("q1")
    page.retire("never there")
    assert lines(page) == ['pronoia_actual{a="1",query="q2"} 1']


def test_beyond_the_limit_series_are_dropped_whole_and_counted(
    registry: CollectorRegistry, clock: Clock
) -> None:
    page = SyntheticPage(max_series=12, registry=registry, monotonic=clock)
    page.publish(evaluation([{"a": "1"}], [1.0], query="q1"))  # 5 lines: room for one more of 5
    page.publish(evaluation([{"a": str(i)} for i in range(4)], [1.0] * 4, query="q2"))
    assert text(page).count('query="q2"') == 5
    assert registry.get_sample_value("pronoia_export_dropped_series", {"query": "q1"}) == 0
    assert registry.get_sample_value("pronoia_export_dropped_series", {"query": "q2"}) == 3
    assert registry.get_sample_value("pronoia_export_series") == 10
    assert registry.get_sample_value("pronoia_export_page_bytes") == len(text(page))


def test_a_scrape_never_sees_half_an_evaluation(page: SyntheticPage) -> None:
    labels = tuple(LabelSet({"a": str(i)}) for i in range(200))
    page.publish(evaluation(labels, [0.0] * 200))
    stop = threading.Event()

    def publish() -> None:
        value = 0.0
        while not stop.is_set():
            value += 1.0
            page.publish(evaluation(labels, [value] * 200))

    worker = threading.Thread(target=publish)
    worker.start()
    try:
        for _ in range(100):
            seen = {line.rsplit(" ", 1)[1] for line in text(page).splitlines() if line[0] != "#"} - {"0.5"}
            assert len(seen) == 1
    finally:
        stop.set()
        worker.join()


label_names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,6}", fullmatch=True)
label_values = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12
)
one_set = st.dictionaries(label_names, label_values, max_size=3)


@settings(max_examples=150, deadline=None)
@given(
    sets=st.lists(one_set, min_size=1, max_size=5, unique_by=lambda one: tuple(sorted(one.items()))),
    data=st.data(),
)
def test_both_parsers_read_back_what_was_published(sets: list[dict[str, str]], data: st.DataObject) -> None:
    page = SyntheticPage(max_series=1000, registry=CollectorRegistry(auto_describe=True))
    values = data.draw(st.lists(st.floats(allow_nan=False), min_size=len(sets), max_size=len(sets)))
    page.publish(evaluation(sets, values))
    for openmetrics, parse in ((False, parse_text), (True, parse_openmetrics)):
        families = {family.name: family for family in parse(text(page, openmetrics=openmetrics))}
        samples = families["pronoia_actual"].samples
        found = {tuple(sorted(sample.labels.items())): sample.value for sample in samples}
        assert len(samples) == len(found) == len(sets)
        for labels, value in zip(sets, values, strict=True):
            ours = {f"exported_{k}" if k in ("query", "horizon") else k: v for k, v in labels.items()}
            key = tuple(sorted({**ours, "query": "q"}.items()))
            assert found[key] == pytest.approx(value, rel=1e-10, abs=0)


@pytest.mark.parametrize(
    "value",
    [0.0, 1.0, -1.0, 9.99999999999999, 999999999999.9, 0.1, 1e-5, 9.9999999999999e-6, 123456789012345.0,
     1e15, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 1e22, 1e23],
    ids=repr,
)  # fmt: skip
def test_numbers_at_the_edges_are_exact_to_ten_digits(page: SyntheticPage, value: float) -> None:
    page.publish(evaluation([{"a": "1"}], [value]))
    assert float(lines(page)[0].split()[-1]) == pytest.approx(value, rel=1e-10, abs=0)


@given(st.text(min_size=1, max_size=8))
def test_legal_names_are_legal(name: str) -> None:
    legal = legal_name(name)
    assert legal.isascii()
    assert legal.isidentifier()


def test_times_to_thresholds_stand_on_the_page_until_they_are_too_old(registry: CollectorRegistry) -> None:
    clock = Clock()
    page = SyntheticPage(max_series=100, registry=registry, monotonic=clock)
    disk = LabelSet({"__name__": "used", "rule": "mine", "path": 'a"b'})
    etas = [ThresholdEta(disk, "DiskFull", "> 90", 0.5, seconds) for seconds in (7200.0, 3600.0)]
    EtaPage(page).publish(etas, valid_seconds=900.0)
    (family,) = parse_openmetrics(page.render(openmetrics=True, gzipped=False)[0].decode())
    (sample,) = family.samples
    assert sample.value == 3600.0
    assert sample.labels == {
        "rule": "DiskFull",
        "threshold": "> 90",
        "probability": "0.5",
        "exported_rule": "mine",
        "path": 'a"b',
    }
    clock.now += 901.0
    assert b"pronoia_threshold" not in page.render(openmetrics=True, gzipped=False)[0]
