"""A council holds back what is doubtful and nobody confirms, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.council import DOUBT, CouncilDetector
from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.detect.hampel import HampelDetector
from sidecar.engine.protocols import Detector, Judged
from sidecar.engine.registry import make_detector
from sidecar.series import BoolArray, FloatArray, LabelSet, SeriesBatch

STEP = 60
N = 1500
BUDGET = 8.0


class Member(HampelDetector):
    """Finds unusual what it is told to, by column from the first one on."""

    def __init__(self, unusual: BoolArray) -> None:
        super().__init__(BUDGET, STEP)
        self.unusual = unusual
        self.seen = 0

    def judge(self, batch: SeriesBatch) -> Judged:
        found = super().judge(batch)
        part = self.unusual[self.seen : self.seen + batch.n_steps]
        self.seen += batch.n_steps
        score = np.where(part, 0.9, 0.0) + np.zeros(batch.values.shape)
        return Judged(score, found.yhat, found.lower, found.upper)


def batch(values: FloatArray, first: int = 0, step: int = STEP) -> SeriesBatch:
    times = (1_790_000_040 + (first + np.arange(values.shape[1])) * step) * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    return SeriesBatch("q", labels, times.astype(np.int64), values)


def sized(detector: Detector, n_rows: int = 1) -> Detector:
    detector.resize(n_rows)
    detector.calibrator.resize(n_rows)
    return detector


def doubtful() -> FloatArray:
    """A series whose point 1400 crosses the core's threshold by a fifth."""
    values = np.random.default_rng(1).normal(100, 2, (1, N))
    core = sized(EnsembleDetector(BUDGET, STEP))
    before = core.judge(batch(values))
    off = before.upper[0, 1400] - before.yhat[0, 1400]
    values[0, 1400] = before.yhat[0, 1400] + 1.2 * off
    score = sized(EnsembleDetector(BUDGET, STEP)).judge(batch(values)).score[0, 1400]
    assert 1.0 < score < DOUBT
    return values


def judged(members: dict[str, Detector], values: FloatArray, step: int = STEP) -> Judged:
    return sized(CouncilDetector(members, BUDGET, step), len(values)).judge(batch(values, step=step))


@pytest.mark.parametrize(
    ("unusual_at", "flagged"),
    [
        pytest.param(None, False, id="nobody agrees: held back"),
        pytest.param(1397, True, id="a member found it unusual just before"),
        pytest.param(1390, False, id="too long ago"),
        pytest.param(1400, False, id="what is said of the point itself comes a step later"),
    ],
)
def test_a_doubtful_alarm_needs_a_second_opinion(unusual_at: int | None, flagged: bool) -> None:
    unusual = np.zeros(N, dtype=np.bool_)
    if unusual_at is not None:
        unusual[unusual_at] = True
    found = judged({"a": Member(unusual)}, doubtful())
    assert (found.score[0, 1400] > 1) == flagged
    outside = doubtful()[0, 1400] > found.upper[0, 1400]
    assert outside == flagged, "the band says the same"


def test_what_is_clear_needs_no_one() -> None:
    values = doubtful()
    values[0, 1400] = 200.0
    assert judged({"a": Member(np.zeros(N, dtype=np.bool_))}, values).score[0, 1400] > 1


def test_a_member_that_always_cries_has_no_say() -> None:
    unusual = np.ones(N, dtype=np.bool_)
    assert not judged({"a": Member(unusual)}, doubtful()).score[0, 1400] > 1


class Core(EnsembleDetector):
    """Scores as it is told to."""

    def __init__(self, score: FloatArray) -> None:
        super().__init__(BUDGET, STEP)
        self.score = score

    def judge(self, batch: SeriesBatch) -> Judged:
        return Judged(self.score, batch.values, batch.values - 1, batch.values + 1)


@pytest.mark.parametrize("confirms", [True, False], ids=["it confirmed the clear ones", "it missed them"])
def test_a_member_is_believed_by_the_clear_alarms_that_it_confirmed(confirms: bool) -> None:
    score = np.zeros((1, N))
    score[0, [600, 800, 1000]] = 5.0
    score[0, 1400] = 1.2
    unusual = np.zeros(N, dtype=np.bool_)
    unusual[[601, 801, 1001]] = confirms
    unusual[1397] = True
    council = CouncilDetector({"a": Member(unusual)}, BUDGET, STEP)
    council.core = Core(score)
    found = sized(council).judge(batch(np.ones((1, N))))
    assert (found.score[0, 1400] > 1) == confirms
    assert (found.score[0, [600, 800, 1000]] > 1).all()


def test_an_alarm_that_is_on_stays_on_without_further_words() -> None:
    score = np.zeros((1, N))
    score[0, 600:700] = 1.2
    score[0, 600] = 5.0
    council = CouncilDetector({"a": Member(np.zeros(N, dtype=np.bool_))}, BUDGET, STEP)
    council.core = Core(score)
    assert (sized(council).judge(batch(np.ones((1, N)))).score[0, 600:700] > 1).all()


def test_nothing_waits_where_steps_are_long_or_members_silent() -> None:
    hourly = np.random.default_rng(2).normal(100, 2, (1, 600))
    core = sized(EnsembleDetector(BUDGET, 3600)).judge(batch(hourly, step=3600))
    quiet: dict[str, Detector] = {"a": Member(np.zeros(600, dtype=np.bool_))}
    np.testing.assert_array_equal(judged(quiet, hourly, 3600).score, core.score)
    aside = CouncilDetector(quiet, BUDGET, STEP)
    sized(aside)
    with ThreadPoolExecutor(1) as trainer:
        aside.put_aside(trainer)
        found = aside.judge(batch(doubtful()))
    assert found.score[0, 1400] > 1, "members have not spoken yet"


def test_put_aside_members_speak_after_work_and_are_heard_from_the_next_step() -> None:
    values = doubtful()
    unusual = np.zeros(N, dtype=np.bool_)
    council = CouncilDetector({"a": Member(unusual)}, BUDGET, STEP)
    sized(council)
    with ThreadPoolExecutor(1) as trainer:
        council.put_aside(trainer)
        council.judge(batch(values[:, :1400]))
        assert council.work(60.0) == 1400
        assert council.work(60.0) == 0
        found = council.judge(batch(values[:, 1400:1401], 1400))
    assert not found.score[0, 0] > 1, "members spoke, and none agreed"


def test_what_waits_too_long_is_forgotten_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.engine.detect.council.PENDING_POINTS", 100)
    council = CouncilDetector({"a": Member(np.zeros(100, dtype=np.bool_))}, BUDGET, STEP)
    sized(council, 10)
    with ThreadPoolExecutor(1) as trainer:
        council.put_aside(trainer)
        for at in range(12):
            council.judge(batch(np.ones((10, 1)), at))
    assert council.forgotten_points == 20
    assert council.work(60.0) == 10


def test_the_configured_members_sit_in_it() -> None:
    query = QueryConfig(name="q", expr="x", detector="council", council=("kmeans", "matrix_profile"))
    detector = make_detector("council", query)
    assert isinstance(detector, CouncilDetector)
    assert sorted(detector.members) == ["kmeans", "matrix_profile"]
