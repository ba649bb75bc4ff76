"""How far, how long, how important: the severity of anomalies, and when one is one."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.loop.severity import LEVELS, QUIET_STEPS, Course, importance
from sidecar.series import Evaluation, LabelSet

MINUTE_MS = 60_000
START_MS = 1_790_000_040_000


def evaluation(minute: int, *scores: float) -> Evaluation:
    values = np.array(scores, dtype=np.float64)
    n = len(scores)
    return Evaluation(
        query="q",
        tenant="default",
        timestamp_ms=START_MS + minute * MINUTE_MS,
        labels=tuple(LabelSet({"i": str(i)}) for i in range(n)),
        actual=values,
        expected=values,
        lower=values,
        upper=values,
        anomaly_score=values,
        direction=np.zeros(n, dtype=np.int8),
        confidence=np.ones(n),
    )


def after(minutes: int, score: float, worth: float) -> str:
    course = Course(0.0, worth)
    for minute in range(minutes + 1):
        (severity,) = course.observe(evaluation(minute, score))
    return LEVELS[severity]


@pytest.mark.parametrize(
    ("minutes", "score", "worth", "level"),
    [
        (0, 1.2, 0.5, "low"),
        (0, 10.0, 0.5, "medium"),
        (0, 100.0, 1.0, "high"),
        (60, 2.0, 0.5, "high"),
        (60, 100.0, 1.0, "critical"),
        (180, 1.2, 0.1, "low"),
        (180, 1.2, 1.0, "high"),
        (180, 100.0, 0.0, "low"),
    ],
)
def test_severity_grows_with_distance_time_and_worth(
    minutes: int, score: float, worth: float, level: str
) -> None:
    assert after(minutes, score, worth) == level


def test_what_is_short_is_not_told_and_one_good_sample_does_not_start_it_anew() -> None:
    course = Course(5 * 60.0, 0.5)
    scores = [2.0, 2.0, 0.5, 2.0, 2.0, 2.0, 2.0]
    told = [int(course.observe(evaluation(minute, score))[0]) > 0 for minute, score in enumerate(scores)]
    assert told == [False, False, False, False, False, True, True]


def test_after_quiet_it_is_another_anomaly() -> None:
    course = Course(60.0, 0.5)
    scores = [2.0, 2.0] + [0.5] * QUIET_STEPS + [2.0, 2.0]
    told = [int(course.observe(evaluation(minute, score))[0]) > 0 for minute, score in enumerate(scores)]
    assert told == [False, True] + [False] * QUIET_STEPS + [False, True]


def test_rows_that_come_and_unknown_scores_are_nothing() -> None:
    course = Course(0.0, 0.5)
    course.observe(evaluation(0, 2.0))
    assert (course.observe(evaluation(2, 2.0, np.nan, 0.2)) > 0).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("concerns", "weights", "worth"),
    [
        pytest.param({}, {}, 0.5, id="nothing stated"),
        pytest.param({"revenue": 1.0}, {}, 1.0, id="revenue"),
        pytest.param({"operations": 1.0, "user_experience": 0.5}, {}, 0.5, id="the most counts"),
        pytest.param({"operations": 1.0}, {"operations": 0.9}, 0.9, id="weights are the business's"),
    ],
)
def test_importance(concerns: dict[str, float], weights: dict[str, float], worth: float) -> None:
    query = QueryConfig(name="q", expr="q", importance=concerns)
    assert importance(query, weights) == pytest.approx(worth)  # type: ignore[arg-type]
