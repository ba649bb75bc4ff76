"""A query's model on series whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine import snapshot
from sidecar.engine.model import QueryModel
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 60
DAY = 1440
START = 1_790_000_000 // STEP * STEP
QUERY = QueryConfig(name="q", expr="up", step=STEP)


def labels(n: int) -> tuple[LabelSet, ...]:
    return tuple(LabelSet({"i": str(i)}) for i in range(n))


def batch(values: FloatArray, first: int = 0, names: tuple[LabelSet, ...] | None = None) -> SeriesBatch:
    times = (START + np.arange(first, first + values.shape[1]) * STEP) * 1000
    return SeriesBatch("q", names or labels(len(values)), times.astype(np.int64), values)


def seasonal(n: int, days: int, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    t = np.arange(days * DAY)
    day = 50 * np.sin(2 * np.pi * t / DAY)
    weekend = np.where((t // DAY) % 7 >= 5, 20.0, 0.0)
    return 100 + day + weekend + rng.normal(0, 3, (n, len(t)))


def test_spikes_are_found_and_one_does_not_blind() -> None:
    values = seasonal(20, 10)
    values[:, 9 * DAY] += 60
    values[:, 9 * DAY + 30] += 60
    _, _, score = QueryModel(QUERY).score(batch(values))
    assert (score.anomaly_score[:, 9 * DAY] > 1).all()
    assert (score.direction[:, 9 * DAY] == 1).all()
    assert (score.anomaly_score[:, 9 * DAY + 30] > 1).mean() > 0.8


def test_a_level_shift_becomes_the_new_normal() -> None:
    values = seasonal(10, 10)
    values[:, 9 * DAY :] += 80
    _, _, score = QueryModel(QUERY).score(batch(values))
    assert (score.anomaly_score[:, 9 * DAY : 9 * DAY + 10] > 1).all()
    assert (score.anomaly_score[:, 9 * DAY + 300 :] > 1).mean() < 0.01


def test_a_score_above_one_is_a_value_outside_the_band() -> None:
    values = seasonal(10, 4)
    values[:, ::97] += 70
    aligned, expectation, score = QueryModel(QUERY).score(batch(values))
    known = np.isfinite(score.anomaly_score)
    outside = (aligned.values < expectation.lower) | (aligned.values > expectation.upper)
    np.testing.assert_array_equal(score.anomaly_score[known] > 1, outside[known])
    assert outside[known].any()


def test_the_expected_lies_in_its_band_also_while_an_incident_lasts() -> None:
    values = seasonal(3, 6)
    values[:, -3 * 60 :] *= 1.5
    _, band, score = QueryModel(QUERY).score(batch(values))
    known = np.isfinite(band.lower)
    assert (np.nan_to_num(score.anomaly_score[:, -3 * 60 :]) > 1).any()
    assert ((band.lower <= band.yhat) & (band.yhat <= band.upper))[known].all()


def test_what_was_never_negative_has_no_negative_band() -> None:
    values = np.abs(np.random.default_rng(2).normal(0, 5, (5, DAY)))
    values[:2, 300] = -np.inf, -1e200  # No measurements.
    _, expectation, _ = QueryModel(QUERY).score(batch(values))
    assert np.nanmin(expectation.lower) == 0.0


@pytest.mark.parametrize(("direction", "blind"), [("above", -60.0), ("below", 60.0)])
def test_directions_are_honoured(direction: str, blind: float) -> None:
    query = QUERY.model_copy(update={"direction": direction})
    values = seasonal(5, 9)
    values[:, -2] += blind
    values[:, -1] -= blind
    _, _, score = QueryModel(query).score(batch(values))
    assert (score.anomaly_score[:, -2] <= 1).all()
    assert (score.anomaly_score[:, -1] > 1).all()


def test_late_and_duplicate_columns_change_nothing() -> None:
    values = seasonal(3, 2)
    plain, disturbed = QueryModel(QUERY), QueryModel(QUERY)
    plain.score(batch(values))
    disturbed.score(batch(values[:, :2000]))
    disturbed.score(batch(values[:, 1990:2000] * 7, first=1990))
    disturbed.score(batch(values[:, 1995:], first=1995))
    assert disturbed.counts.late == 9 + 4
    assert disturbed.counts.duplicate == 2
    one, two = (m.update(batch(values[:, -1:], first=2 * DAY)) for m in (plain, disturbed))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.expected, two.expected)
    assert plain.update(batch(values[:, -1:], first=2 * DAY)) is None


def test_series_come_and_go_in_stable_rows() -> None:
    values = seasonal(3, 3)
    model = QueryModel(QUERY)
    model.score(batch(values[:, :DAY]))
    swapped = labels(3)[::-1][:2]  # Series 2 and 1; series 0 is gone.
    evaluation = model.update(batch(values[[2, 1], DAY : 2 * DAY], first=DAY, names=swapped))
    assert evaluation is not None
    assert evaluation.labels[:3] == labels(3)
    assert np.isnan(evaluation.actual[0])
    assert evaluation.actual[2] == values[2, 2 * DAY - 1]
    new = (*swapped, LabelSet({"i": "new"}))
    evaluation = model.update(batch(values[[2, 1, 0], 2 * DAY :], first=2 * DAY, names=new))
    assert evaluation is not None
    assert evaluation.labels == (LabelSet(), *labels(3)[1:], LabelSet({"i": "new"}))
    assert model.counts.retired_rows == 1, "series 0 was not seen for a day"
    newer = (*new, LabelSet({"i": "newer"}))
    evaluation = model.update(batch(values[[2, 1, 0, 0], -1:], first=3 * DAY, names=newer))
    assert evaluation is not None
    assert evaluation.labels[0] == LabelSet({"i": "newer"}), "a free row is reused"
    assert np.isnan(evaluation.expected[0]), "and knows nothing of who lived there"
    again = model.update(batch(values[[2, 1, 0, 0], -1:], first=3 * DAY + 1, names=newer))
    assert again is not None
    assert again.labels is evaluation.labels, "the same set is the same object"


def test_short_history_explodes_nothing() -> None:
    values = seasonal(5, 1)[:, :60]
    _, _, score = QueryModel(QUERY).score(batch(values))
    assert np.nanmax(score.anomaly_score) < 3
    assert np.isnan(score.anomaly_score[:, :20]).all()
    assert np.isfinite(score.anomaly_score[:, 21:]).all()


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        pytest.param({"lower_bound": 0.0, "upper_bound": 1.0}, 0.0, 1.0, id="as told"),
        pytest.param({"expr": "sum(rate(a[5m])) / sum(rate(a[5m]))"}, -np.inf, 1.0 + 1e-6, id="a share"),
    ],
)
def test_neither_band_nor_forecast_leaves_what_a_query_can_be(
    settings: dict[str, Any], low: float, high: float
) -> None:
    query = QueryConfig(**{"name": "q", "expr": "up", "step": 60.0, **settings})
    values = np.clip(0.9 + np.random.default_rng(3).normal(0.0, 0.06, (2, 2 * DAY)), 0.0, 0.999)
    values[1] = np.abs(values[1] - 0.9)
    model = QueryModel(query)
    model.fit(batch(values[:, : 2 * DAY - 30]))
    for column in range(2 * DAY - 30, 2 * DAY):
        evaluation = model.update(batch(values[:, column : column + 1], first=column))
        assert evaluation is not None
        model.forecaster.work(0.01)
        for ends in (evaluation, *evaluation.forecasts):
            assert np.nanmin(ends.lower) >= low
            assert np.nanmax(ends.upper) <= high
        for forecast in evaluation.forecasts:
            assert low <= np.nanmin(forecast.yhat) <= np.nanmax(forecast.yhat) <= high


def test_an_empty_history_is_a_cold_start() -> None:
    model = QueryModel(QUERY)
    model.fit(SeriesBatch("q", (), np.arange(3, dtype=np.int64) * 60_000, np.zeros((0, 3))))
    model.fit(SeriesBatch("q", (), np.zeros(0, dtype=np.int64), np.zeros((0, 0))))
    evaluation = model.update(batch(seasonal(2, 1)[:, :1]))
    assert evaluation is not None
    assert np.isfinite(evaluation.actual).all()
    assert evaluation.step_seconds == QUERY.step


def test_the_learned_band_follows_the_hour_of_week() -> None:
    values = seasonal(2, 14)
    model = QueryModel(QUERY)
    model.score(batch(values))
    band = model.learned_band()
    assert band.centre.shape == (2, 168)
    assert (band.n_samples == 14 * DAY).all()
    # Column c is the hour of the week from Sunday 00:00 UTC: compare with the history's own means.
    hours = ((START + np.arange(14 * DAY) * STEP) // 3600 + 96) % 168
    truth = np.array([values[0, hours == hour].mean() for hour in range(168)])
    assert np.abs(band.centre[0] - truth).mean() < 8
    assert (band.upper > band.centre).all()


def test_the_learned_band_of_noise_is_flat_however_long_it_is_learnt() -> None:
    """Bins that learnt from the interpolated error made up for their neighbours and zigzagged without end."""
    step = 15
    rng = np.random.default_rng(4)
    n_steps = 14 * 86400 // step
    values = np.repeat(np.abs(rng.normal(0.003, 0.0008, (2, n_steps // 4))), 4, axis=1)
    values[1, n_steps // 2 : n_steps // 2 + 40] = 0.5
    times = (START // 60 * 60 + np.arange(n_steps) * step) * 1000
    model = QueryModel(QueryConfig(name="q", expr="up", step=step))
    model.fit(SeriesBatch("q", labels(2), times.astype(np.int64), values))
    band = model.learned_band()
    assert np.abs(band.centre - 0.003).max() < 0.0005
    assert band.upper.max() < 0.05
    for forecast in model.forecaster.predict():
        # The spike of row 1 was a week ago to the hour; the forecaster remembers a part of it.
        assert (np.abs(forecast.yhat - 0.003) < (0.0005, 0.01)).all()


def test_saved_in_the_middle_it_continues_without_a_jump(tmp_path: Path) -> None:
    values = seasonal(4, 3)
    unbroken, broken = QueryModel(QUERY), QueryModel(QUERY)
    unbroken.score(batch(values[:, :2500]))
    broken.score(batch(values[:, :2500]))
    snapshot.save(broken, tmp_path / "q.model")
    resumed = snapshot.load(tmp_path / "q.model", QUERY)
    rest = batch(values[:, 2500:], first=2500)
    for one, two in zip(unbroken.score(rest)[1:], resumed.score(rest)[1:], strict=True):
        for name in one.__slots__:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), name)
    one_last, two_last = (m.update(batch(values[:, -1:], first=3 * DAY)) for m in (unbroken, resumed))
    assert one_last is not None
    assert two_last is not None
    for ours, theirs in zip(one_last.forecasts, two_last.forecasts, strict=True):
        np.testing.assert_array_equal(ours.yhat, theirs.yhat)
        np.testing.assert_array_equal(ours.upper, theirs.upper)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "cannot be read", id="cut short"),
        pytest.param(lambda data: b"", "cannot be read", id="empty"),
        pytest.param(lambda data: b"{}" + data, "cannot be read|another", id="garbage before"),
    ],
)
def test_a_damaged_file_is_refused_whole(tmp_path: Path, damage: object, words: str) -> None:
    model = QueryModel(QUERY)
    model.score(batch(seasonal(2, 1)))
    path = tmp_path / "q.model"
    snapshot.save(model, path)
    path.write_bytes(damage(path.read_bytes())[:-200])  # type: ignore[operator]
    with pytest.raises(ModelError, match=words):
        snapshot.load(path, QUERY)


def test_a_model_of_another_expression_is_refused_and_of_another_severity_is_not(tmp_path: Path) -> None:
    model = QueryModel(QUERY)
    model.score(batch(seasonal(2, 1)))
    snapshot.save(model, tmp_path / "q.model")
    with pytest.raises(ModelError, match="another expr of query"):
        snapshot.load(tmp_path / "q.model", QUERY.model_copy(update={"expr": "down"}))
    assert (
        snapshot.load(tmp_path / "q.model", QUERY.model_copy(update={"severity": "page"})).query.severity
        == "page"
    )


@pytest.mark.parametrize(
    "part", ["detector.scalars", "calibrator.alarms", "forecaster.scalars", "last_seen_ms"]
)
def test_a_file_whose_parts_differ_in_rows_is_refused(tmp_path: Path, part: str) -> None:
    model = QueryModel(QUERY)
    model.score(batch(seasonal(4, 1)))
    path = tmp_path / "q.model"
    snapshot.save(model, path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    prefix = part.split(".")[0]
    for name in arrays:
        if name.startswith(prefix):
            arrays[name] = arrays[name][:3]
    with path.open("wb") as raw:
        np.savez(raw, **arrays)
    with pytest.raises(ModelError, match=r"q\.model"):
        snapshot.load(path, QUERY)


def test_series_that_arrive_one_by_one_learn_as_if_there_from_the_start() -> None:
    values = seasonal(9, 1)
    names = labels(9)
    growing = QueryModel(QUERY)
    for n in range(1, 10):
        growing.score(batch(values[:n, (n - 1) * 100 : n * 100], first=(n - 1) * 100, names=names[:n]))
    whole = QueryModel(QUERY)
    present = values[:, :900].copy()
    for row in range(9):
        present[row, : row * 100] = np.nan
    whole.score(batch(present))
    one, two = (m.update(batch(values[:, 900:901], first=900)) for m in (growing, whole))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.expected, two.expected)
    np.testing.assert_array_equal(one.anomaly_score, two.anomaly_score)


def test_a_level_that_stays_is_accepted_once_and_said() -> None:
    values = seasonal(2, 10)
    values[0, 9 * DAY :] += 150
    model = QueryModel(QUERY)
    model.score(batch(values[:, : 9 * DAY]))
    said = [
        evaluation.accepted.tolist()
        for at in range(9 * DAY, 9 * DAY + 360)
        if (evaluation := model.update(batch(values[:, at : at + 1], at))) and evaluation.accepted is not None
    ]
    assert said == [[True, False]]
    assert model.counts.accepted_shifts == 1


@pytest.mark.parametrize(
    ("limit", "flagged"),
    [
        ({}, True),
        ({"min_deviation": 70.0}, False),
        ({"min_relative_deviation": 0.7}, False),
        ({"min_deviation": 50.0}, True),
    ],
    ids=["none", "absolute", "relative", "small"],
)
def test_what_does_not_matter_is_not_flagged(limit: dict[str, float], flagged: bool) -> None:
    values = np.random.default_rng(1).normal(100, 1, (3, 2 * DAY))
    values[:, DAY + 500 : DAY + 520] = 160.0
    _, band, score = QueryModel(QUERY.model_copy(update=limit)).score(batch(values))
    assert bool((score.anomaly_score[:, DAY + 500] > 1).all()) is flagged
    outside = (values < band.lower) | (values > band.upper)
    assert (score.anomaly_score[outside] > 1).all()


@pytest.mark.parametrize(("direction", "told"), [("both", True), ("above", True), ("below", False)])
def test_a_drift_is_told_of_on_the_side_that_the_query_asks_for(direction: str, told: bool) -> None:
    values = np.random.default_rng(8).normal(100, 3, (2, 16 * DAY))
    values *= 1 + np.maximum(np.arange(16 * DAY) - 13 * DAY, 0) / (3 * DAY)
    query = QUERY.model_copy(update={"direction": direction})
    _, _, score = QueryModel(query).score(batch(values))
    drifts = score.shape == 1
    assert drifts[:, 13 * DAY :].any() == told
    assert (score.direction[drifts] == 1).all()
    assert (score.anomaly_score[drifts] > 1).all()


@pytest.mark.parametrize("sign", [1, -1], ids=["up", "down"])
def test_the_band_of_a_drift_lies_around_what_is_usual(sign: int) -> None:
    values = np.random.default_rng(8).normal(100, 3, (2, 16 * DAY))
    values += sign * 100 * np.maximum(np.arange(16 * DAY) - 13 * DAY, 0) / (3 * DAY)
    _, band, score = QueryModel(QUERY).score(batch(values))
    drifts = score.shape == sign
    assert drifts.any()
    outside = (values < band.lower) | (values > band.upper)
    assert outside[drifts].mean() > 0.95
    came_to = np.where(sign > 0, band.upper - values, values - band.lower)[drifts]
    assert np.median(came_to) < -5.0
    assert ((band.lower <= band.yhat) & (band.yhat <= band.upper))[drifts].all()


def test_a_drift_that_is_no_news_leaves_the_band_as_it_is() -> None:
    """People said of this series that drifts of any size are false: no rule tells of them by the band."""
    values = np.random.default_rng(8).normal(100, 3, (1, 16 * DAY))
    values += 100 * np.maximum(np.arange(16 * DAY) - 13 * DAY, 0) / (3 * DAY)
    model = QueryModel(QUERY)
    model.surroundings.heed(lambda labels: (np.ones((len(labels), 1)), np.full((len(labels), 1), 1e3)))
    _, band, score = model.score(batch(values))
    with np.errstate(invalid="ignore"):
        outside = (values < band.lower) | (values > band.upper)
    assert not (outside ^ (np.nan_to_num(score.anomaly_score) > 1)).any()
    assert outside.mean() < 0.01


def test_pods_that_live_for_minutes_do_not_fill_memory_for_a_day() -> None:
    model = QueryModel(QUERY)
    elder = LabelSet({"pod": "elder"})
    for hour in range(20):
        # A hundred others each hour; the elder lived for half of the time.
        pods = tuple(LabelSet({"pod": f"{hour}-{n}"}) for n in range(100))
        names = (elder, *pods) if hour < 10 else pods
        model.score(batch(np.full((len(names), 60), 7.0), first=60 * hour, names=names))
    assert model.index.n_rows <= 1200, "of 2001"
    assert elder in model.index.labels, "what was learnt for longest is kept for longest"
    assert model.seen_points[model.index.labels.index(elder)] == 600
    assert model.counts.retired_rows >= 800
