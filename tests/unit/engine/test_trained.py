"""Detectors that are fitted: what they learn, when, and that nobody waits for it."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.clusters import DensityModel, KMeansModel, MixtureModel, SpectralModel, quality
from sidecar.engine.detect.deep import AutoencoderModel
from sidecar.engine.detect.discord import KEPT, WINDOW, DiscordDetector, nearest_window
from sidecar.engine.detect.forest import ForestModel
from sidecar.engine.detect.trained import FIRST_FIT, TrainedDetector, WindowModel, fit
from sidecar.engine.registry import make_detector
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 60
MODELS: list[Any] = [ForestModel(), KMeansModel(), MixtureModel(), DensityModel(), SpectralModel()]


class Later(Executor):
    """Runs what was submitted when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any, Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, fn, args))
        return future

    def finish(self, error: Exception | None = None) -> None:
        for future, fn, args in self.waiting:
            if error is None:
                future.set_result(fn(*args))
            else:
                future.set_exception(error)
        self.waiting.clear()


def batch(values: FloatArray, first: int = 0) -> SeriesBatch:
    times = (1_790_000_040 + (first + np.arange(values.shape[1])) * STEP) * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    return SeriesBatch("q", labels, times.astype(np.int64), values)


def two_kinds(n: int = 300) -> FloatArray:
    """Windows of two kinds, far apart."""
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(-3, 0.5, (n, 6)), rng.normal(3, 0.5, (n, 6))])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
class TestModel:
    def test_what_is_like_neither_kind_is_more_unusual_than_all_of_both(self, model: WindowModel) -> None:
        found = fit(model, two_kinds(), 7)
        between = model.score(found.arrays, np.tile([3.0, -3.0], (5, 3)))
        assert between.min() > np.quantile(model.score(found.arrays, two_kinds()), 0.99)

    def test_the_same_seed_fits_the_same(self, model: WindowModel) -> None:
        one, two = fit(model, two_kinds(), 7), fit(model, two_kinds(), 7)
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, two.arrays[name])

    def test_windows_that_are_all_the_same_can_be_fitted(self, model: WindowModel) -> None:
        found = fit(model, np.zeros((40, 6)), 7)
        assert np.isfinite(model.score(found.arrays, np.zeros((3, 6)))).all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_fit_that_is_damaged_is_refused(model: Any) -> None:
    arrays = fit(model, two_kinds(60), 7).arrays
    model.check(arrays, 6)
    for name in set(arrays) - {"quality"}:
        with pytest.raises(ModelError):
            model.check({other: array for other, array in arrays.items() if other != name}, 6)
    with pytest.raises(ModelError):
        model.check(arrays, 4)


@pytest.mark.parametrize(("array", "value"), [("left", 10**6), ("right", 0), ("feature", 6), ("roots", -1)])
def test_trees_that_lead_astray_are_refused(array: str, value: int) -> None:
    arrays = fit(ForestModel(), two_kinds(60), 7).arrays
    arrays[array][0] = value
    with pytest.raises(ModelError, match="damaged"):
        ForestModel().check(arrays, 6)


@pytest.mark.parametrize("model", MODELS[1:], ids=lambda model: type(model).__name__)
def test_groups_are_counted_and_their_quality_told(model: Any) -> None:
    silhouette, davies_bouldin, n_groups = fit(model, two_kinds(), 7).arrays["quality"]
    assert n_groups == 2
    assert silhouette > 0.7
    assert davies_bouldin < 0.5


def test_one_group_has_no_quality() -> None:
    assert quality(two_kinds(), np.zeros(600, dtype=np.int64)).tolist() == [0.0, np.inf, 1.0]


def test_the_forest_scores_as_scikit_learn_does() -> None:
    from sklearn.ensemble import IsolationForest

    windows = two_kinds()
    theirs = IsolationForest(n_estimators=64, max_samples=256, random_state=7).fit(windows)
    model = ForestModel()
    ours = model.score(model.fit(windows, 7), windows)
    np.testing.assert_allclose(ours, -theirs.score_samples(windows), rtol=1e-9)


class TestFitsElsewhere:
    def detector(self) -> tuple[TrainedDetector, Later]:
        detector = make_detector("kmeans", QueryConfig(name="q", expr="x", step=STEP))
        assert isinstance(detector, TrainedDetector)
        trainer = Later()
        detector.put_aside(trainer)
        detector.resize(2)
        detector.calibrator.resize(2)
        return detector, trainer

    def values(self, n: int) -> FloatArray:
        return np.random.default_rng(2).normal(10, 1, (2, n))

    def test_nothing_is_said_until_the_fit_is_there(self) -> None:
        detector, trainer = self.detector()
        values = self.values(200)
        assert np.isnan(detector.judge(batch(values[:, :FIRST_FIT])).score).all()
        assert len(trainer.waiting) == 1
        assert np.isnan(detector.judge(batch(values[:, FIRST_FIT:150], FIRST_FIT)).score).all()
        assert len(trainer.waiting) == 1, "no second one while the first is under way"
        trainer.finish()
        assert np.isfinite(detector.judge(batch(values[:, 150:], 150)).score).all()
        assert detector.n_fits == 1
        assert set(detector.quality) == {"silhouette", "davies_bouldin", "groups"}

    def test_what_came_while_a_fit_was_under_way_is_fitted_as_soon_as_it_is_there(self) -> None:
        detector, trainer = self.detector()
        values = self.values(6000)
        detector.judge(batch(values[:, :5000]))
        assert len(trainer.waiting) == 1
        trainer.finish()
        detector.judge(batch(values[:, 5000 : 5000 + 2 * FIRST_FIT], 5000))
        assert (detector.n_fits, len(trainer.waiting)) == (1, 1)

    def test_a_fit_under_way_at_a_stop_is_made_after_the_restart(self) -> None:
        detector, _ = self.detector()
        values = self.values(200)
        detector.judge(batch(values[:, :FIRST_FIT]))
        again, trainer = self.detector()
        again.restore(detector.state())
        again.judge(batch(values[:, FIRST_FIT : FIRST_FIT + 2], FIRST_FIT))
        assert len(trainer.waiting) == 1

    def test_a_fit_that_failed_leaves_the_earlier_one(self) -> None:
        detector, trainer = self.detector()
        values = self.values(600)
        detector.judge(batch(values[:, :100]))
        trainer.finish()
        detector.judge(batch(values[:, 100:300], 100))
        assert trainer.waiting
        trainer.finish(RuntimeError("the process died"))
        assert np.isfinite(detector.judge(batch(values[:, 300:], 300)).score).all()
        assert (detector.n_fits, detector.n_failed_fits) == (1, 1)


