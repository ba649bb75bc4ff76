"""Events and holidays that are known before: what they multiply, what they excuse, what they teach."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.config.model import QueryConfig
from sidecar.engine.holidays import REMEMBERED_QUARTERS, Holidays
from sidecar.engine.known import KnownEvents
from sidecar.engine.model import QueryModel
from sidecar.engine.snapshot import load, save
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 300
DAY = 288
MONDAY = 1_799_625_600  # 2027-01-11 00:00 UTC
EU, US = LabelSet({"region": "eu"}), LabelSet({"region": "us"})
QUERY = QueryConfig(name="plays", expr="plays", step=float(STEP), forecast_horizons=(3600.0,))
DAYS = 16
SURGE = slice(15 * DAY + 6 * 12, 15 * DAY + 14 * 12)
"""Eight hours of the last day."""


def at(column: int) -> datetime:
    return datetime.fromtimestamp(MONDAY + column * STEP, UTC)


def traffic(uplift: float = 1.0, days: int = DAYS) -> SeriesBatch:
    """Two regions with a daily course; `eu` is multiplied during the surge."""
    rng = np.random.default_rng(4)
    columns = np.arange(days * DAY)
    usual = 1000.0 + 400.0 * np.sin(2 * np.pi * columns / DAY)
    values = np.stack([usual, usual]) * rng.normal(1.0, 0.03, (2, len(columns)))
    values[0, SURGE] *= uplift
    times = ((MONDAY + columns * STEP) * 1000).astype(np.int64)
    return SeriesBatch("plays", (EU, US), times, values)


def release(uplift: float | None = 3.5, **also: object) -> EventConfig:
    hours = (SURGE.stop - SURGE.start) // 12
    start = at(SURGE.start)
    return EventConfig.model_validate(
        {"name": "album", "start": start, "duration": f"{hours}h", "uplift": uplift, **also}
    )


def flagged(batch: SeriesBatch, *events: EventConfig) -> FloatArray:
    """Flagged points by region, during the surge."""
    model = QueryModel(QUERY)
    model.known.announce(events)
    _, _, score = model.score(batch)
    return (np.nan_to_num(score.anomaly_score[:, SURGE]) > 1).sum(axis=1)


def test_a_surge_with_an_entry_is_no_anomaly_and_without_one_it_is() -> None:
    surge = traffic(uplift=3.5)
    assert flagged(surge)[0] > 12
    assert flagged(surge, release(match={"region": "eu"})).tolist() == flagged(traffic()).tolist()


@pytest.mark.parametrize(
    ("event", "uplift"),
    [
        pytest.param(release(match={"region": "us"}), 3.5, id="another region"),
        pytest.param(release(queries=["errors"]), 3.5, id="another query"),
        pytest.param(release(), 6.0, id="far more than was said"),
        pytest.param(release(), 0.2, id="far less than the usual"),
    ],
)
def test_what_the_entry_does_not_say_is_still_flagged(event: EventConfig, uplift: float) -> None:
    assert flagged(traffic(uplift=uplift), event)[0] > 12


def test_a_surge_that_was_known_teaches_nothing_wrong() -> None:
    model, calm = QueryModel(QUERY), QueryModel(QUERY)
    model.known.announce([release(match={"region": "eu"})])
    model.fit(traffic(uplift=3.5))
    calm.fit(traffic())
    hours = MONDAY * 1000 + (16 * 24 + np.arange(24, dtype=np.int64)) * 3600_000
    np.testing.assert_allclose(model.detector.expect(hours)[0], calm.detector.expect(hours)[0], rtol=0.03)


def test_a_forecast_into_an_event_is_multiplied() -> None:
    batch = traffic()
    before = SeriesBatch(
        "plays", batch.labels, batch.timestamps[: SURGE.start], batch.values[:, : SURGE.start]
    )
    plain, told = QueryModel(QUERY), QueryModel(QUERY)
    told.known.announce([release(match={"region": "eu"})])
    (calm,) = plain.update(before).forecasts  # type: ignore[union-attr]
    (surge,) = told.update(before).forecasts  # type: ignore[union-attr]
    np.testing.assert_allclose(surge.yhat, calm.yhat * [3.5, 1.0])
    assert surge.upper[0] > 3.5 * calm.upper[0]
    assert surge.upper[1] == calm.upper[1]


def test_the_uplift_is_learnt_from_an_earlier_event_of_its_kind_and_kept(tmp_path: Path) -> None:
    first = release(uplift=None, kind="album", match={"region": "eu"})
    model = QueryModel(QUERY)
    model.known.announce([first])
    model.fit(traffic(uplift=3.0))
    save(model, tmp_path / "plays.model")
    again = load(tmp_path / "plays.model", QUERY)
    second = EventConfig(
        name="next", kind="album", start=at(20 * DAY), duration=3600.0, match={"region": "eu"}
    )
    for one in (model, again):
        one.known.announce([first, second])
        times = np.array([(MONDAY + 20 * DAY * STEP) * 1000], dtype=np.int64)
        found = one.known.factors((EU, US), times, one._season)
        assert found is not None
        assert found.centre[:, 0] == pytest.approx([3.0, 1.0], rel=0.1)
        assert found.most[0, 0] >= 3.0 * 1.3


def test_columns_give_the_same_scores_however_they_are_batched() -> None:
    surge = traffic(uplift=3.5)
    whole, parts = QueryModel(QUERY), QueryModel(QUERY)
    for model in (whole, parts):
        model.known.announce([release()])
    expected = whole.score(surge)[2].anomaly_score
    cuts = [0, SURGE.start - 7, SURGE.start + 5, SURGE.start + 40, len(surge.timestamps)]
    found = [
        parts.score(SeriesBatch("plays", surge.labels, surge.timestamps[a:b], surge.values[:, a:b]))[2]
        for a, b in pairwise(cuts)
    ]
    np.testing.assert_array_equal(np.concatenate([s.anomaly_score for s in found], axis=1), expected)


def test_a_restart_amid_an_event_changes_nothing_and_who_comes_amid_it_has_its_own_level(
    tmp_path: Path,
) -> None:
    surge = traffic(uplift=3.5)
    # Today's level is another one than the season's, and an event multiplies today's.
    surge.values[:, SURGE.start - 60 :] *= 1.6
    amid = SURGE.start + 12
    unbroken = QueryModel(QUERY)
    unbroken.known.announce([release()])
    unbroken.score(SeriesBatch("plays", surge.labels, surge.timestamps[:amid], surge.values[:, :amid]))
    save(unbroken, tmp_path / "plays.model")
    restarted = load(tmp_path / "plays.model", QUERY)
    restarted.known.announce([release()])
    labels = (*surge.labels, LabelSet({"region": "asia"}))
    values = np.concatenate([surge.values, surge.values[1:]])[:, amid : SURGE.stop + 24]
    rest = SeriesBatch("plays", labels, surge.timestamps[amid : SURGE.stop + 24], values)
    expected, found = unbroken.score(rest)[2].anomaly_score, restarted.score(rest)[2].anomaly_score
    np.testing.assert_array_equal(found, expected)
    assert not (np.nan_to_num(found) > 1).any()
    np.testing.assert_array_equal(restarted.level_before.of_season(), 1.0)


def test_the_largest_double_amid_an_event_is_no_measurement() -> None:
    surge = traffic(uplift=0.5)
    surge.values[:, SURGE.start + 3] = 1.7e308, -1.7e308
    model = QueryModel(QUERY)
    model.known.announce([release(uplift=0.5), release(uplift=None, kind="album")])
    score = model.score(surge)[2].anomaly_score
    assert np.isnan(score[:, SURGE.start + 3]).all()
    assert np.isfinite(score[:, SURGE.start + 4 :]).all()


def test_a_holiday_is_like_the_last_sunday() -> None:
    calendar = CalendarConfig(country="DE", time_zone="Europe/Berlin")
    # Good Friday of 2027 is the 26th of March; Berlin is an hour ahead of UTC then.
    times = [datetime(2027, 3, 25, 22, 30), datetime(2027, 3, 25, 23, 30), datetime(2027, 3, 26, 12)]
    stamps = np.array([round(t.replace(tzinfo=UTC).timestamp() * 1000) for t in times], dtype=np.int64)
    assert ((stamps - Holidays(calendar).like(stamps)) // 86400_000).tolist() == [0, 5, 5]


def test_a_holiday_begins_at_local_midnight_also_amid_an_hour() -> None:
    india = CalendarConfig(country="IN", time_zone="Asia/Kolkata")
    # Republic Day, the 26th of January, is a Tuesday in 2027 and begins at 18:30 UTC.
    times = [datetime(2027, 1, 25, 18, 29), datetime(2027, 1, 25, 18, 31), datetime(2027, 1, 26, 18, 31)]
    stamps = np.array([round(t.replace(tzinfo=UTC).timestamp() * 1000) for t in times], dtype=np.int64)
    assert ((stamps - Holidays(india).like(stamps)) // 86400_000).tolist() == [0, 2, 0]


def test_a_year_of_quarters_of_an_hour_is_not_remembered_for_ever() -> None:
    holidays = Holidays(CalendarConfig(country="DE", time_zone="Europe/Berlin"))
    for day in range(365):
        quarters = (MONDAY + 86_400 * day + 900 * np.arange(96)) * 1000
        assert len(holidays.like(quarters.astype(np.int64))) == 96
    assert len(holidays._memo) <= REMEMBERED_QUARTERS + 96


def test_a_holiday_multiplies_nothing_that_is_negative_on_sundays() -> None:
    """What flows in less what flows out, say."""
    known = KnownEvents("plays")
    known.announce([], CalendarConfig(country="DE", time_zone="Europe/Berlin"))
    known.resize(1)
    friday = int(datetime(2027, 3, 26, 12, tzinfo=UTC).timestamp() * 1000)
    times = np.array([friday], dtype=np.int64)
    found = known.factors((EU,), times, lambda at: np.where(at == friday, 40.0, -10.0)[None, :])
    assert found is not None
    assert found.centre[0, 0] == 1.0


def test_a_holiday_multiplies_by_what_sundays_are() -> None:
    known = KnownEvents("q")
    known.resize(1)
    known.announce([], CalendarConfig(country="DE"))
    friday = np.array([round(datetime(2027, 3, 26, 12, tzinfo=UTC).timestamp() * 1000)], dtype=np.int64)

    def expect(times: np.ndarray) -> FloatArray:
        sunday = (times // 86400_000 + 3) % 7 == 6
        return np.where(sunday, 40.0, 100.0)[None, :]

    found = known.factors((EU,), friday, expect)
    assert found is not None
    assert found.centre[0, 0] == pytest.approx(0.4)
    assert known.factors((EU,), friday + 86400_000 * 6, expect) is None


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        pytest.param({"start": "2026-12-01T00:00:00"}, "timezone", id="no time zone"),
        pytest.param({"uplift": 0}, "greater than 0", id="uplift of nothing"),
        pytest.param({"duration": "soon"}, "duration", id="no duration"),
    ],
)
def test_a_wrong_entry_is_refused(broken: dict[str, object], says: str) -> None:
    whole: dict[str, object] = {"name": "x", "start": "2026-12-01T00:00:00Z", "duration": "8h", **broken}
    with pytest.raises(ValidationError, match=says):
        EventConfig.model_validate(whole)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        pytest.param({"country": "XX"}, "no holidays of 'XX'", id="country"),
        pytest.param({"country": "DE", "subdivision": "ZZ"}, "no subdivision 'ZZ' of DE", id="subdivision"),
        pytest.param({"subdivision": "BY"}, "needs country", id="subdivision alone"),
        pytest.param({"time_zone": "Berlin"}, "no time zone", id="time zone"),
    ],
)
def test_a_wrong_calendar_is_refused(broken: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CalendarConfig.model_validate(broken)
