"""One series from a file or a query, scored as the sidecar would have scored it live."""

from __future__ import annotations

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.series import Expectation, FloatArray, LabelSet, Score, SeriesBatch, TimeArray
from sidecar.tables import typical_step_seconds

STEP_ROWS = 200
"""The step is taken from so many first rows: one that the whole file decided would look ahead."""

SHORTEST_STEP = 1.0
"""A query has no shorter one; rows that come more often are judged as its are."""


def score_series(
    timestamps: TimeArray,
    values: FloatArray,
    *,
    detector: str = "ensemble",
    false_alarms_per_month: float | None = None,
    direction: str = "both",
    lower_bound: float | None = None,
    upper_bound: float | None = None,
) -> tuple[Expectation, Score]:
    """Judge each row from the rows up to and including itself; arrays of shape (1, T).

    `timestamps` int64 ms, increasing, shape (T,); `values` float64 (T,), NaN where absent.
    """
    step = max(typical_step_seconds(timestamps[:STEP_ROWS]), SHORTEST_STEP)
    query = QueryConfig(
        name="series",
        expr="series",
        step=step,
        false_alarms_per_series_per_month=false_alarms_per_month,
        direction=direction,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        forecast_horizons=(),
    )
    model = QueryModel(query, detector=detector)
    batch = SeriesBatch("series", (LabelSet({"__name__": "series"}),), timestamps, values[None, :])
    _, expectation, score = model.score(batch)
    return expectation, score
