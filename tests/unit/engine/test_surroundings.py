"""Calendars, pauses and thin traffic change the band that users see, and nothing else."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from sidecar.config.business import BusinessConfig, DeploymentsConfig, PauseConfig, TrafficConfig
from sidecar.config.hours import Hours
from sidecar.config.model import QueryConfig
from sidecar.engine.hours import on_days, within_hours
from sidecar.engine.model import QueryModel
from sidecar.engine.surroundings import Surroundings, by_chance
from sidecar.series import FloatArray, LabelSet, SeriesBatch, TimeArray

STEP = 60
DAY = 1440
START = datetime(2026, 10, 5, tzinfo=UTC)  # A Monday.
API, DB = LabelSet({"job": "api"}), LabelSet({"job": "db"})


def moments(*texts: str) -> TimeArray:
    return np.array([int(datetime.fromisoformat(text).timestamp() * 1000) for text in texts], dtype=np.int64)


@pytest.mark.parametrize(
    ("hours", "moment", "inside"),
    [
        pytest.param(Hours(span="09:00-17:00"), "2026-10-05T09:00:00Z", True, id="its first second"),
        pytest.param(Hours(span="09:00-17:00"), "2026-10-05T17:00:00Z", False, id="its end is not in it"),
        pytest.param(Hours(), "2026-10-05T00:00:00Z", True, id="always"),
        pytest.param(Hours(days=("mon",)), "2026-10-06T00:00:00Z", False, id="another day"),
        pytest.param(
            Hours(days=("mon",), span="22:00-02:00"), "2026-10-06T01:59:00Z", True, id="past midnight"
        ),
        pytest.param(
            Hours(days=("tue",), span="22:00-02:00"), "2026-10-06T01:59:00Z", False, id="of the day before"
        ),
        pytest.param(
            Hours(span="09:00-10:00", timezone="Europe/Berlin"), "2026-10-24T07:30:00Z", True, id="summer"
        ),
        pytest.param(
            Hours(span="09:00-10:00", timezone="Europe/Berlin"), "2026-10-26T08:30:00Z", True, id="winter"
        ),
        pytest.param(
            Hours(span="09:00-10:00", timezone="Asia/Kathmandu"), "2026-10-05T03:20:00Z", True, id="quarters"
        ),
    ],
)
def test_hours(hours: Hours, moment: str, inside: bool) -> None:
    assert within_hours([hours], moments(moment)).tolist() == [inside]


def test_days_begin_at_local_midnight() -> None:
    times = moments("2026-10-04T21:59:00Z", "2026-10-04T22:00:00Z", "2026-10-05T22:00:00Z")
    assert on_days([date(2026, 10, 5)], "Europe/Berlin", times).tolist() == [False, True, False]


@pytest.mark.parametrize(("n", "p"), [(20, 0.0), (20, 0.05), (200, 0.05), (5000, 0.5), (1000, 0.999)])
def test_99_percent_of_what_chance_gives_is_within_chance(n: int, p: float) -> None:
    far = by_chance(np.array([p]), np.array([float(n)]))[0]
    drawn = np.random.default_rng(1).binomial(n, p, 20_000) / n
    assert (np.abs(drawn - p) <= far).mean() >= 0.985
    if n >= 1000:
        assert (np.abs(drawn - p) <= far).mean() < 1  # No wider than it has to be.


def model(query: QueryConfig, **surroundings: object) -> QueryModel:
    made = QueryModel(query)
    made.surroundings = Surroundings(query, **surroundings)  # type: ignore[arg-type]
    return made


def query(**more: object) -> QueryConfig:
    return QueryConfig(name="q", expr="q", step=STEP, forecast_horizons=(), **more)  # type: ignore[arg-type]


def history(days: int, *, level: float = 100.0, noise: float = 0.05, rows: int = 2) -> SeriesBatch:
    times = int(START.timestamp() * 1000) + np.arange(days * DAY, dtype=np.int64) * STEP * 1000
    values = level * (1 + noise * np.random.default_rng(3).normal(size=(rows, days * DAY)))
    return SeriesBatch("q", (API, DB)[:rows], times, values)


def changed(batch: SeriesBatch, values: FloatArray) -> SeriesBatch:
    return SeriesBatch(batch.query, batch.labels, batch.timestamps, values)


LAST_HOUR = slice(2 * DAY - 60, 2 * DAY)


def test_a_deployment_window_widens_the_band_by_its_factor_and_only_then() -> None:
    plain = history(2)
    window = Hours(days=("tue",), span="23:00-24:00")
    business = BusinessConfig(deployment_windows=(window,), band_factors={"deployment_windows": 2.0})
    _, usual, _ = model(query()).score(plain)
    _, wide, _ = model(query(), business=business).score(plain)
    np.testing.assert_allclose(
        (wide.upper - wide.yhat)[:, LAST_HOUR], 2 * (usual.upper - usual.yhat)[:, LAST_HOUR]
    )
    np.testing.assert_array_equal(wide.upper[:, : LAST_HOUR.start], usual.upper[:, : LAST_HOUR.start])
    np.testing.assert_array_equal(wide.yhat, usual.yhat)


def test_a_querys_own_factor_wins() -> None:
    business = BusinessConfig(peak_hours=(Hours(),), band_factors={"peak_hours": 3.0})
    _, usual, _ = model(query()).score(history(1))
    _, narrow, _ = model(query(band_factors={"peak_hours": 0.5}), business=business).score(history(1))
    known = np.isfinite(usual.upper)
    np.testing.assert_allclose((narrow.upper - narrow.yhat)[known], 0.5 * (usual.upper - usual.yhat)[known])


def test_a_narrow_band_flags_what_it_leaves_outside() -> None:
    batch = history(2)
    business = BusinessConfig(release_days=(date(2026, 10, 6),), band_factors={"release_days": 0.1})
    _, band, score = model(query(), business=business).score(batch)
    outside = (batch.values > band.upper) | (batch.values < band.lower)
    assert outside[:, DAY:].any()
    assert ((np.nan_to_num(score.anomaly_score) > 1) == outside).all()


@pytest.mark.parametrize("learn", [False, True])
def test_a_pause_flags_nothing_and_teaches_as_stated(learn: bool) -> None:
    batch = history(2)
    values = batch.values.copy()
    values[:, LAST_HOUR] *= 5
    pause = PauseConfig(match={"job": "api"}, hours=Hours(days=("tue",), span="23:00-24:00"), learn=learn)
    paused = model(query(), pauses=[pause])
    _, band, score = paused.score(changed(batch, values))
    flagged = np.nan_to_num(score.anomaly_score) > 1
    assert not flagged[0, LAST_HOUR].any()
    assert np.isposinf(band.upper[0, LAST_HOUR]).all()
    assert flagged[1, LAST_HOUR].all()
    after = SeriesBatch("q", (API, DB), batch.timestamps[-1:] + STEP * 1000, values[:, :1])
    _, expected, _ = paused.score(after)
    if learn:
        assert expected.yhat[0, 0] > 150
    else:
        assert expected.yhat[0, 0] == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize(
    ("learn", "parts"), [(True, ()), (True, (2 * DAY - 61, 2 * DAY - 1)), (False, ())], ids=str
)
def test_where_a_single_pause_ends_what_it_taught_is_the_new_normal(
    learn: bool, parts: tuple[int, ...]
) -> None:
    batch = history(3)
    values = batch.values.copy()
    values[:, LAST_HOUR.start :] *= 2
    end = START + timedelta(days=2)
    pause = PauseConfig(match={"job": "api"}, start=end - timedelta(hours=1), end=end, learn=learn)
    paused = model(query(), pauses=[pause])
    edges = [0, *parts, batch.n_steps]
    score = np.concatenate(
        [
            paused.score(SeriesBatch("q", (API, DB), batch.timestamps[a:b], values[:, a:b]))[2].anomaly_score
            for a, b in itertools.pairwise(edges)
        ],
        axis=1,
    )
    flagged = np.nan_to_num(score) > 1
    assert flagged[1, LAST_HOUR].all()
    assert not flagged[0, LAST_HOUR].any()
    after = flagged[0, 2 * DAY : 2 * DAY + 60]
    assert not after.any() if learn else after.mean() > 0.9


def test_pauses_of_other_queries_and_other_times_do_nothing() -> None:
    batch = history(1)
    others = [
        PauseConfig(queries=("other",), hours=Hours()),
        PauseConfig(start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 1, 2, tzinfo=UTC)),
        PauseConfig(match={"job": "a"}, hours=Hours()),
    ]
    _, band, score = model(query(), pauses=others).score(batch)
    _, same, same_score = model(query()).score(batch)
    np.testing.assert_array_equal(band.upper, same.upper)
    np.testing.assert_array_equal(score.anomaly_score, same_score.anomaly_score)


RATIO = {"lower_bound": 0.0, "upper_bound": 1.0, "direction": "above"}


@pytest.mark.parametrize(
    ("ratio", "events", "flagged"),
    [
        pytest.param(1 / 3, 3.0, False, id="one of three"),
        pytest.param(0.3, 3000.0, True, id="900 of 3000"),
        pytest.param(1.0, 19.0, False, id="fewer than the least"),
        pytest.param(0.06, 50.0, False, id="3 of 50 is chance"),
        pytest.param(0.5, 50.0, True, id="25 of 50 is not"),
        pytest.param(0.3, np.nan, False, id="no events"),
    ],
)
def test_a_ratio_of_few_events_is_not_flagged(ratio: float, events: float, flagged: bool) -> None:
    batch = history(2, level=0.02, rows=1)
    counting = query(traffic=TrafficConfig(expr="requests"), **RATIO)
    counted = model(counting)
    counted.fit(batch)
    now = batch.timestamps[-1:] + STEP * 1000
    counted.surroundings.observe_traffic(SeriesBatch("t", (API,), now, np.array([[events]])))
    _, band, score = counted.score(SeriesBatch("q", (API,), now, np.array([[ratio]])))
    assert bool(score.anomaly_score[0, 0] > 1) is flagged
    assert bool(ratio > band.upper[0, 0]) is flagged


def test_few_events_do_not_make_a_stuck_ratio_either() -> None:
    batch = history(2, level=0.02, rows=1)
    values = batch.values.copy()
    values[:, -120:] = values[:, -121:-120]
    flagged = []
    for events in (3.0, 3000.0):
        counted = model(query(traffic=TrafficConfig(expr="requests"), lower_bound=0.0, upper_bound=1.0))
        counted.surroundings.observe_traffic(
            SeriesBatch("t", (API,), batch.timestamps, np.full((1, batch.n_steps), events))
        )
        _, _, score = counted.score(changed(batch, values))
        flagged.append(bool((np.nan_to_num(score.anomaly_score[:, -120:]) > 1).any()))
    assert flagged == [False, True]


def test_without_the_count_of_events_a_ratio_is_judged_as_any_other() -> None:
    batch = history(2, level=0.02, rows=1)
    counted = model(query(traffic=TrafficConfig(expr="requests"), **RATIO))
    counted.fit(batch)
    now = batch.timestamps[-1:] + STEP * 1000
    _, _, score = counted.score(SeriesBatch("q", (API,), now, np.array([[0.3]])))
    assert score.anomaly_score[0, 0] > 1


def test_one_count_without_labels_is_that_of_every_series() -> None:
    batch = history(2, level=0.02)
    counted = model(query(traffic=TrafficConfig(expr="sum(requests)"), **RATIO))
    counted.fit(batch)
    now = batch.timestamps[-1:] + STEP * 1000
    counted.surroundings.observe_traffic(SeriesBatch("t", (LabelSet(),), now, np.array([[3.0]])))
    _, band, _ = counted.score(SeriesBatch("q", (API, DB), now, np.array([[0.3], [0.3]])))
    assert np.isposinf(band.upper).all()


@pytest.mark.parametrize(
    ("deployment", "widened"),
    [
        pytest.param({"job": "api", "version": "7"}, [True, False], id="who shares a label and its value"),
        pytest.param({"team": "core"}, [False, False], id="nothing shared"),
        pytest.param({}, [True, True], id="without labels it is everybody"),
    ],
)
def test_a_deployment_widens_the_band_of_those_it_concerns_for_as_long_as_it_counts(
    deployment: dict[str, str], widened: list[bool]
) -> None:
    batch = history(2)
    business = BusinessConfig(deployments=DeploymentsConfig(expr="deploys", lasts=600))
    deploying = model(query(), business=business)
    running = np.zeros((1, batch.n_steps))
    at = 2 * DAY - 60
    running[0, at] = 1
    deploying.surroundings.observe_deployments(
        SeriesBatch("d", (LabelSet(deployment),), batch.timestamps, running)
    )
    _, usual, _ = model(query()).score(batch)
    _, wide, _ = deploying.score(batch)
    ratio = (wide.upper - wide.yhat) / (usual.upper - usual.yhat)
    for row, is_widened in enumerate(widened):
        np.testing.assert_allclose(ratio[row, at : at + 11], 1.5 if is_widened else 1.0)
        np.testing.assert_allclose(ratio[row, 2 * DAY - 40 :], 1.0)
        np.testing.assert_allclose(ratio[row, at - 20 : at], 1.0)


def test_of_releases_with_names_of_their_own_only_those_that_still_count_are_kept() -> None:
    batch = history(2)
    business = BusinessConfig(deployments=DeploymentsConfig(expr="deploys", lasts=600))
    deploying = model(query(), business=business)
    for at in range(100, 400, 20):
        column = slice(at, at + 1)
        times, values = batch.timestamps[column], batch.values[:, column]
        release = (LabelSet({"job": "api", "version": str(at)}),)
        deploying.surroundings.observe_deployments(SeriesBatch("d", release, times, np.ones((1, 1))))
        deploying.score(SeriesBatch("q", batch.labels, times, values))
    assert len(deploying.surroundings._concerned) == 1


def test_what_people_said_moves_the_band_of_that_series_alone() -> None:
    rng = np.random.default_rng(5)
    times = (np.arange(3 * DAY) * STEP * 1000 + int(START.timestamp() * 1000)).astype(np.int64)
    batch = SeriesBatch("q", (API, DB), times, rng.normal(100, 2, (2, len(times))))
    usual = model(query())
    _, plain, _ = usual.score(batch)
    heeded = model(query())
    heeded.surroundings.heed(lambda _: (np.array([[1.5], [1.0]]), np.ones((2, 1))))
    _, band, _ = heeded.score(batch)
    known = slice(DAY, None)
    np.testing.assert_allclose(
        (band.upper - band.yhat)[0, known], 1.5 * (plain.upper - plain.yhat)[0, known], rtol=1e-9
    )
    np.testing.assert_array_equal(band.upper[1], plain.upper[1])


def test_a_course_that_people_called_noise_has_to_be_more_unusual() -> None:
    def flags(course: float) -> int:
        rng = np.random.default_rng(6)
        times = (np.arange(2 * DAY) * STEP * 1000 + int(START.timestamp() * 1000)).astype(np.int64)
        values = rng.normal(100, 2, (1, len(times)))
        values[:, -30:] = values[:, -31:-30]  # It stands still: every value is inside the band.
        judge = model(query())
        judge.surroundings.heed(lambda _: (np.ones((1, 1)), np.array([[course]])))
        _, _, score = judge.score(SeriesBatch("q", (API,), times, values))
        return int((score.anomaly_score[0, -30:] > 1).sum())

    assert flags(1.0) > flags(2.0) > 0
