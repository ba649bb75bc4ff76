"""A council holds back what is doubtful and nobody confirms, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.council import PRESENT, CouncilDetector
from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.detect.hampel import HampelDetector
from sidecar.engine.model import QueryModel
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


class Core(EnsembleDetector):
    """Scores as it is told to, column by column."""

    def __init__(self, score: FloatArray) -> None:
        super().__init__(BUDGET, STEP)
        self.score = score
        self.seen = 0

    def judge(self, batch: SeriesBatch) -> Judged:
        part = self.score[:, self.seen : self.seen + batch.n_steps]
        self.seen += batch.n_steps
        return Judged(part, batch.values, batch.values - 1, batch.values + 1)


def scores(**alarms: tuple[list[int], float]) -> FloatArray:
    """Zero but for alarms: when, and how far beyond the threshold."""
    score = np.zeros((1, N))
    for columns, height in alarms.values():
        score[0, columns] = height
    return score


NOTHING = (list(range(100, 1300, 100)), 1.2)
"""Twelve alarms of one step each, that nobody else found unusual."""

DOUBTFUL = scores(nothing=NOTHING, now=([1400], 1.2))


def unusual(*columns: int) -> BoolArray:
    found = np.zeros(N, dtype=np.bool_)
    found[list(columns)] = True
    return found


def judged(score: FloatArray, *members: BoolArray, step: int = STEP) -> Judged:
    council = CouncilDetector({str(at): Member(one) for at, one in enumerate(members)}, BUDGET, step)
    council.core = Core(score)
    return sized(council).judge(batch(np.ones((1, N)), step=step))


@pytest.mark.parametrize(
    ("member", "flagged"),
    [
        pytest.param(unusual(), False, id="nobody agrees: held back"),
        pytest.param(unusual(1397), True, id="a member found it unusual just before"),
        pytest.param(unusual(1385), False, id="too long ago"),
        pytest.param(unusual(1400), False, id="what is said of the point itself comes a step later"),
        pytest.param(np.ones(N, dtype=np.bool_), False, id="a member that always cries has no say"),
    ],
)
def test_a_doubtful_alarm_needs_a_second_opinion(member: BoolArray, flagged: bool) -> None:
    found = judged(DOUBTFUL, member)
    assert (found.score[0, 1400] > 1) == flagged
    edge = found.upper[0, 1400] - found.yhat[0, 1400]
    assert (edge < 1.2) == flagged, "the band says the same"


@pytest.mark.parametrize(
    ("score", "at", "why"),
    [
        pytest.param(scores(nothing=NOTHING, now=([1400], 2.5)), 1400, "it is clear", id="clear"),
        pytest.param(scores(nothing=NOTHING, now=([1400, 1401], 1.2)), 1401, "it lasts", id="lasting"),
        pytest.param(scores(now=([1400], 1.2)), 1400, "nothing is known against it", id="first"),
        pytest.param(
            scores(lasting=([at + k for at in NOTHING[0] for k in range(3)], 1.2), now=([1400], 1.2)),
            1400,
            "those before lasted",
            id="of a series whose alarms last",
        ),
        pytest.param(
            scores(nothing=NOTHING, grown=([at + 3 for at in NOTHING[0]], 1.7), now=([1400], 1.2)),
            1400,
            "those before grew",
            id="of a series whose alarms grow",
        ),
    ],
)
def test_where_there_is_no_doubt_nothing_waits(score: FloatArray, at: int, why: str) -> None:
    assert judged(score, unusual()).score[0, at] > 1, why


def test_alarms_that_members_came_to_confirm_are_no_reason_to_doubt() -> None:
    confirmed = unusual(*(at + 1 for at in NOTHING[0]))
    assert judged(DOUBTFUL, confirmed).score[0, 1400] > 1


@pytest.mark.parametrize("confirms", [True, False], ids=["it confirmed the clear ones", "it missed them"])
def test_a_member_is_believed_by_the_clear_alarms_that_it_confirmed(confirms: bool) -> None:
    clear = [150, 350, 550, 750, 950]
    score = scores(nothing=NOTHING, clear=(clear, 5.0), now=([1400], 1.2))
    told = [at + 1 for at in clear] if confirms else []
    found = judged(score, unusual(*told, 1397))
    assert (found.score[0, 1400] > 1) == confirms
    assert (found.score[0, clear] > 1).all()


def test_there_are_never_more_alarms_than_the_cores() -> None:
    rng = np.random.default_rng(3)
    score = np.exp(rng.normal(-1.0, 0.8, (1, N)))
    found = judged(score, rng.random(N) < 0.01, rng.random(N) < 0.3).score > 1

    def begun(flags: NDArray[np.bool_]) -> int:
        return int((flags[0, 1:] & ~flags[0, :-1]).sum())

    assert not (found & ~(score > 1)).any()
    assert 0 < begun(found) < begun(score > 1)


def test_an_alarm_that_is_on_stays_on_without_further_words() -> None:
    score = scores(nothing=NOTHING, clear=([1400], 5.0))
    score[0, 1401:1450] = 1.2
    assert (judged(score, unusual()).score[0, 1400:1450] > 1).all()


def test_nothing_waits_where_steps_are_long_or_members_silent() -> None:
    assert judged(DOUBTFUL, unusual(), step=3600).score[0, 1400] > 1
    aside = CouncilDetector({"a": Member(unusual())}, BUDGET, STEP)
    aside.core = Core(DOUBTFUL)
    sized(aside)
    with ThreadPoolExecutor(1) as trainer:
        aside.put_aside(trainer)
        found = aside.judge(batch(np.ones((1, N))))
    assert found.score[0, 1400] > 1, "members have not spoken yet"


def test_put_aside_members_speak_after_work_and_are_heard_from_the_next_step() -> None:
    council = CouncilDetector({"a": Member(unusual())}, BUDGET, STEP)
    council.core = Core(DOUBTFUL)
    sized(council)
    values = np.ones((1, N))
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


def test_a_new_series_is_judged_as_soon_as_by_the_core_alone() -> None:
    rng = np.random.default_rng(4)
    grown = batch(rng.normal(100, 2, (6, 2 * 1440)))
    labels = (*grown.labels, LabelSet({"i": "new"}))
    later = batch(rng.normal(100, 2, (7, 60)), 2 * 1440)
    scored = []
    for detector in ("ensemble", "council"):
        query = QueryConfig(
            name="q", expr="x", detector=detector, council=("multivariate",), forecast_horizons=()
        )
        model = QueryModel(query)
        model.fit(grown)
        _, _, score = model.score(SeriesBatch("q", labels, later.timestamps, later.values))
        scored.append(int(np.isfinite(score.anomaly_score[6]).argmax()))
    assert scored == [scored[0], scored[0]]
    assert scored[0] < 10


def test_a_row_that_adopts_has_the_donors_habits_and_nothing_of_its_present() -> None:
    council = CouncilDetector({"0": HampelDetector(BUDGET, STEP)}, BUDGET, STEP)
    sized(council, 2)
    council.arrays["course"][0] = 1.0
    council.arrays["said"][0] = 1.0
    council.adopt(np.array([1]), np.array([0]), 1_790_000_040_000)
    course = council.arrays["course"][1]
    assert not course[list(PRESENT)].any()
    assert (np.delete(course, PRESENT) == 1.0).all()
    assert not council.arrays["said"][1].any()
