"""Saved models as versions: lineage, refusals with their reason, contests, promotion and its undoing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar import __version__
from sidecar.config.model import QueryConfig
from sidecar.engine import snapshot, versions
from sidecar.engine.model import QueryModel
from sidecar.engine.registry_models import (
    KEPT_VERSIONS,
    LEAST_POINTS,
    ModelFiles,
    Standing,
    contest,
    lineage,
    refusal,
    train,
    verdict,
)
from sidecar.engine.snapshot import save
from sidecar.errors import ModelError
from sidecar.series import LabelSet, SeriesBatch

STEP = 300
QUERY = QueryConfig(name="load", expr="load", step=STEP, forecast_horizons=())
DAY = 288
LABELS = tuple(LabelSet({"pod": str(i)}) for i in range(3))


def season(first: int, last: int) -> SeriesBatch:
    steps = np.arange(first, last)
    rng = np.random.default_rng(first)
    values = 100 + 60 * np.sin(2 * np.pi * steps / DAY) + rng.normal(0, 1, (3, len(steps)))
    times = (1_790_000_100 // STEP + steps) * STEP * 1000
    return SeriesBatch("load", LABELS, times.astype(np.int64), values)


def part(batch: SeriesBatch, first: int, last: int) -> SeriesBatch:
    return SeriesBatch(batch.query, batch.labels, batch.timestamps[first:last], batch.values[:, first:last])


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return ModelFiles(tmp_path)


@pytest.fixture
def trained(files: ModelFiles) -> SeriesBatch:
    """A champion that was spoilt by wild data, a challenger that knows the season; the history."""
    history = season(0, 8 * DAY)
    champion = QueryModel(QUERY)
    wild = history.values + np.random.default_rng(1).normal(0, 80, history.values.shape)
    champion.fit(replace(history, values=wild))
    save(champion, files.live("load"))
    train(QUERY, history, files)
    return history


def test_a_challenger_learns_in_pieces_what_it_learns_at_once(
    files: ModelFiles, trained: SeriesBatch
) -> None:
    challenger = files.of_role("load", "challenger")
    at_once = arrays(challenger)
    pieces: list[int] = []
    train(QUERY, trained, files, partial(count_into, pieces), points=600)
    assert len(pieces) == 12, "8 days of 3 series"
    assert max(pieces) <= 600
    in_pieces = arrays(challenger)
    assert in_pieces.keys() == at_once.keys()
    for name in at_once:
        np.testing.assert_array_equal(in_pieces[name], at_once[name], err_msg=name)


def arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def count_into(pieces: list[int], model: QueryModel) -> None:
    """Have a model note how many points it is taught at a time."""
    whole = model.fit

    def fit(history: SeriesBatch) -> None:
        pieces.append(history.values.size)
        whole(history)

    model.fit = fit  # type: ignore[method-assign]


def test_lineage_is_complete(files: ModelFiles, trained: SeriesBatch) -> None:
    found = {one.role: one for one in files.everything()}
    assert set(found) == {"live", "challenger", "champion at the fit"}
    challenger = found["challenger"]
    assert (challenger.query, challenger.detector, challenger.n_series) == ("load", "ensemble", 3)
    assert challenger.n_points == 3 * 8 * DAY
    assert challenger.learnt_from_ms == trained.timestamps[0]
    assert challenger.learnt_until_ms == trained.timestamps[-1]
    assert challenger.pronoia == __version__
    assert challenger.meaning == snapshot.meaning(QUERY)
    assert set(challenger.libraries) == {"numpy", "numba"}


def test_the_one_that_knows_the_season_wins_on_new_data(files: ModelFiles, trained: SeriesBatch) -> None:
    after = season(8 * DAY, 9 * DAY)
    pair = files.of_role("load", "fit"), files.of_role("load", "challenger")
    standings = contest(*pair, QUERY, after)
    better, words = verdict(standings)
    assert better, words
    assert standings["challenger"].mean_error < standings["champion"].mean_error
    better, words = verdict(contest(*pair, QUERY, part(after, 0, 50)))
    assert (better, str(LEAST_POINTS) in words) == (False, True)
    with pytest.raises(ModelError, match="has seen the data"):
        contest(*pair, QUERY, part(trained, 10, 900))


def test_series_that_went_away_since_the_fit_decide_nothing(files: ModelFiles, trained: SeriesBatch) -> None:
    after = season(8 * DAY, 8 * DAY + 60)
    left = SeriesBatch(after.query, after.labels[1:], after.timestamps, after.values[1:])
    pair = files.of_role("load", "fit"), files.of_role("load", "challenger")
    assert contest(*pair, QUERY, left)["champion"].n_points == 60 * len(left.labels)


@pytest.mark.parametrize("n_new", [0, 1])
def test_right_after_the_fit_there_is_nothing_to_compare(
    files: ModelFiles, trained: SeriesBatch, n_new: int
) -> None:
    pair = files.of_role("load", "fit"), files.of_role("load", "challenger")
    found = contest(*pair, QUERY, season(8 * DAY, 8 * DAY + n_new))
    assert verdict(found) == (False, f"0 points were seen since the fit, {LEAST_POINTS} are needed")


@pytest.mark.parametrize(
    ("challenger", "better"),
    [
        pytest.param(Standing(1000, 0.9, 4, 0.01), True, id="errs less"),
        pytest.param(Standing(1000, 0.99, 4, 0.01), False, id="errs about as much"),
        pytest.param(Standing(1000, 0.5, 40, 0.1), False, id="flags far more"),
        pytest.param(Standing(1000, float("nan"), 0, 0.1), False, id="says nothing"),
    ],
)
def test_what_better_is(challenger: Standing, better: bool) -> None:
    assert verdict({"champion": Standing(1000, 1.0, 4, 0.01), "challenger": challenger})[0] is better


def test_promotion_is_undone_and_old_versions_go(files: ModelFiles, trained: SeriesBatch) -> None:
    champion = files.live("load").read_bytes()
    assert not files.take_next("load")
    files.put_next("load", files.of_role("load", "challenger"))
    assert files.live("load").read_bytes() == champion, "nothing changes before the next start"
    assert files.take_next("load")
    assert lineage(files.live("load")).n_points == 3 * 8 * DAY
    (version,) = files.versions("load")
    files.put_next("load", version)
    assert files.take_next("load")
    assert files.live("load").read_bytes() == champion
    for _ in range(KEPT_VERSIONS + 2):
        files.put_next("load", files.of_role("load", "challenger"))
        files.take_next("load")
    kept = [path.name for path in files.versions("load")]
    assert kept == [f"load.v{n}.version" for n in range(5, 10)]


def test_refused_with_the_reason(
    files: ModelFiles, trained: SeriesBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = files.live("load")
    assert refusal(live, QUERY) is None
    assert "another step of" in (refusal(live, QUERY.model_copy(update={"step": 60.0})) or "")
    several = QUERY.model_copy(update={"step": 60.0, "group_by": ("zone",), "severity": "page"})
    assert "another step and another group_by of" in (refusal(live, several) or "")
    monkeypatch.setattr(versions, "version", lambda name: "99.1.2")
    assert "numpy 99.1" in (refusal(live, QUERY) or "")
    monkeypatch.undo()
    live.write_bytes(b"damaged")
    assert "cannot be read" in (refusal(live, QUERY) or "")
    with pytest.raises(ModelError, match="cannot be read"):
        lineage(live)
    assert "live" not in {one.role for one in files.everything()}
