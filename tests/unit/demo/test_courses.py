"""What can be foreseen on the platform is foreseen: when it becomes predictable, and not before."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sidecar.cli.demo.courses import FILLS_SINCE_HOURS, FULL_AFTER_HOURS, FULL_RATIO, RELEASE
from sidecar.cli.demo.platform import DAY, Platform
from sidecar.cli.demo.servers import release_event
from sidecar.config.known import EventConfig
from sidecar.config.model import QueryConfig
from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.watched import WatchedSeries
from sidecar.engine.model import QueryModel
from sidecar.series import LabelSet, SeriesBatch

ANCHOR = 1_790_000_000.0
HOUR = 3600.0
STEP = 300.0
FULL = Threshold(FULL_RATIO, above=True)
BEGAN = ANCHOR - FILLS_SINCE_HOURS * HOUR


def platform(metric: str) -> Platform:
    """The platform with the tracks of one metric only."""
    whole = Platform(ANCHOR)
    chosen = tuple(track for track in whole.tracks if track.family.name == metric)
    return Platform(ANCHOR, tracks=chosen)


def batch(model: Platform, begin: float, end: float, step: float) -> SeriesBatch:
    times = np.arange(np.ceil(begin / step) * step, end + 1, step)
    labels = tuple(LabelSet(track.labels) for track in model.tracks)
    return SeriesBatch("q", labels, (times * 1000).astype(np.int64), model.values(times))


def etas_at(watched: WatchedSeries) -> dict[str, float]:
    watched.work(1e9)
    return {labels["service"]: found.eta_seconds(0.5) for labels, _, found in watched.crossings()}


def test_the_filling_disk_is_announced_four_hours_ahead_and_no_other_ever_is() -> None:
    disks = platform("disk_used_ratio")
    watched = WatchedSeries(step_seconds=STEP, history_seconds=14 * DAY, horizon_seconds=7 * DAY)
    watched.watch([FULL])
    watched.take(batch(disks, ANCHOR - 14 * DAY, BEGAN, STEP))
    assert set(etas_at(watched).values()) == {math.inf}
    announced: float | None = None
    for minutes in range(15, 121, 15):
        now = BEGAN + minutes * 60.0
        watched.take(batch(disks, BEGAN, now, STEP))
        found = etas_at(watched)
        assert found["api-gateway"] == found["billing"] == math.inf
        left = BEGAN + FULL_AFTER_HOURS * HOUR - now
        if found["search"] < math.inf:
            announced = announced or left
            # What an hour of filling says of five more is rough; half an hour later it is better known.
            within = 0.2 if announced - left >= HOUR / 2 else 0.35
            assert found["search"] == pytest.approx(left, rel=within)
    assert announced is not None
    assert announced >= 4 * HOUR


@pytest.mark.parametrize("hour", [0, 6, 12, 18])
@pytest.mark.parametrize("announced", [True, False], ids=["with the entry", "without the entry"])
def test_the_album_raises_no_anomaly_if_and_only_if_it_was_announced(announced: bool, hour: int) -> None:
    anchor = ANCHOR - ANCHOR % DAY + hour * HOUR
    whole = Platform(anchor)
    sessions = tuple(track for track in whole.tracks if track.family.name == "stream_sessions_active")
    model = QueryModel(QueryConfig(name="sessions_active", expr="x", step=60.0))
    if announced:
        model.known.announce([EventConfig.model_validate(release_event(anchor))])
    end = anchor + RELEASE.begins_seconds
    history = batch(Platform(anchor, tracks=sessions), anchor - 8 * DAY, end, 60.0)
    model.fit(history)
    surge = batch(Platform(anchor, tracks=sessions), end + 60.0, end + HOUR, 60.0)
    scores = model.score(surge)[2].anomaly_score
    region = [labels["region"] for labels in surge.labels].index(RELEASE.region)
    assert bool((scores[region] > 1).any()) != announced
    assert not (np.delete(scores, region, axis=0) > 1).any()
