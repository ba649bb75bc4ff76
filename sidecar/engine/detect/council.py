"""The default detector with a council of slow ones beside it: a doubtful alarm waits for a second opinion.

The core decides at once on what is clear, and on what lasts. Where it barely crosses its threshold
for a single step, the threshold is the higher the more such alarms of the series came to nothing
before: neither lasted, nor grew, nor did a member find them unusual. A member that has found the
series unusual in its last steps takes the doubt away, if it confirmed the clear alarms of the
series so far and is not often unusual without one. Members judge after the core has spoken, so
what they say counts from the next step on, and where a step is longer than ten minutes nothing
waits for them. So there are never more alarms than the core's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.arrays import RowArrays
from sidecar.engine.calibrate import segments
from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.index import GONE
from sidecar.engine.protocols import Detector, Judged, WorksBeside
from sidecar.errors import ModelError
from sidecar.series import FloatArray, RowArray, SeriesBatch, TimeArray

RAISED = 0.3
"""The score from which on a member finds a series unusual; 1 would be an alarm of its own."""

HEARD_STEPS = 12.0
"""So many steps what a member said is heard."""

DOUBT = 1.8
"""In thresholds of the core: the higher one, where all doubtful alarms of a series came to nothing."""

PRIOR = 4.0
"""As many alarms that came to something are believed of a series before there were any."""

LASTS = 2
"""An alarm of the core that is still there at this step needs no one."""

GROWN = 1.6
"""In thresholds of the core: an alarm that grows so far came to something."""

SEEN_STEPS = 6.0
"""After so many steps it is clear what an alarm came to."""

REMEMBERED = 40.0
"""Alarms whose outcome counts, about; the older ones fade."""

ENOUGH = 0.5
"""A member that confirmed so large a part of the clear alarms is believed; each starts with a half."""

CLEAR = 2.0
"""Alarms so far beyond the threshold tell who of the members sees what matters."""

OFTEN = 0.05
"""A member that finds more than this share of the steps unusual says nothing about one of them."""

RATE_MEMORY = 2000.0  # Steps.
LONGEST_STEP_SECONDS = 600.0
PIECE_POINTS = 20_000
"""So many points members judge without looking at the clock."""

PENDING_POINTS = 2_000_000
"""At most so many points wait for the members; beyond, the oldest are forgotten."""

N_CLEAR, SINCE, IN_ALARM, SPOKE, BELIEVED_UNTIL, RUN, DOUBTED, LASTED, SOMETHING, NOTHING = range(10)
PRESENT = (SINCE, IN_ALARM, SPOKE, BELIEVED_UNTIL, RUN, DOUBTED, LASTED)
"""Of a course, what is about now and no habit."""


@njit(cache=True, nogil=True)
def _hear(said, hits, rate, course, seconds, step, score, opinions, factor):
    """The factor on the core's threshold at each point, learning whom to believe and what to doubt."""
    heard = HEARD_STEPS * step + 0.5
    told = len(opinions) > 0
    for row in range(score.shape[0]):
        for t in range(score.shape[1]):
            now, s = seconds[t], score[row, t]
            factor[row, t] = 1.0
            if np.isfinite(s):
                factor[row, t] = _doubt(course, row, now, step, heard, s)
                _see(course, row, now, step, s, factor[row, t])
                if course[row, SINCE] > 0.0 and now - course[row, SINCE] >= heard:
                    _reckon(said, hits, course, row, heard)
                if s > CLEAR and course[row, SINCE] == 0.0:
                    course[row, SINCE] = now
            if told:
                _listen(said, hits, rate, course, row, now, heard, opinions[:, row, t])


@njit(cache=True, inline="always")
def _doubt(course, row, now, step, heard, s):
    """1, or the factor by which the core has to say more to be believed."""
    course[row, RUN] = course[row, RUN] + 1.0 if s > 1.0 else 0.0
    if (
        course[row, NOTHING] == 0.0
        or course[row, IN_ALARM] > 0.0
        or course[row, RUN] >= LASTS
        or step > LONGEST_STEP_SECONDS
        or now - course[row, SPOKE] > heard
        or now <= course[row, BELIEVED_UNTIL]
    ):
        return 1.0
    known = course[row, NOTHING] + course[row, SOMETHING]
    return 1.0 + (DOUBT - 1.0) * course[row, NOTHING] / (known + PRIOR)


