"""Which label values carry a change, with a source that answers from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from sidecar.errors import PullError, PullReason
from sidecar.loop.contributions import MOST_LABELS, contributions, in_words
from sidecar.series import LabelSet, SeriesBatch


class Memory:
    """Answers `sum by (…)` over series with a value before and now."""

    def __init__(self, series: dict[LabelSet, tuple[float, float]], broken: str = "") -> None:
        self.series_now = series
        self.broken = broken
        self.asked: list[str] = []

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        return list(self.series_now)

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        self.asked.append(expr)
        label = name.removeprefix("by ")
        if label == self.broken:
            raise PullError(PullReason.TOO_MANY_SERIES, "too many")
        if self.broken == "slow":
            await asyncio.sleep(10)
        sums: dict[str, float] = {}
        for labels, values in self.series_now.items():
            sums[labels.get(label, "")] = sums.get(labels.get(label, ""), 0.0) + values[at_ms > 1_000_000]
        found = {one: value for one, value in sums.items() if value}
        return SeriesBatch(
            name, tuple(LabelSet({"job": "a", label: one}) for one in found),
            np.array([at_ms], dtype=np.int64), np.array(list(found.values()))[:, None],
        )  # fmt: skip


def of(pod: str, zone: str, **labels: str) -> LabelSet:
    return LabelSet({"__name__": "x", "job": "a", "pod": pod, "zone": zone, **labels})


SERIES = {
    of("p1", "z1"): (10.0, 11.0),
    of("p2", "z2"): (10.0, 60.0),
    of("p3", "z1"): (10.0, 10.0),
    of("p4", "z2"): (0.0, 5.0),
}


def asked(memory: Memory, expr: str = "sum by (job) (x)") -> list[dict[str, object]]:
    labels = LabelSet({"job": "a"})
    return asyncio.run(contributions(memory, expr, labels, now_ms=2_000_000, before_ms=500_000))


def test_the_clearest_label_comes_first() -> None:
    pod, zone = asked(Memory(SERIES))
    assert (pod["label"], zone["label"]) == ("pod", "zone")
    first, second, *_ = pod["values"]  # type: ignore[misc]
    assert first == {"value": "p2", "before": 10.0, "now": 60.0, "change": 50.0, "share": 0.893}
    assert (second["value"], second["before"], second["now"]) == ("p4", 0.0, 5.0), "it was not there before"
    assert 'pod="p2" (10 before, 60 now; 89% of the change)' in in_words([pod, zone])


def test_parts_of_an_average_have_no_share() -> None:
    pod, _ = asked(Memory(SERIES), "avg by (job) (x)")
    assert [one["value"] for one in pod["values"]] == ["p2", "p1", "p3"]  # type: ignore[attr-defined]
    assert all(one["share"] is None for one in pod["values"])  # type: ignore[attr-defined]


def test_one_label_that_is_too_much_does_not_hide_the_others() -> None:
    assert [one["label"] for one in asked(Memory(SERIES, broken="pod"))] == ["zone"]


def test_the_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {of(f"p{i}", "z", **{f"l{n}": str(i % 3) for n in range(9)}): (1.0, 2.0) for i in range(6)}
    memory = Memory(many)
    asked(memory)
    assert len(memory.asked) == 2 * MOST_LABELS
    monkeypatch.setattr("sidecar.loop.contributions.SECONDS", 0.05)
    assert asked(Memory(SERIES, broken="slow")) == []


@pytest.mark.parametrize("expr", ["x", "topk(3, x)", "sum(("])
def test_nothing_to_take_apart(expr: str) -> None:
    memory = Memory(SERIES)
    assert asked(memory, expr) == []
    assert memory.asked == []
    assert in_words([]) == ""


class Ratios(Memory):
    """Answers for paths with `(errors, requests)` before and now: by all requests, or by the path's own."""

    def __init__(self, of_path: dict[str, tuple[tuple[float, float], tuple[float, float]]]) -> None:
        super().__init__({LabelSet({"job": "a", "path": path}): (0.0, 0.0) for path in of_path})
        self.of_path = of_path

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        self.asked.append(expr)
        moment = {path: both[at_ms > 1_000_000] for path, both in self.of_path.items()}
        every = sum(requests for _, requests in moment.values())
        by_all = "ignoring (path) group_left ()" in expr
        shares = [errors / (every if by_all else requests) for errors, requests in moment.values()]
        labels = tuple(LabelSet({"job": "a", "path": path}) for path in moment)
        return SeriesBatch(name, labels, np.array([at_ms], dtype=np.int64), np.array(shares)[:, None])


ERRORS, REQUESTS = 'sum by (job) (rate(x{code=~"5.."}[5m]))', "sum by (job) (rate(x[5m]))"


GOOD = 'sum by (job) (rate(x{code!~"5.."}[5m]))'


@pytest.mark.parametrize(
    ("expr", "asks"),
    [
        (f"{ERRORS} / {REQUESTS}", ""),
        (f"100 * {ERRORS} / {REQUESTS}", ""),
        (f"({ERRORS} / {REQUESTS}) * 100", " * 100"),
        (f"100 * (1 - {GOOD} / {REQUESTS})", " * 100"),
    ],
)
def test_what_is_rare_does_not_carry_a_ratio(expr: str, asks: str) -> None:
    """Four in a hundred more of nearly all requests fail; the path that fails wholly has two in an hour."""
    memory = Ratios({"/buy": ((10.0, 1000.0), (50.0, 1000.0)), "/old": ((0.0, 0.001), (0.001, 0.001))})
    (found,) = asked(memory, expr)
    first, second = found["values"]  # type: ignore[misc]
    assert (first["value"], second["value"]) == ("/buy", "/old")
    assert first["share"] == 1.0
    assert first["now"] == pytest.approx(0.05)
    assert memory.asked[0].endswith(asks)


@pytest.mark.parametrize(
    "expr",
    [
        f"{REQUESTS} / 60",
        f"avg by (job) (x) / {REQUESTS}",
        f"1 - avg(x) / {REQUESTS}",
        f"{ERRORS} / scalar(sum(x))",
    ],
)
def test_what_is_no_ratio_of_sums_is_split_as_it_is(expr: str) -> None:
    memory = Ratios({"/buy": ((1.0, 10.0), (2.0, 10.0)), "/old": ((1.0, 10.0), (1.0, 10.0))})
    asked(memory, expr)
    assert not any("group_left" in one for one in memory.asked)


def test_what_is_taken_from_one_is_split_into_what_is_lacking() -> None:
    """A path of which nothing is good any more has no series above the line."""
    memory = Ratios({"/buy": ((1.0, 10.0), (2.0, 10.0)), "/old": ((1.0, 10.0), (1.0, 10.0))})
    asked(memory, f"1 - {GOOD} / {REQUESTS}")
    good = 'sum by (job, path) (rate(x{code!~"5..",job="a"}[5m]))'
    every = 'sum by (job, path) (rate(x{job="a"}[5m]))'
    of_all = " / ignoring (path) group_left () (sum by (job)(rate(x[5m])))"
    assert memory.asked[0] == f"(({every}) - (({good}) or 0 * ({every}))){of_all}"
