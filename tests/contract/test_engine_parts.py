"""Every registered detector and forecaster keeps the promises of its protocol."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.deep import AutoencoderModel
from sidecar.engine.protocols import Detector
from sidecar.engine.registry import DETECTORS, FORECASTERS, make_detector, make_forecaster
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 300
QUERY = QueryConfig(
    name="q", expr="up", step=STEP, forecast_horizons=(600, 3600), council=("matrix_profile", "kmeans")
)
NEEDS_TORCH = {"autoencoder"}
"""Say nothing where they cannot be trained; all else holds there too."""

CAN_TRAIN = AutoencoderModel().trainable


def batch(values: FloatArray, first: int = 0) -> SeriesBatch:
    times = (1_790_000_100 // STEP * STEP + np.arange(first, first + values.shape[1]) * STEP) * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    return SeriesBatch("q", labels, times.astype(np.int64), values)


def difficult(n_steps: int = 900) -> FloatArray:
    """Season, constant, gaps, mostly zero, a spike, all missing, huge and tiny."""
    rng = np.random.default_rng(7)
    t = np.arange(n_steps)
    rows = np.stack(
        [
            50 + 20 * np.sin(2 * np.pi * t * STEP / 86400) + rng.normal(0, 1, n_steps),
            np.full(n_steps, 7.0),
            np.where(rng.random(n_steps) < 0.3, np.nan, rng.normal(5, 1, n_steps)),
            (rng.random(n_steps) < 0.02) * 9.0,
            rng.normal(0, 1, n_steps) + (t == 700) * 1e6,
            np.full(n_steps, np.nan),
            rng.normal(1e12, 1e9, n_steps),
            rng.normal(1e-9, 1e-11, n_steps),
        ]
    )
    return rows


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelError, match="known: autoencoder, bocpd, c"):
        make_detector("nope", QUERY)
    with pytest.raises(ModelError, match="known: pool, seasonal"):
        make_forecaster("nope", QUERY)


def new_detector(name: str, n_rows: int) -> Detector:
    detector = make_detector(name, QUERY)
    detector.resize(n_rows)
    detector.calibrator.resize(n_rows)
    return detector


@pytest.mark.parametrize("name", sorted(DETECTORS))
class TestDetector:
    def test_shapes_and_range(self, name: str) -> None:
        values = difficult()
        detector = new_detector(name, len(values))
        kept = values.copy()
        judged = detector.judge(batch(values))
        np.testing.assert_array_equal(values, kept, "the input was changed")
        for array in (judged.score, judged.yhat, judged.lower, judged.upper):
            assert array.shape == values.shape
        known = np.isfinite(judged.score)
        assert not known[np.isnan(values)].any()
        assert (judged.score[known] >= 0).all()
        assert (judged.lower[known] <= judged.upper[known]).all()
        speaks = CAN_TRAIN or name not in NEEDS_TORCH
        assert known[0].mean() > (0.4 if name == "shape" else 0.9) or not speaks
        assert not known[5].any()

    def test_no_look_ahead_and_no_dependence_on_batching(self, name: str) -> None:
        values = difficult()
        at_once = new_detector(name, len(values)).judge(batch(values)).score
        parts = new_detector(name, len(values))
        cuts = [0, 1, 2, 300, 301, 640, 900]
        pieces = [parts.judge(batch(values[:, a:b], first=a)).score for a, b in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), at_once)

    def test_restored_it_goes_on_as_if_nothing_happened(self, name: str) -> None:
        values = difficult()
        one = new_detector(name, len(values))
        one.judge(batch(values[:, :500]))
        two = make_detector(name, QUERY).restore({k: a.copy() for k, a in one.state().items()})
        two.calibrator.restore({k: a.copy() for k, a in one.calibrator.state().items()})
        rest = batch(values[:, 500:], first=500)
        np.testing.assert_array_equal(one.judge(rest).score, two.judge(rest).score)

    def test_reset_rows_know_nothing(self, name: str) -> None:
        values = difficult()
        detector = new_detector(name, len(values))
        detector.judge(batch(values))
        for part in (detector, detector.calibrator):
            part.reset(np.array([0]))
        judged = detector.judge(batch(values[:, :5], first=900))
        assert np.isnan(judged.score[0]).all()
        assert np.isfinite(judged.score[1]).all() or (name in NEEDS_TORCH and not CAN_TRAIN)

    def test_a_state_that_does_not_fit_is_refused(self, name: str) -> None:
        with pytest.raises(ModelError):
            make_detector(name, QUERY).restore({"other": np.zeros((1, 1))})


@pytest.mark.parametrize("name", sorted(FORECASTERS))
class TestForecaster:
    def test_shapes_order_and_no_dependence_on_batching(self, name: str) -> None:
        values = difficult()
        kept = values.copy()
        one, two = make_forecaster(name, QUERY), make_forecaster(name, QUERY)
        for forecaster in (one, two):
            forecaster.resize(len(values))
        one.update(batch(values))
        np.testing.assert_array_equal(values, kept, "the input was changed")
        for a, b in ((0, 1), (1, 333), (333, 900)):
            two.update(batch(values[:, a:b], first=a))
        assert one.horizons_seconds == (600, 3600)
        for ours, theirs in zip(one.predict(), two.predict(), strict=True):
            np.testing.assert_array_equal(ours.yhat, theirs.yhat)
            known = np.isfinite(ours.lower) & np.isfinite(ours.upper)
            assert known[0]
            assert (ours.lower[known] <= ours.upper[known]).all()
            assert np.isnan(ours.yhat[5]), "nothing seen, nothing said"

    def test_restored_it_says_the_same(self, name: str) -> None:
        values = difficult()
        one = make_forecaster(name, QUERY)
        one.resize(len(values))
        one.update(batch(values))
        two = make_forecaster(name, QUERY).restore({k: v.copy() for k, v in one.state().items()})
        for ours, theirs in zip(one.predict(), two.predict(), strict=True):
            np.testing.assert_array_equal(ours.yhat, theirs.yhat)

    def test_a_plain_season_is_forecast_and_its_interval_holds(self, name: str) -> None:
        rng = np.random.default_rng(3)
        n, lead = 14 * 288, 12
        t = np.arange(n + lead)
        values = 50 + 20 * np.sin(2 * np.pi * t * STEP / 86400) + rng.normal(0, 1, (40, n + lead))
        forecaster = make_forecaster(name, QUERY)
        forecaster.resize(40)
        forecaster.update(batch(values[:, :n]))
        hour = forecaster.predict()[1]
        truth = values[:, n + lead - 1]
        assert np.abs(hour.yhat - truth).mean() < 2.5
        inside = ((truth >= hour.lower) & (truth <= hour.upper)).mean()
        assert inside >= 0.85
        assert np.median(hour.upper - hour.lower) < 12