@njit(cache=True, inline="always")
def _see(course, row, now, step, s, factor):
    """Follow what a doubtful alarm of the core comes to."""
    if course[row, DOUBTED] > 0.0:
        # Of the steps after the first; one that grew need not last.
        course[row, LASTED] += 1.0 if s > 1.0 else 0.0
        course[row, LASTED] += LASTS if s > GROWN else 0.0
        if now - course[row, DOUBTED] >= SEEN_STEPS * step + 0.5:
            something = course[row, LASTED] >= LASTS or now <= course[row, BELIEVED_UNTIL]
            course[row, SOMETHING if something else NOTHING] += 1.0
            if course[row, SOMETHING] + course[row, NOTHING] > REMEMBERED:
                course[row, SOMETHING] *= 0.5
                course[row, NOTHING] *= 0.5
            course[row, DOUBTED] = 0.0
    elif 1.0 < s <= GROWN and course[row, IN_ALARM] == 0.0:
        course[row, DOUBTED], course[row, LASTED] = now, 0.0
    course[row, IN_ALARM] = 1.0 if s > factor else 0.0


@njit(cache=True)
def _reckon(said, hits, course, row, heard):
    """Count who confirmed a clear alarm, now that everyone has had the time to."""
    course[row, N_CLEAR] += 1.0
    for m in range(said.shape[1]):
        # What it said just before was still heard when the alarm came.
        confirmed = said[row, m] > 0.0 and said[row, m] >= course[row, SINCE] - heard
        hits[row, m] += 1.0 if confirmed else 0.0
    course[row, SINCE] = 0.0


@njit(cache=True)
def _listen(said, hits, rate, course, row, now, heard, opinions):
    """What the members say of one point."""
    for m in range(len(opinions)):
        if np.isfinite(opinions[m]):
            course[row, SPOKE] = max(course[row, SPOKE], now)
            unusual = opinions[m] > RAISED
            if unusual:
                said[row, m] = max(said[row, m], now)
                if rate[row, m] < OFTEN and (hits[row, m] + 1.0) / (course[row, N_CLEAR] + 2.0) >= ENOUGH:
                    course[row, BELIEVED_UNTIL] = max(course[row, BELIEVED_UNTIL], now + heard)
            rate[row, m] += ((1.0 if unusual else 0.0) - rate[row, m]) / RATE_MEMORY


@njit(cache=True, nogil=True)
def _listen_to_all(said, hits, rate, course, seconds, step, opinions):
    heard = HEARD_STEPS * step + 0.5
    for row in range(len(course)):
        for t in range(len(seconds)):
            _listen(said, hits, rate, course, row, seconds[t], heard, opinions[:, row, t])


