"""What is asked before a generated file is published, and how it runs as a shadow of itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rules.document import RuleFile, render
from rules.generate.groups import rule_file
from rules.generate.packs import load_pack, pack_names
from rules.generate.slo import slo_file
from rules.incidents import KnownIncident
from rules.learn import learn
from rules.lint import faults, refuse_faults, style
from rules.prove import Prover
from rules.read import WrittenRule, read_text
from rules.shadow import shadow_of
from rules.volume import n_firings, told_by_others
from sidecar.config.slo import SloConfig
from sidecar.errors import PullError, PullReason, RuleError
from sidecar.series import FloatArray, LabelSet, SeriesBatch
from tests.integration.servers import binary
from tests.unit.rules.bands import CONFIG, QUERY, band, golden, hours

NOW = 1_700_000_000.0
MINUTE = 60_000
P99 = "histogram_quantile(0.99, sum by (le, service) (rate(took_seconds_bucket[5m])))"


class Answers:
    """A source that gives the same series for everything; `series(times)`: (N, T)."""

    def __init__(self, series: Callable[[np.ndarray], FloatArray], n_now: int = 1) -> None:
        self.series, self.n_now = series, n_now

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        labels = tuple(LabelSet({"n": str(n)}) for n in range(self.n_now))
        return SeriesBatch(name, labels, np.array([at_ms]), np.ones((self.n_now, 1)))

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        values = self.series(times)
        labels = tuple(LabelSet({"service": f"s{n}"}) for n in range(values.shape[0]))
        return SeriesBatch(name, labels, times, values)


def spikes(times: np.ndarray) -> FloatArray:
    """Two series at 10, both at 30 for ten minutes of every day."""
    high = times // MINUTE % 1440 < 10
    return np.tile(np.where(high, 30.0, 10.0), (2, 1))


async def test_firings_a_day_of_a_learned_file_are_told_before_it_is_published() -> None:
    learned = band(np.tile(hours("flat"), (2, 1)), 1.0, [{"service": "s0"}, {"service": "s1"}])
    query = QUERY.model_copy(update={"direction": "above", "false_alarms_per_series_per_month": 1.5})
    thresholds = learn(learned, query, CONFIG)
    proof = await Prover(Answers(spikes), now=lambda: NOW).prove(render(thresholds, CONFIG).text, thresholds)
    ((alert, n),) = proof.firings_per_day.items()
    assert alert.endswith("AboveExpected")
    assert n == pytest.approx(1 + 2 * 1.5 / 30), "one a day, and what the live band's budget allows"


@pytest.mark.parametrize(
    ("top", "expr", "words"),
    [
        pytest.param(
            "2.5", P99, "of 3 series above what is expected 1 at any time, 1 at some hours", id="p99"
        ),
        pytest.param("2.5", f"1000 * {P99}", "", id="in milliseconds: far below 2500"),
        pytest.param("20", P99, "", id="a long bucket"),
        pytest.param("", P99, "", id="a native histogram"),
        pytest.param("2.5", "took_seconds", "", id="no quantile"),
    ],
)
async def test_a_band_beyond_the_last_bucket_is_told_of(top: str, expr: str, words: str) -> None:
    class Histogram(Answers):
        async def range(self, expr: str, **asked: Any) -> SeriesBatch:
            found = await super().range(expr, **asked)
            if "count by (le)" not in expr:
                return found
            return replace(found, labels=(LabelSet({"le": top}), LabelSet({"le": "+Inf"})))

    centre = np.stack([np.full(168, 1.0), np.full(168, 9.0), np.where(np.arange(168) % 24 < 4, 9.0, 1.0)])
    learned = band(centre, 0.5, [{"service": f"s{n}"} for n in range(3)])
    query = QUERY.model_copy(update={"expr": expr})
    thresholds = learn(learned, query, CONFIG)
    source = Histogram(lambda times: np.ones((2, len(times))))
    proof = await Prover(source, now=lambda: NOW).prove(render(thresholds, CONFIG).text, thresholds)
    assert proof.cannot_fire.startswith(words)
    assert ("cannot fire" in proof.words()) == bool(words)


async def test_alerts_that_read_what_the_file_records_have_no_past() -> None:
    record = {"record": "a:b", "expr": "sum(c)"}
    alerts = [{"alert": "New", "expr": "a:b > 1"}, {"alert": "Old", "expr": "c > 1"}]
    file = rule_file("x", [{"name": "pronoia-x", "rules": [record, *alerts]}], "a test")

    def daily(times: np.ndarray) -> FloatArray:
        return np.where(times // MINUTE % 1440 < 10, 1.0, np.nan)[None, :]

    proof = await Prover(Answers(daily), now=lambda: NOW).prove(file.text)
    assert proof.firings_per_day == {"Old": pytest.approx(1.0, abs=0.2)}


async def test_a_file_that_would_flood_is_refused() -> None:
    with pytest.raises(RuleError, match="gives 2000 alerts at once"):
        await Prover(Answers(spikes, n_now=2000), now=lambda: NOW).prove(golden("flat").text)


async def test_an_expression_that_the_server_refuses_is_refused() -> None:
    class Refusing(Answers):
        async def instant(self, expr: str, **_: object) -> SeriesBatch:  # type: ignore[override]
            raise PullError(PullReason.BAD_QUERY, "many-to-many matching")

    with pytest.raises(RuleError, match="many-to-many") as caught:
        await Prover(Refusing(spikes), now=lambda: NOW).prove(golden("flat").text)
    assert caught.value.reason == "check_failed"


FILES: list[RuleFile] = [
    *(golden(kind) for kind in ("flat", "daily")),
    *(load_pack(name).file() for name in pack_names()),
    slo_file(
        SloConfig(name="shop", objective=0.999, errors="sum(rate(e[$window]))", total="sum(rate(t[$window]))")
    ),
]


def test_every_generated_file_has_a_shadow_that_loads_beside_it(tmp_path: Path) -> None:
    names = []
    for file in FILES:
        shadow = shadow_of(file)
        for each in (file, shadow):
            (tmp_path / each.file_name).write_text(each.text)
            names.append(each.file_name)
        ours, theirs = read_text(file.text), read_text(shadow.text)
        assert not {r.name for r in ours if not r.alerting} & {r.name for r in theirs if not r.alerting}
        assert not {r.group for r in ours} & {r.group for r in theirs}
        assert all(rule.labels.get("pronoia_canary") == "true" for rule in theirs if rule.alerting)
        assert [rule.name for rule in ours if rule.alerting] == [r.name for r in theirs if r.alerting]
    subprocess.run(
        [binary("promtool"), "check", "rules", *names], cwd=tmp_path, check=True, capture_output=True
    )


def test_a_shadow_reads_its_own_records() -> None:
    text = shadow_of(FILES[-1]).text
    assert "canary:slo:error_ratio:rate1h{slo" in text
    assert text.count("slo:error_ratio:rate1h") == text.count("canary:slo:error_ratio:rate1h")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param(WrittenRule(" ", "a > 1", "alerting"), "no name", id="no name"),
        pytest.param(WrittenRule("a-b", "a", "recording"), "no name of a metric", id="no metric"),
        pytest.param(
            WrittenRule("A", "a", "alerting", labels={"x-y": "z"}), "no name of a label", id="label"
        ),
        pytest.param(WrittenRule("A", "a", "alerting", labels={"v": "{{ $value }}"}), r"\$value", id="value"),
        pytest.param(
            WrittenRule("A", "a", "alerting", labels={"alertname": "B"}), "alertname", id="name set"
        ),
    ],
)
def test_names_and_labels_that_break(rule: WrittenRule, words: str) -> None:
    with pytest.raises(RuleError, match=words):
        refuse_faults([rule])


def test_what_is_generated_has_neither_faults_nor_bad_style() -> None:
    rules = [rule for file in FILES for rule in read_text(file.text)]
    assert [words for rule in rules for words in (*faults(rule), *style(rule))] == []
    assert style(WrittenRule("low_disk", "a", "alerting"))


async def test_what_other_alerts_tell_of_as_well_is_no_noise() -> None:
    def flaps(times: np.ndarray) -> FloatArray:
        return np.where(np.arange(times.size) % 20 < 10, np.nan, 1.0)[None, :]

    source = Answers(flaps)
    everything = await n_firings(source, {"alertname": "A"}, 7200, NOW)
    assert everything > 10
    end_ms = int(NOW * 1000)
    window = KnownIncident("real", end_ms - 3_600_000, end_ms, frozenset({"A", "B"}))
    alone = KnownIncident("its own noise", 0, end_ms, frozenset({"A"}))
    besides = told_by_others([window, alone], "A")
    assert besides == [window]
    halved = await n_firings(source, {"alertname": "A"}, 7200, NOW, besides=besides)
    assert halved == pytest.approx(everything / 2, abs=1)
