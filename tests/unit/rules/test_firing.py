"""`for`, `keep_firing_for` and hysteresis, against a model that steps through time as Prometheus does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.backtest.firing import firings

STEP = 60_000


def flags(text: str) -> np.ndarray:
    return np.array([[letter == "x" for letter in text]])


def spans(text: str, hold: int = 0, keep: int = 0, stays: str | None = None) -> list[tuple[int, int]]:
    active = flags(text)
    found = firings(
        active,
        np.arange(active.shape[1]) * STEP,
        for_seconds=hold * 60,
        keep_firing_seconds=keep * 60,
        stays=None if stays is None else flags(stays),
    )
    return [(f.start_ms // STEP, -(-f.end_ms // STEP)) for f in found]


@pytest.mark.parametrize(
    ("text", "hold", "keep", "expected"),
    [
        pytest.param("..xx..", 0, 0, [(2, 4)], id="fires while active"),
        pytest.param("..xxx.", 2, 0, [(4, 5)], id="fires once it was active for so long"),
        pytest.param("..xx..", 2, 0, [], id="too short for its for"),
        pytest.param("xx.xx.", 1, 0, [(1, 2), (4, 5)], id="a gap starts for anew"),
        pytest.param("xx.xx.", 1, 2, [(1, 6)], id="kept over the gap"),
        pytest.param("xx.....", 0, 2, [(0, 4)], id="kept after the end"),
        pytest.param("x...x..", 0, 2, [(0, 3), (4, 7)], id="kept too short for the gap"),
        pytest.param("....xx", 0, 0, [(4, 6)], id="still fires at the end"),
        pytest.param("......", 0, 0, [], id="never"),
        pytest.param("", 0, 0, [], id="no steps"),
    ],
)
def test_intervals(text: str, hold: int, keep: int, expected: list[tuple[int, int]]) -> None:
    assert spans(text, hold, keep) == expected


def test_hysteresis_holds_what_fires_and_starts_nothing() -> None:
    assert spans("..x....x", stays="xxxxx...") == [(2, 5), (7, 8)]


def stepped(active: list[bool], hold: int, keep: int) -> list[bool]:
    """Whether it fires at each step, by the states that Prometheus keeps."""
    since: int | None = None
    firing = False
    gone: int | None = None
    out = []
    for now, here in enumerate(active):
        if here:
            gone = None
            if since is None:
                since = now
            firing = firing or now - since >= hold
        elif firing:
            gone = now if gone is None else gone
            if now - gone >= keep:
                since, firing, gone = None, False, None
        else:
            since = None
        out.append(firing)
    return out


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 4), st.integers(0, 4))
def test_equals_the_stepped_model(active: list[bool], hold: int, keep: int) -> None:
    text = "".join("x" if here else "." for here in active)
    out = [False] * len(active)
    for start, end in spans(text, hold, keep):
        out[start:end] = [True] * (min(end, len(out)) - start)
    assert out == stepped(active, hold, keep)