class CouncilDetector(RowArrays):
    """The detector `council`; see the module's docstring.

    `members`: detectors by name. Until `put_aside` they judge with the core, so that the same columns
    give the same answers; from then on only in `work`. State 176 bytes a series beside theirs.
    """

    def __init__(self, members: Mapping[str, Detector], budget_per_month: float, step_seconds: float) -> None:
        n = len(members)
        super().__init__(
            {
                "said": ((n,), np.float64),
                "hits": ((n,), np.float32),
                "rate": ((n,), np.float32),
                "course": ((10,), np.float64),
            }
        )
        self.core = EnsembleDetector(budget_per_month, step_seconds)
        self.calibrator = self.core.calibrator
        self.members = dict(members)
        self.forgotten_points = 0
        self._step_seconds = step_seconds
        self._aside = False
        self._pending: deque[SeriesBatch] = deque()
        self._last_ms = np.zeros(1, dtype=np.int64)

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows, with all members."""
        super().resize(n_rows)
        self.core.resize(n_rows)
        for member in self.members.values():
            member.resize(n_rows)
            member.calibrator.resize(n_rows)

    def reset(self, rows: RowArray) -> None:
        """Forget what anyone learnt of these rows."""
        super().reset(rows)
        self.core.reset(rows)
        for member in self.members.values():
            member.reset(rows)
            member.calibrator.reset(rows)
        self._pending.clear()  # They may speak of the series that are gone.

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Let the core and all members adopt; see `Detector.adopt`."""
        self.copy_rows(rows, donors)
        self.arrays["said"][rows] = 0.0
        self.arrays["course"][rows[:, None], PRESENT] = 0.0
        self.core.adopt(rows, donors, now_ms)
        for member in self.members.values():
            member.adopt(rows, donors, now_ms)

    def borrow(self, rows: RowArray, elders: RowArray, now_ms: int) -> RowArray:
        """Let the core's young rows start with what elders share; see `EnsembleDetector.borrow`."""
        return self.core.borrow(rows, elders, now_ms)

    def judge(self, batch: SeriesBatch) -> Judged:
        """Judge and learn the columns in order of time; see `Detector.judge`."""
        found = self.core.judge(batch)
        if self._aside:
            self._put_off(batch)
            opinions = np.empty((0, *batch.values.shape))
        else:
            opinions = self._opinions(batch)
        factor = np.empty(found.score.shape)
        seconds = batch.timestamps / 1000.0
        _hear(*self._arrays(), seconds, self._step_seconds, found.score, opinions, factor)
        if (factor == 1.0).all():
            return found
        shape = None if found.shape is None else np.where(found.score > factor, found.shape, np.int8(0))
        return replace(
            found,
            score=found.score / factor,
            lower=found.yhat - (found.yhat - found.lower) * factor,
            upper=found.yhat + (found.upper - found.yhat) * factor,
            shape=shape,
        )

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What the core expects of other times; see `Detector.expect`."""
        return self.core.expect(timestamps)

    def settle(self, rows: RowArray) -> None:
        """Let the core settle; see `Settler`."""
        self.core.settle(rows)

    def put_aside(self, trainer: Executor) -> None:
        """From now on members judge in `work` only, and fit in `trainer`."""
        self._aside = True
        for member in self.members.values():
            if isinstance(member, WorksBeside):
                member.put_aside(trainer)

    def work(self, seconds: float) -> int:
        """Let members judge what waits, for about so long; how many columns they did."""
        until = time.monotonic() + seconds
        done = 0
        while self._pending and time.monotonic() < until:
            batch = self._pending.popleft()
            n = max(PIECE_POINTS // max(batch.n_series, 1), 1)
            if batch.n_steps > n:
                self._pending.appendleft(
                    replace(batch, timestamps=batch.timestamps[n:], values=batch.values[:, n:])
                )
                batch = replace(batch, timestamps=batch.timestamps[:n], values=batch.values[:, :n])
            self._ask(batch)
            done += batch.n_steps
        return done

    def state(self) -> dict[str, NDArray[Any]]:
        """The council's arrays, the core's and the members'."""
        state = super().state() | {"last_ms": self._last_ms}
        state |= {f"core.{name}": array for name, array in self.core.state().items()}
        for who, member in self.members.items():
            for part, of in (("detector", member), ("calibrator", member.calibrator)):
                state |= {f"{who}.{part}.{name}": array for name, array in of.state().items()}
        return state

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave. Raises: ModelError."""
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        own: dict[str, NDArray[Any]] = {}
        for name, array in state.items():
            who, dot, rest = name.partition(".")
            if dot:
                parts.setdefault(who, {})[rest] = array
            else:
                own[name] = array
        if set(parts) != {"core", *self.members}:
            raise ModelError(f"state is of {sorted(parts)}, the council is {sorted(self.members)}")
        self.core.restore(parts["core"])
        for who, member in self.members.items():
            for part, of in (("detector", member), ("calibrator", member.calibrator)):
                prefix = f"{part}."
                of.restore({n.removeprefix(prefix): a for n, a in parts[who].items() if n.startswith(prefix)})
        last_ms = own.pop("last_ms", np.empty(0))
        if last_ms.shape != (1,):
            raise ModelError("state lacks the time of the council's last step")
        self._last_ms = np.array(last_ms)
        super().restore(own)
        rows = {self.core.n_rows, *(m.n_rows for m in self.members.values())}
        rows |= {m.calibrator.n_rows for m in self.members.values()}
        if rows != {self.n_rows}:
            raise ModelError(f"members differ in rows: {sorted(rows)}")
        return self

    def _opinions(self, batch: SeriesBatch) -> FloatArray:
        """What each member says of the columns, (members, N, T); they learn them."""
        opinions = np.empty((len(self.members), *batch.values.shape))
        for first, end, part in self._hours(batch):
            for at, member in enumerate(self.members.values()):
                opinions[at, :, first:end] = member.judge(part).score
        return opinions

    def _put_off(self, batch: SeriesBatch) -> None:
        self._pending.append(replace(batch, values=batch.values.copy()))
        waiting = sum(one.values.size for one in self._pending)
        while waiting > PENDING_POINTS and self._pending:
            oldest = self._pending.popleft()
            waiting -= oldest.values.size
            self.forgotten_points += oldest.values.size

    def _ask(self, batch: SeriesBatch) -> None:
        """Let every member judge some columns, and hear what they say."""
        now = self._of_now(batch)
        opinions = self._opinions(now)
        _listen_to_all(*self._arrays(), now.timestamps / 1000.0, self._step_seconds, opinions)

    def _hours(self, batch: SeriesBatch) -> Iterator[tuple[int, int, SeriesBatch]]:
        """The columns in parts that hold no two hours; the members' pools are renewed between."""
        for first, end, new_hour in segments(batch.timestamps, int(self._last_ms[0]) or None):
            if new_hour:
                for member in self.members.values():
                    member.calibrator.renew_pool()
            part = replace(batch, timestamps=batch.timestamps[first:end], values=batch.values[:, first:end])
            yield first, end, part
            self._last_ms[0] = batch.timestamps[end - 1]

    def _of_now(self, batch: SeriesBatch) -> SeriesBatch:
        """The columns with a row for each series that came since."""
        missing = self.n_rows - batch.n_series
        if not missing:
            return batch
        values = np.concatenate([batch.values, np.full((missing, batch.n_steps), np.nan)])
        return replace(batch, values=values, labels=batch.labels + (GONE,) * missing)
