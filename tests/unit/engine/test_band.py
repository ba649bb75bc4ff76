"""What a query does not care for, and what holds around it, measured while an incident lasts."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.business import BusinessConfig
from sidecar.config.hours import Hours
from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.engine.surroundings import Surroundings
from sidecar.series import Expectation, FloatArray, LabelSet, Score, SeriesBatch

DAY = 1440
HOURS_3 = slice(4 * DAY, 4 * DAY + 180)


def incident(times: float, noise: float = 0.05) -> FloatArray:
    values = 100 * (1 + noise * np.random.default_rng(1).normal(size=(1, 4 * DAY + 400)))
    values[:, HOURS_3] *= times
    return values


def said(
    values: FloatArray, *, business: BusinessConfig | None = None, **of_query: object
) -> tuple[Expectation, Score]:
    query = QueryConfig(name="load", expr="load", step=60, forecast_horizons=(), **of_query)  # type: ignore[arg-type]
    model = QueryModel(query)
    model.surroundings = Surroundings(query, business)
    at = 1_790_467_200_000 + 60_000 * np.arange(values.shape[1], dtype=np.int64)
    return model.score(SeriesBatch("load", (LabelSet({"host": "a"}),), at, values))[1:]


@pytest.mark.parametrize("times", [2.0, 0.0], ids=["twice as much", "nothing"])
@pytest.mark.parametrize(
    "nobody_cares",
    [{"min_relative_deviation": 0.2}, {"min_relative_deviation": 0.5}, {"min_deviation": 50.0}],
    ids=["a fifth", "a half", "in its unit"],
)
def test_what_nobody_cares_for_is_measured_from_before_an_incident(
    times: float, nobody_cares: dict[str, float]
) -> None:
    """The centre goes along with an incident; measured from there everything soon is near."""
    _, score = said(incident(times), **nobody_cares)
    assert (score.anomaly_score[0, HOURS_3] > 1).mean() >= 0.9
    assert not (score.anomaly_score[0, HOURS_3.stop + 1 :] > 1).any()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_calendars_factor_does_not_turn_the_band_of_an_incident_over(factor: float) -> None:
    peak = BusinessConfig(peak_hours=(Hours(),), band_factors={"peak_hours": factor})
    usual, _ = said(incident(3.0))
    band, score = said(incident(3.0), business=peak)
    during = slice(HOURS_3.start + 2, HOURS_3.stop)
    assert (band.upper >= band.lower)[:, during].all()
    # An edge that a wider band has lies no nearer than that of the usual one, and the other way round.
    wider = (band.upper - usual.upper)[:, during] * np.sign(factor - 1)
    assert (wider >= -1e-9).all()
    assert (score.anomaly_score[0, HOURS_3] > 1).mean() >= 0.8


@pytest.mark.parametrize("noise", [0.1, 0.15, 0.2, 0.25])
def test_what_lies_above_the_band_is_above_also_where_the_centre_has_gone_along(noise: float) -> None:
    values = incident(3.0, noise)
    band, score = said(values)
    above = values > band.upper
    assert above.any()
    assert (score.direction[above] == 1).all()


@pytest.mark.parametrize(("direction", "stuck_at"), [("above", 0.0), ("below", 300.0)])
def test_what_stands_still_on_the_side_that_nobody_asks_about_is_not_told(
    direction: str, stuck_at: float
) -> None:
    """Of errors `above` is asked: an hour without any is none."""
    values = incident(1.0)
    values[:, HOURS_3] = stuck_at
    _, score = said(values, direction=direction)
    assert not (score.anomaly_score[0, HOURS_3] > 1).any()


@pytest.mark.parametrize("direction", ["above", "below"])
def test_what_stands_still_within_the_band_is_told_whatever_the_side(direction: str) -> None:
    values = incident(1.0)
    values[:, HOURS_3] = values[:, HOURS_3.start - 1]
    _, score = said(values, direction=direction)
    assert (score.anomaly_score[0, HOURS_3.start + 10 : HOURS_3.stop] > 1).any()


def test_a_series_that_comes_below_zero_for_the_first_time_is_judged_by_what_it_does() -> None:
    """A thermometer on the first day of frost."""
    cooling = np.linspace(10.0, -3.0, 12 * DAY) + np.random.default_rng(0).normal(0.0, 0.7, 12 * DAY)
    _, score = said(cooling[None, :])
    first = int(np.argmax(cooling < 0))
    assert not (score.anomaly_score[0, first - 60 : first + 60] > 1).any()


def test_the_upper_edge_of_what_was_never_negative_is_not_either() -> None:
    """While the newest samples together are too high the edge is where they would not be: far down."""
    values = 10 + np.random.default_rng(1).normal(size=(1, 6 * DAY))
    minute = np.arange(6 * DAY)
    values[:, minute % 360 < 20] += 80.0
    band, score = said(values)
    told = np.isfinite(band.upper)
    assert (band.upper[told] >= 0).all()
    assert (band.upper[told] >= band.lower[told]).all()
    outside = (values < band.lower) | (values > band.upper)
    assert (score.anomaly_score[outside] > 1).all()
