"""A challenger's way: it judges beside the champion, is promoted, given up, learnt on drift, recalled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import QueryConfig
from sidecar.config.models import ModelsConfig
from sidecar.engine.detect.council import SPOKE, CouncilDetector
from sidecar.engine.detect.discord import DiscordDetector
from sidecar.engine.model import QueryModel
from sidecar.engine.protocols import Judged
from sidecar.engine.registry_models import ModelFiles, lineage, train
from sidecar.engine.snapshot import load, save
from sidecar.errors import PullError, PullReason, TooManySeries
from sidecar.events import EventBus
from sidecar.loop.trial import DRIFTING_SECONDS, Trial, TrialMetrics
from sidecar.offload import Offload
from sidecar.series import Evaluation, LabelSet, SeriesBatch

STEP = 300
DAY = 288
N = 30
QUERY = QueryConfig(name="load", expr="load", step=STEP, forecast_horizons=())
LABELS = tuple(LabelSet({"pod": str(i)}) for i in range(N))


def season(first: int, last: int) -> SeriesBatch:
    steps = np.arange(first, last)
    rng = np.random.default_rng(first)
    values = 100 + 60 * np.sin(2 * np.pi * steps / DAY) + rng.normal(0, 1, (N, len(steps)))
    times = (1_790_000_100 // STEP + steps) * STEP * 1000
    return SeriesBatch("load", LABELS, times.astype(np.int64), values)


class Shown:
    def __init__(self) -> None:
        self.published: list[Evaluation] = []
        self.retired: list[str] = []

    def publish(self, evaluation: Evaluation) -> None:
        self.published.append(evaluation)

    def retire(self, query: str) -> None:
        self.retired.append(query)


class Bench:
    """A trial in a folder, with a clock that is set and a source that answers from a formula."""

    def __init__(
        self, directory: Path, offload: Offload, query: QueryConfig = QUERY, **config: object
    ) -> None:
        self.query = query
        self.files, self.now, self.drift = ModelFiles(directory), 1000.0, 0.0
        self.directory, self.offload, self.config = directory, offload, ModelsConfig(**config)  # type: ignore[arg-type]
        self.registry, self.shown, self.pulled = CollectorRegistry(), Shown(), 0
        self.metrics = TrialMetrics(self.registry)
        self.trial = self.new()

    def new(self) -> Trial:
        return Trial(
            self.query, self.config, directory=self.directory, offload=self.offload, bus=EventBus(),
            metrics=self.metrics, shown=[self.shown], drifting=lambda _: self.drift, now=lambda: self.now,
        )  # fmt: skip

    async def pull(self, start_ms: int, end_ms: int) -> SeriesBatch:
        self.pulled += 1
        first = start_ms // 1000 // STEP - 1_790_000_100 // STEP
        return season(first, end_ms // 1000 // STEP - 1_790_000_100 // STEP + 1)

    async def follow(self, champion: QueryModel, first: int, last: int) -> bool:
        """Let both judge so many steps; whether the challenger won at one of them."""
        for step in range(first, last):
            batch = season(step, step + 1)
            evaluation = champion.update(batch)
            assert evaluation is not None
            if await self.trial.follow(evaluation, batch, self.pull, lambda _: None):
                return True
        return False

    def changes(self, what: str) -> float:
        labels = {"query": "load", "what": what}
        return self.registry.get_sample_value("pronoia_model_changes_total", labels) or 0.0


@pytest.fixture
def offload() -> Iterator[Offload]:
    made = Offload()
    yield made
    made.close()


def champion(files: ModelFiles, noise: float) -> QueryModel:
    """A live model that learnt from data with that much noise, and a challenger from clean data."""
    history = season(0, 4 * DAY)
    model = QueryModel(QUERY)
    wild = history.values + np.random.default_rng(1).normal(0, noise, history.values.shape)
    model.fit(SeriesBatch("load", LABELS, history.timestamps, wild))
    save(model, files.live("load"))
    train(QUERY, history, files)
    return model


async def test_a_better_challenger_wins_after_its_trial_and_takes_over(
    tmp_path: Path, offload: Offload
) -> None:
    bench = Bench(tmp_path, offload, export_challenger=True, challenger_share=1.0, trial="1h")
    live = champion(bench.files, noise=80.0)
    assert not await bench.follow(live, 4 * DAY + 3, 4 * DAY + 30), "the trial is not over"
    assert bench.pulled == 1, "what it missed"
    assert {one.query for one in bench.shown.published} == {"load:challenger"}
    assert bench.registry.get_sample_value("pronoia_trial_points", {"query": "load"}) == 27 * N - 5 * N
    bench.trial.save()

    bench.trial = bench.new()
    bench.now += 3601
    assert await bench.follow(live, 4 * DAY + 30, 4 * DAY + 31), "recalled, and long enough on trial"
    assert bench.pulled == 2
    await bench.trial.promote()
    assert bench.files.take_next("load")
    assert lineage(bench.files.live("load")).learnt_until_ms == int(season(0, 4 * DAY).timestamps[-1])
    assert [path.name for path in bench.files.versions("load")] == ["load.v1.version"]
    assert bench.changes("promoted") == 1
    assert bench.shown.retired == ["load:challenger"]
    assert not bench.files.trial("load").exists()
    assert not await bench.follow(live, 4 * DAY + 31, 4 * DAY + 32), "there is none any more"


async def test_one_that_is_no_better_is_given_up_after_three_trials(tmp_path: Path, offload: Offload) -> None:
    bench = Bench(tmp_path, offload, trial="1h")
    live = champion(bench.files, noise=0.0)
    bench.shown.published.clear()
    assert not await bench.follow(live, 4 * DAY, 4 * DAY + 25)
    bench.now += 3601
    assert not await bench.follow(live, 4 * DAY + 25, 4 * DAY + 26)
    assert bench.changes("given_up") == 0
    bench.now += 2 * 3600
    assert not await bench.follow(live, 4 * DAY + 26, 4 * DAY + 27)
    assert bench.changes("given_up") == 0, "too few points decide nothing"
    assert not await bench.follow(live, 4 * DAY + 27, 4 * DAY + 31)
    assert bench.changes("given_up") == 1
    assert not bench.files.of_role("load", "challenger").exists()
    assert bench.shown.published == [], "not asked for"


async def test_another_challenger_in_its_place_begins_a_trial_of_its_own(
    tmp_path: Path, offload: Offload
) -> None:
    bench = Bench(tmp_path, offload, challenger_share=1.0, trial="1h")
    live = champion(bench.files, noise=80.0)
    await bench.follow(live, 4 * DAY, 4 * DAY + 30)
    train(QUERY, season(0, 3 * DAY), bench.files)
    bench.now += 3601
    assert not await bench.follow(live, 4 * DAY + 30, 4 * DAY + 31), "this one has just begun"
    assert bench.registry.get_sample_value("pronoia_trial_points", {"query": "load"}) == 0


@pytest.mark.parametrize(("detector", "n_tried"), [("ensemble", 20), ("siblings", N)])
async def test_who_judges_by_others_is_tried_on_all(
    tmp_path: Path, offload: Offload, detector: str, n_tried: int
) -> None:
    query = QUERY.model_copy(update={"detector": detector})
    bench = Bench(tmp_path, offload, query=query, export_challenger=True, challenger_share=0.1)
    live = QueryModel(query)
    live.fit(season(0, DAY))
    save(live, bench.files.live("load"))
    train(query, season(0, DAY), bench.files)
    await bench.follow(live, DAY, DAY + 1)
    (told,) = bench.shown.published
    assert int(np.isfinite(told.actual).sum()) == n_tried


async def test_a_council_that_works_beside_the_step_learns_and_speaks_in_its_trial(
    tmp_path: Path, offload: Offload, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = QUERY.model_copy(update={"detector": "council", "council": ("matrix_profile",)})
    bench = Bench(tmp_path, offload, query=query)
    live = QueryModel(query)
    live.fit(season(0, 100))
    save(live, bench.files.live("load"))
    with ThreadPoolExecutor(1) as trainer:

        def dress(model: QueryModel) -> None:
            assert isinstance(model.detector, CouncilDetector)
            model.detector.put_aside(trainer)

        train(query, season(0, 100), bench.files, dress)
        learnt = load(bench.files.of_role("load", "challenger"), query).detector.state()
        assert learnt["course"][:, SPOKE].min() > 0, "its members have judged the history"
        judged: list[int] = []
        judge = DiscordDetector.judge

        def counting(self: DiscordDetector, batch: SeriesBatch) -> Judged:
            judged.append(batch.n_steps)
            return judge(self, batch)

        monkeypatch.setattr(DiscordDetector, "judge", counting)
        dress(live)
        for at in range(100, 103):
            batch = season(at, at + 1)
            evaluation = live.update(batch)
            assert evaluation is not None
            await bench.trial.follow(evaluation, batch, bench.pull, dress)
        assert sum(judged) == 3, "the challenger's, each in its share of time; the live one's wait"


async def test_by_hand_nothing_is_promoted(tmp_path: Path, offload: Offload) -> None:
    bench = Bench(tmp_path, offload, promote="by_hand", challenger_share=1.0, trial="1h")
    live = champion(bench.files, noise=80.0)
    await bench.follow(live, 4 * DAY, 4 * DAY + 30)
    bench.now += 4 * 3600
    assert not await bench.follow(live, 4 * DAY + 30, 4 * DAY + 31)
    assert bench.files.of_role("load", "challenger").exists(), "it waits for a person"


async def test_a_source_that_is_away_and_a_file_that_cannot_be_used_wait(
    tmp_path: Path, offload: Offload, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, offload)
    live = champion(bench.files, noise=0.0)
    answer = bench.pull

    async def away(start_ms: int, end_ms: int) -> SeriesBatch:
        raise PullError(PullReason.UNREACHABLE, "away")

    bench.pull = away  # type: ignore[method-assign]
    assert not await bench.follow(live, 4 * DAY + 3, 4 * DAY + 5)
    bench.pull = answer  # type: ignore[method-assign]
    assert not await bench.follow(live, 4 * DAY + 5, 4 * DAY + 6)
    assert bench.pulled == 1
    bench.files.of_role("load", "challenger").write_bytes(b"damaged")
    bench.trial = bench.new()
    assert not await bench.follow(live, 4 * DAY + 6, 4 * DAY + 8)
    assert bench.pulled == 1


async def test_drift_that_lasts_makes_a_challenger_once_a_trial(tmp_path: Path, offload: Offload) -> None:
    bench = Bench(tmp_path, offload, trial="2h")
    champion(bench.files, noise=0.0)
    bench.files.of_role("load", "challenger").unlink()

    async def history() -> SeriesBatch:
        return season(0, 4 * DAY)

    bench.drift = 0.5
    bench.now += 7200
    assert not bench.trial.due(), "it has to last"
    bench.now += DRIFTING_SECONDS
    assert bench.trial.due()
    await bench.trial.renew(history, lambda _: None)
    assert bench.changes("refitted") == 1
    assert not bench.trial.due(), "there is one"
    bench.files.of_role("load", "challenger").unlink()
    assert not bench.trial.due()
    bench.now += DRIFTING_SECONDS + 1
    assert not bench.trial.due(), "one a trial"
    bench.now += DRIFTING_SECONDS
    assert bench.trial.due()
    bench.drift = 0.1
    assert not bench.trial.due()


def ahead(batch: SeriesBatch, hours: int) -> SeriesBatch:
    return SeriesBatch(batch.query, batch.labels, batch.timestamps + hours * 3_600_000, batch.values)


async def test_one_learnt_while_the_clock_was_ahead_is_set_aside_and_drift_learns_another(
    tmp_path: Path, offload: Offload
) -> None:
    bench = Bench(tmp_path, offload)
    live = champion(bench.files, noise=80.0)
    late = QueryModel(QUERY)
    late.fit(ahead(season(0, 4 * DAY), 48))
    save(late, bench.files.of_role("load", "challenger"))
    bench.drift = 0.5
    assert not await bench.follow(live, 4 * DAY, 4 * DAY + 3)
    assert bench.registry.get_sample_value("pronoia_trial_points", {"query": "load"}) is None
    assert bench.files.of_role("load", "challenger").exists(), "whoever made it may look at it"
    bench.now += bench.config.trial
    assert not bench.trial.due()
    bench.now += DRIFTING_SECONDS
    assert bench.trial.due(), "it keeps nobody out"


async def test_a_challenger_sees_what_it_missed_in_parts_where_all_of_it_is_too_much(
    tmp_path: Path, offload: Offload
) -> None:
    bench = Bench(tmp_path, offload)
    live = champion(bench.files, noise=80.0)
    live.fit(season(4 * DAY, 4 * DAY + 20))

    async def of_few_steps(start_ms: int, end_ms: int) -> SeriesBatch:
        if end_ms - start_ms > 6 * STEP * 1000:
            raise TooManySeries("load", 2 * N, N)
        return await bench.pull(start_ms, end_ms)

    batch = season(4 * DAY + 20, 4 * DAY + 21)
    evaluation = live.update(batch)
    assert evaluation is not None
    await bench.trial.follow(evaluation, batch, of_few_steps, lambda _: None)
    assert bench.registry.get_sample_value("pronoia_trial_points", {"query": "load"}) is not None


@pytest.mark.parametrize(("hours", "n_begun"), [pytest.param(48, 2, id="days"), pytest.param(0, 1, id="not")])
async def test_a_trial_that_saw_a_clock_ahead_begins_anew_with_what_was_learnt_before(
    tmp_path: Path, offload: Offload, hours: int, n_begun: int
) -> None:
    bench = Bench(tmp_path, offload, challenger_share=1.0)
    live = champion(bench.files, noise=80.0)
    save(live, tmp_path / "before")
    first = 4 * DAY + 3
    assert not await bench.follow(live, first, first + 1)
    batch = ahead(season(first + 1, first + 2), hours)
    judged = live.update(batch)
    assert judged is not None
    assert not await bench.trial.follow(judged, batch, bench.pull, lambda _: None)

    corrected = load(tmp_path / "before", QUERY) if hours else live
    assert not await bench.follow(corrected, first + 2, first + 10)
    assert bench.pulled == n_begun
    n_points = bench.registry.get_sample_value("pronoia_trial_points", {"query": "load"})
    assert n_points == (8 if hours else 10) * N - 5 * N
