"""The story is told from what was seen: in any order, each beat once, never before it is true."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sidecar.cli.demo.story import BEATS, EVENT_PATIENCE_SECONDS, PATIENCE_SECONDS, Places, Story
from sidecar.cli.demo.terminal import Terminal

RULES = Path("/demo/rules")
PLACES = Places("http://p:9090", "http://a:9093", "http://s:9469", "http://m:9480", RULES)


class Teller:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def beat(self, elapsed_seconds: float, text: str, see: str) -> None:
        self.lines.append((text, see))


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def make(n_queries: int = 1) -> tuple[Story, Teller, Clock]:
    teller, clock = Teller(), Clock()
    return Story(teller, PLACES, n_queries=n_queries, now=clock), teller, clock


def group(file: str, *firing: dict[str, str], health: str = "ok") -> dict[str, Any]:
    alerts = [{"state": "firing", "labels": labels} for labels in firing]
    return {"file": str(RULES / file), "rules": [{"health": health, "alerts": alerts}]}


OURS = "pronoia-cdn_error_ratio.rules.yaml"
FITTED = {"query": "cdn_error_ratio", "n_series": 5, "n_samples": 400_000, "elapsed_seconds": 1.5}
ANOMALY = {"query": "cdn_error_ratio", "labels": {"edge": "fra"}, "actual": 0.31, "expected": 0.003,
           "lower": 0.0, "upper": 0.005, "score": 9.13}  # fmt: skip
ETA = {"rule": "DiskAlmostFull", "labels": {"service": "search"}, "probability": 0.5, "seconds": 15_300.0}
CAUSE = {"service": "cdn", "reasons": ["began first", "others depend on it"]}


def whole() -> tuple[Story, Teller]:
    story, teller, clock = make()
    story.backfilled(50, 930_000, 14.2, 4.6)
    story.up()
    clock.seconds = 20
    story.event("query.fitted", FITTED)
    story.event("query.scored", {"query": "cdn_error_ratio", "n_series": 5})
    story.event("rules.checked", {"checks": {"promtool": "ok"}})
    story.thresholds([ETA])
    story.rule_groups([group(OURS)])
    clock.seconds = 60
    story.injected(150)
    clock.seconds = 75
    story.event("anomaly.started", ANOMALY)
    clock.seconds = 95
    alert = {"alertname": "CdnErrorRatioAnomalous", "edge": "fra", "service": "cdn"}
    story.rule_groups([group(OURS, alert)])
    story.event("alerts.received", {"alerts": 2})
    incident = {"incident_id": "i1", "state": "open", "n_episodes": 4, "causes": [CAUSE]}
    story.incidents([incident])
    clock.seconds = 300
    story.incidents([{**incident, "state": "resolved"}])
    return story, teller


def test_the_whole_story_in_order_on_one_screen() -> None:
    story, teller = whole()
    assert tuple(story.told) == BEATS
    assert story.complete
    assert 2 * len(teller.lines) + 2 <= 26
    assert all(see for _, see in teller.lines)
    text = dict(zip(story.told, teller.lines, strict=True))
    assert "20 s after the command" in text["scored"][0]
    assert "DiskAlmostFull is likely to fire within 4 h 15 min: the disk of search fills" in text["ahead"][0]
    assert "promtool" in text["rule"][0]
    assert "0.31, expected 0.003, upper bound 0.005: score 9.13" in text["anomaly"][0]
    assert "fires 35 s after that: CdnErrorRatioAnomalous{" in text["fires"][0]
    assert "rules by hand: none yet" in text["fires"][0]
    assert "probable cause: cdn (began first; others depend on it)" in text["incident"][0]
    assert text["resolved"][1].endswith("/incidents/i1")


def test_nothing_is_told_twice() -> None:
    story, teller = whole()
    n_lines = len(teller.lines)
    story.event("query.scored", {"query": "x", "n_series": 1})
    story.injected(150)
    story.up()
    assert len(teller.lines) == n_lines


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        pytest.param("anomaly.started", ANOMALY, id="an anomaly before anything was broken"),
        pytest.param("alerts.received", {"alerts": 1}, id="a delivery before"),
        pytest.param("query.fitted", FITTED, id="one query of two is learnt"),
        pytest.param("something.new", {"x": 1}, id="an unknown event"),
        pytest.param("rules.published", {}, id="published is not yet loaded by Prometheus"),
    ],
)
def test_what_is_not_yet_true_is_not_told(kind: str, facts: dict[str, Any]) -> None:
    story, teller, _ = make(n_queries=2)
    story.event(kind, facts)
    story.thresholds([{**ETA, "seconds": 0.0}, {**ETA, "rule": "CdnEdgeErrors"}])
    story.rule_groups([])
    story.incidents([{"incident_id": "old", "state": "resolved", "n_episodes": 9}])
    assert teller.lines == []


def test_an_unhealthy_rule_is_not_called_loaded() -> None:
    story, teller, _ = make()
    story.rule_groups([group(OURS, health="err")])
    assert teller.lines == []


def test_a_check_that_did_not_happen_is_not_claimed() -> None:
    story, teller, _ = make()
    story.rule_groups([group(OURS)])
    assert "checked" not in teller.lines[0][0]


def test_an_anomaly_elsewhere_is_not_the_story() -> None:
    story, teller, _ = make()
    story.injected(150)
    story.event("anomaly.started", {**ANOMALY, "labels": {"edge": "iad"}})
    assert len(teller.lines) == 1


def test_a_missed_event_is_made_good_by_readiness() -> None:
    story, teller, clock = make()
    clock.seconds = 12
    story.ready()
    assert teller.lines == []
    clock.seconds += EVENT_PATIENCE_SECONDS + 0.1
    story.ready()
    assert "first scores, 12 s after the command" in teller.lines[0][0]


def test_a_small_incident_is_told_when_patience_ends() -> None:
    story, teller, clock = make()
    story.injected(150)
    incident = {"incident_id": "i1", "state": "open", "n_episodes": 1, "causes": []}
    story.incidents([incident])
    assert len(teller.lines) == 1
    clock.seconds = PATIENCE_SECONDS + 1
    story.incidents([incident])
    assert "1 alert is one incident; probable cause: not known yet" in teller.lines[1][0]


async def test_reached_waits_for_its_beat() -> None:
    import asyncio

    story, _, _ = make()
    waiting = asyncio.create_task(story.reached("up"))
    await asyncio.sleep(0)
    assert not waiting.done()
    story.up()
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(story.reached("up"), 1)


def test_lines_fit_and_urls_are_whole(tmp_path: Path) -> None:
    sink = io.StringIO()
    terminal = Terminal(console=Console(file=sink, width=300))
    url = "http://p:9090/" + "x" * 150
    terminal.beat(1.0, "y" * 200, url)
    first, second = sink.getvalue().splitlines()
    assert len(first) <= 110
    assert url in second


def test_what_was_printed_can_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, beginning in (("story.svg", "<svg"), ("story.txt", "pronoia demo")):
        terminal = Terminal(record=tmp_path / name)
        terminal.title("pronoia demo")
        terminal.beat(1.0, "something", "http://p")
        terminal.save()
        assert (tmp_path / name).read_text().lstrip().startswith(beginning)
    assert "something" in capsys.readouterr().out