def test_behaviour_that_changed_is_fitted_before_its_time() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(100, 2, (4, 2400))
    values[:, 1500:] += 15 * np.sign(np.sin(np.arange(900) / 2))
    n_fits = []
    for course in (values[:, :1400], values):
        detector = make_detector("kmeans", QueryConfig(name="q", expr="x", step=STEP))
        assert isinstance(detector, TrainedDetector)
        detector.resize(4)
        detector.calibrator.resize(4)
        detector.judge(batch(course))
        n_fits.append(detector.n_fits)
    assert n_fits[1] > n_fits[0], "the next on schedule is due after 3,072 columns"


def test_the_nearest_window_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(4)
    x = np.sin(np.arange(3 * KEPT) / 5) + rng.normal(0, 0.3, 3 * KEPT)
    for n in (200, KEPT, KEPT + 77, 3 * KEPT):
        ring = np.zeros(KEPT)
        for at in range(n):
            ring[at % KEPT] = x[at]
        kept = np.lib.stride_tricks.sliding_window_view(x[max(n - KEPT, 0) : n], WINDOW)
        alike = (kept - kept.mean(axis=1, keepdims=True)) / kept.std(axis=1, keepdims=True)
        apart = np.sqrt(((alike[: len(kept) - WINDOW // 2] - alike[-1]) ** 2).sum(axis=1) / WINDOW)
        newest = np.ascontiguousarray(kept[-1])
        assert nearest_window(ring, n, newest, newest.mean(), 0.0) == pytest.approx(apart.min(), rel=1e-9)


def test_a_shape_that_never_was_is_a_discord() -> None:
    x = np.tile(np.arange(24.0), 60) + np.random.default_rng(4).normal(0, 0.5, 1440)
    x[1200:1224] = x[1200:1224][::-1].copy()
    detector = DiscordDetector(5.0, STEP)
    detector.resize(1)
    detector.calibrator.resize(1)
    score = detector.judge(batch(x[None, :])).score[0]
    assert (score[1200:1224] > 1).any()
    assert (score[200:1200] > 1).sum() <= 2


class TestAutoencoder:
    def test_without_torch_it_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sidecar.engine.detect.deep.find_spec", lambda name: None)
        with pytest.raises(ModelError, match=r"pronoia\[deep\]"):
            AutoencoderModel().fit(np.zeros((40, 30)), 7)
        detector = make_detector("autoencoder", QueryConfig(name="q", expr="x", step=STEP))
        detector.resize(1)
        detector.calibrator.resize(1)
        values = np.random.default_rng(5).normal(size=(1, 300))
        assert np.isnan(detector.judge(batch(values)).score).all(), "it waits, and breaks nothing"

    def test_what_was_fitted_is_judged_by_numpy_alone(self) -> None:
        rng = np.random.default_rng(6)
        shapes = [(16, 30), (4, 16), (16, 4), (30, 16)]
        fitted = {f"weight{i}": rng.normal(size=shape) for i, shape in enumerate(shapes)}
        fitted |= {f"bias{i}": rng.normal(size=shape[0]) for i, shape in enumerate(shapes)}
        windows = rng.normal(size=(50, 30))
        found = windows
        for i in range(4):
            found = found @ fitted[f"weight{i}"].T + fitted[f"bias{i}"]
            found = np.tanh(found) if i in (0, 2) else found
        off = np.abs(windows - found)
        theirs = 0.5 * (off[:, :-5].mean(axis=1) + off[:, -5:].mean(axis=1))
        np.testing.assert_allclose(AutoencoderModel().score(fitted, windows), theirs)

    def test_it_learns_to_draw_again_what_it_saw(self) -> None:
        pytest.importorskip("torch", reason="it is trained with torch")
        t = np.arange(600)
        windows = np.lib.stride_tricks.sliding_window_view(np.sin(t / 4), 30)
        model = AutoencoderModel()
        fitted = model.fit(windows, 7)
        seen, never = model.score(fitted, windows), model.score(fitted, -np.abs(windows))
        assert seen.mean() < 0.3 * never.mean()
        held_out, learnt = fitted["quality"]
        assert held_out < 2 * learnt


@pytest.mark.parametrize("name", ["kmeans", "gaussian_mixture", "dbscan", "isolation_forest"])
def test_a_series_of_absurd_size_keeps_no_other_from_being_judged(name: str) -> None:
    values = np.random.default_rng(3).normal(100.0, 5.0, (2, 4 * FIRST_FIT))
    values[1] *= 1e98
    detector = make_detector(name, QueryConfig(name="q", expr="x", step=STEP))
    detector.resize(2)
    detector.calibrator.resize(2)
    assert np.isfinite(detector.judge(batch(values)).score[0, -1])
