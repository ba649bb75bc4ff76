"""Selections over a restart: the same forecast, or a stated reason why they are made anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sidecar.engine.forecast import chosen as module
from sidecar.engine.forecast.chosen import Chosen, packed, unpacked
from sidecar.engine.forecast.pool import Selection, select
from sidecar.errors import ModelError
from sidecar.series import FloatArray

STEP = 3600.0
AHEAD = 24
SAME = {"step_seconds": STEP, "horizon": AHEAD, "level": 0.95}


def course(seed: int, n: int = 15 * 24) -> FloatArray:
    at = np.arange(n)
    noise = np.random.default_rng(seed).normal(0, 1, n)
    return np.asarray(50 + 20 * np.sin(2 * np.pi * at / 24) + noise)


@pytest.fixture(scope="module")
def selections() -> list[Selection]:
    return [select(course(seed), STEP, AHEAD) for seed in range(2)]


def rows(selections: list[Selection]) -> dict[int, Chosen]:
    width = np.array([0.25, 0.0])
    return {3 * n: Chosen(one, 1000 + n, width) for n, one in enumerate(selections)}


def test_what_was_saved_forecasts_the_same(selections: list[Selection]) -> None:
    found = unpacked(packed(rows(selections)), **SAME)
    assert list(found) == [3, 0]
    assert found[3].made_at == 1001
    np.testing.assert_array_equal(found[3].width, [0.25, 0.0])
    for seed, row in ((0, 0), (1, 3)):
        grid = course(seed)
        ours, theirs = found[row].selection.forecast(grid), selections[seed].forecast(grid)
        for name in ("yhat", "lower", "upper"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-4)
        assert found[row].selection.shares == pytest.approx(selections[seed].shares, abs=1e-5)


def test_beyond_the_bound_the_newest_are_kept(selections: list[Selection]) -> None:
    everything = packed(rows(selections))
    assert list(unpacked(packed(rows(selections), most_bytes=len(everything) * 2 // 3), **SAME)) == [3]
    assert unpacked(packed({}), **SAME) == {}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        pytest.param(
            {"step_seconds": 300.0}, "24 steps of 3600 s; wanted are 24 of 300 s", id="another step"
        ),
        pytest.param({"horizon": 48}, "wanted are 48 of 3600 s", id="another horizon"),
    ],
)
def test_another_grid_is_refused(selections: list[Selection], wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        unpacked(packed(rows(selections)), **(SAME | wanted))


@pytest.mark.parametrize(
    ("name", "other", "reason"),
    [
        pytest.param("__version__", "0.0.9", "made by pronoia 0.0.9", id="another pronoia"),
        pytest.param("libraries", lambda: {"numpy": "1.0"}, "made by .*numpy 1.0; here", id="another numpy"),
    ],
)
def test_other_versions_are_refused(
    selections: list[Selection], monkeypatch: pytest.MonkeyPatch, name: str, other: Any, reason: str
) -> None:
    with monkeypatch.context() as then:
        then.setattr(module, name, other)
        saved = packed(rows(selections))
    with pytest.raises(ModelError, match=reason):
        unpacked(saved, **SAME)


def test_damage_is_refused(selections: list[Selection]) -> None:
    saved = packed(rows(selections))
    with pytest.raises(ModelError, match="cannot be read"):
        unpacked(saved[: len(saved) // 2], **SAME)
