"""Where a source's data begin, found by halves."""

from __future__ import annotations

import pytest

from rules.backtest.past import Window
from rules.backtest.reach import within_reach
from sidecar.errors import PullError, PullReason

HOUR = 3_600_000
END = 1_700_000_000_000 // HOUR * HOUR
WINDOW = Window(END - 28 * 24 * HOUR, END, 60_000)


class Recorder:
    """A server whose data begin so many hours before the window's end."""

    def __init__(self, hours: float | None) -> None:
        self.begins_ms = None if hours is None else END - hours * HOUR
        self.n_asked = 0

    async def label_names(self, *, start_ms: int, end_ms: int) -> list[str]:
        self.n_asked += 1
        if self.begins_ms is None:
            raise PullError(PullReason.UNREACHABLE, "gone")
        return ["job"] if end_ms >= self.begins_ms else []


@pytest.mark.parametrize(
    ("hours", "most_requests"),
    [
        pytest.param(28 * 24 + 1, 1, id="all of it"),
        pytest.param(15 * 24, 8, id="a shorter retention"),
        pytest.param(30, 8, id="installed yesterday"),
    ],
)
async def test_a_window_begins_where_the_data_do(hours: float, most_requests: int) -> None:
    recorder = Recorder(hours)
    found = await within_reach(recorder, WINDOW)
    known = min(hours, 28 * 24)
    assert known <= (found.end_ms - found.start_ms) / HOUR <= known + 28 * 24 / 64 + 1
    assert (found.end_ms, found.start_ms % WINDOW.step_ms) == (WINDOW.end_ms, 0)
    assert recorder.n_asked <= most_requests


@pytest.mark.parametrize(
    ("hours", "window"),
    [
        pytest.param(-1, WINDOW, id="no data"),
        pytest.param(None, WINDOW, id="no answer"),
        pytest.param(0.5, Window(END - HOUR, END, 60_000), id="a window shorter than a block"),
    ],
)
async def test_it_stays_where_nothing_is_known(hours: float | None, window: Window) -> None:
    assert await within_reach(Recorder(hours), window) == window
