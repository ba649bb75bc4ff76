"""A query's past is read so that it fits, however many series have come and gone in it."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.errors import TooManySeries
from sidecar.loop import past
from sidecar.loop.past import read_past
from sidecar.series import LabelSet, SeriesBatch

DAY_MS = 86_400_000
END_MS = 1_750_032_000_000


class Source:
    """Has `now` series at any instant and `ever` over two weeks; as a stream, it counts only to the bound."""

    def __init__(self, now: int, ever: int, *, stream: bool = False) -> None:
        self.now, self.ever, self.stream = now, ever, stream
        self.asked: list[tuple[int, int]] = []

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        return self._batch(self.now, np.array([at_ms], dtype=np.int64), max_series)

    async def history(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        self.asked.append((step_ms, max_series))
        first = -(-start_ms // step_ms) * step_ms
        return self._batch(self.ever, np.arange(first, end_ms + 1, step_ms, dtype=np.int64), max_series)

    range = history

    def _batch(self, n_series: int, times: np.ndarray, max_series: int) -> SeriesBatch:
        if n_series > max_series:
            raise TooManySeries("q", max_series + 1 if self.stream else n_series, max_series)
        labels = tuple(LabelSet({"pod": f"p{n}"}) for n in range(n_series))
        return SeriesBatch("q", labels, times, np.zeros((n_series, len(times))))


def query(days: int) -> QueryConfig:
    return QueryConfig(name="q", expr="up", step=60.0, history=days * 86400.0)


@pytest.mark.parametrize(
    ("now", "ever", "stream", "step_minutes"),
    [
        pytest.param(5, 5, False, 1, id="few"),
        pytest.param(40, 40, False, 3, id="many now"),
        pytest.param(5, 80, False, 6, id="few now, many pods in two weeks"),
        pytest.param(5, 80, True, 8, id="of which nobody says how many"),
    ],
)
async def test_what_is_held_at_once_is_bounded(
    monkeypatch: pytest.MonkeyPatch, now: int, ever: int, stream: bool, step_minutes: int
) -> None:
    monkeypatch.setattr(past, "HISTORY_POINTS", 300_000)  # Of 20,160 steps in two weeks: 14 series.
    source = Source(now, ever, stream=stream)
    older, newest = await read_past(query(28), source, end_ms=END_MS, max_series=100)
    assert newest.n_series == older.n_series == ever
    assert newest.values.size <= 300_000 + ever
    assert source.asked[-1][0] == 60 * 60_000
    assert source.asked[-2][0] == step_minutes * 60_000
    assert older.timestamps[-1] < newest.timestamps[0]
    assert newest.timestamps[-1] > END_MS - step_minutes * 60_000


async def test_more_series_than_may_be_are_refused_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "HISTORY_POINTS", 300_000)
    source = Source(5, 401)
    with pytest.raises(TooManySeries):
        await read_past(query(14), source, end_ms=END_MS, max_series=100)
    assert source.asked[-1][1] == 400
