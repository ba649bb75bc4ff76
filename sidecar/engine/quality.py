"""How good a query's data are for judging it: gaps, flat and quantised series, resets, staleness, history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.arrays import RowArrays, measurements
from sidecar.series import BoolArray, FloatArray

FADE_POINTS = 2880.0
"""Counts are halved when a series reaches so many points, so that what was mended is forgotten."""

LEAST_POINTS = 30
"""A series that was seen less often is not called flat, quantised or a counter."""

STALE_STEPS = 5
FULL_HISTORY_SECONDS = 3 * 86400.0
QUANTUM_SHARE = 0.2
COUNTER_DROPS = 0.02
"""A series that rises, and falls at most at this share of its changes, is a counter that is reset."""

RECENT_PACE = 1.0 / 60.0
"""Pace at which it is forgotten how often a series was renewed lately: two hours at steps of a minute."""

OTHER_INTERVAL = 1.6
"""A series renewed so many times more or less often than before has another scrape interval."""

RARELY = 0.9
"""Where more points than this repeat, how often a series is renewed cannot be told."""

(_SEEN, _MISSING, _HOLES, _REPEATS, _RISES, _DROPS, _MOVED, _QUANTUM, _LAST, _SINCE, _POINTS, _RECENT) = (
    range(12)
)
_COUNTS = [_SEEN, _MISSING, _HOLES, _REPEATS, _RISES, _DROPS, _MOVED]


@dataclass(frozen=True)
class Finding:
    """One thing that makes judgements worse, how much of the query it concerns, and what to do."""

    kind: str
    share: float
    words: str
    remedy: str


@dataclass(frozen=True)
class Quality:
    """What was found; `score` is 1 for data that nothing is wrong with, 0 for useless ones."""

    n_series: int
    score: float
    gap_ratio: float
    """Points missing between points that were there."""
    repeat_ratio: float
    """Points equal to the one before."""
    flat_series: int
    quantised_series: int
    counter_series: int
    stale_series: int
    young_series: int
    interval_series: int = 0
    """Renewed more or less often than before."""
    series_ratio: float | None = None
    """Series that are there now by the query's limit, where that is known."""
    findings: tuple[Finding, ...] = ()


class DataQuality(RowArrays):
    """Counts over a query's series, online, however many columns come at once; 96 bytes a series."""

    def __init__(self, step_seconds: float) -> None:
        super().__init__({"counts": ((12,), np.float64)})
        self.step_seconds = step_seconds
        self._n_now = 0

    def observe(self, values: FloatArray) -> None:
        """Take columns in order of time, (n_rows, T), NaN where a series has nothing."""
        counts = self.arrays["counts"]
        values = measurements(values)  # Of what is none, sums would be infinite for ever.
        n_steps = values.shape[1]
        seen = np.isfinite(values)
        self._n_now = int(seen[:, -1].sum()) if n_steps else self._n_now
        before_any = counts[:, _POINTS] == 0
        last = np.where(before_any, np.nan, counts[:, _LAST])
        columns = np.arange(n_steps, dtype=np.float64)
        # The column of the newest point before each; before this batch that many steps ago.
        at = np.maximum.accumulate(np.where(seen, columns, -np.inf), axis=1)
        start = np.where(before_any, np.nan, -1.0 - counts[:, _SINCE])
        previous = np.concatenate(
            [start[:, None], np.where(np.isfinite(at), at, start[:, None])[:, :-1]], axis=1
        )
        distance = np.where(seen, columns - previous, np.nan)
        holes = distance > 1.5
        filled = np.concatenate([last[:, None], values], axis=1)
        source = np.where(np.isfinite(previous) & (previous >= 0), previous + 1, 0).astype(np.int64)
        with np.errstate(invalid="ignore"):
            change = values - np.take_along_axis(filled, source, axis=1)
            size = np.abs(change)
            counts[:, _SEEN] += seen.sum(axis=1)
            counts[:, _POINTS] += seen.sum(axis=1)
            counts[:, _HOLES] += holes.sum(axis=1)
            counts[:, _MISSING] += np.where(holes, distance - 1.0, 0.0).sum(axis=1)
            counts[:, _REPEATS] += (change == 0).sum(axis=1)
            counts[:, _RISES] += (change > 0).sum(axis=1)
            counts[:, _DROPS] += (change < 0).sum(axis=1)
            counts[:, _MOVED] += np.nan_to_num(size, posinf=0.0).sum(axis=1)
            smallest = np.where(size > 0, size, np.inf).min(axis=1, initial=np.inf)
        _fade_in(counts, change)
        old = np.where(counts[:, _QUANTUM] > 0, counts[:, _QUANTUM], np.inf)
        quantum = np.minimum(old, smallest)
        counts[:, _QUANTUM] = np.where(np.isfinite(quantum), quantum, 0.0)
        any_seen = seen.any(axis=1)
        newest = np.where(any_seen, n_steps - 1 - seen[:, ::-1].argmax(axis=1), 0)
        counts[:, _LAST] = np.where(any_seen, values[np.arange(len(values)), newest], counts[:, _LAST])
        counts[:, _SINCE] = np.where(any_seen, n_steps - 1 - newest, counts[:, _SINCE] + n_steps)
        full = np.flatnonzero(counts[:, _SEEN] > FADE_POINTS)
        counts[full[:, None], _COUNTS] /= 2.0

    def assess(self, *, max_series: int | None = None) -> Quality:
        """The query's quality now; `max_series` is its limit, where it has one."""
        c = self.arrays["counts"]
        c = c[c[:, _POINTS] > 0]
        n = len(c)
        if not n:
            nothing = Finding("empty", 1.0, "there are no series", "check the expression on your Prometheus")
            return Quality(0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, findings=(nothing,))
        known = c[:, _SEEN] >= LEAST_POINTS
        changes = c[:, _RISES] + c[:, _DROPS]
        with np.errstate(invalid="ignore", divide="ignore"):
            repeats = c[:, _REPEATS] / np.maximum(c[:, _REPEATS] + changes, 1.0)
            mean_move = c[:, _MOVED] / np.maximum(changes, 1.0)
        renewed, lately = 1.0 - repeats, 1.0 - c[:, _RECENT]
        marks = {
            "flat": known & (repeats > 0.999),
            "quantised": known
            & (changes > 10)
            & (repeats > 0.05)
            & (c[:, _QUANTUM] > QUANTUM_SHARE * mean_move),
            "counter": known & (c[:, _RISES] > 20) & (c[:, _DROPS] <= COUNTER_DROPS * changes),
            "slow": known & (repeats > 0.3) & (repeats <= 0.9),
            "stale": c[:, _SINCE] >= STALE_STEPS,
            "young": c[:, _POINTS] * self.step_seconds < FULL_HISTORY_SECONDS,
            "interval": known
            & (c[:, _SEEN] * RECENT_PACE > 4.0)
            & (np.minimum(renewed, lately) > 1.0 - RARELY)
            & (np.maximum(renewed, lately) > OTHER_INTERVAL * np.minimum(renewed, lately)),
        }
        # Counts and states repeat by nature; only what moves freely shows how often it is renewed.
        for kind in ("slow", "interval"):
            marks[kind] &= ~marks["quantised"] & ~marks["counter"]
        gaps = float(c[:, _MISSING].sum() / max(c[:, _MISSING].sum() + c[:, _SEEN].sum(), 1.0))
        findings = self._findings(marks, gaps, repeats, c[:, _RECENT])
        if max_series is not None and self._n_now > 0.8 * max_series:
            findings.append(
                Finding(
                    "cardinality",
                    self._n_now / max_series,
                    f"{self._n_now} series, the limit is {max_series}",
                    "aggregate, narrow the selectors, or raise max_series",
                )
            )
        score = float(np.prod([1.0 - _WEIGHTS[one.kind] * min(one.share, 1.0) for one in findings]))
        return Quality(
            n_series=n,
            score=round(score, 3),
            gap_ratio=gaps,
            repeat_ratio=float(repeats.mean()),
            flat_series=int(marks["flat"].sum()),
            quantised_series=int(marks["quantised"].sum()),
            counter_series=int(marks["counter"].sum()),
            stale_series=int(marks["stale"].sum()),
            young_series=int(marks["young"].sum()),
            interval_series=int(marks["interval"].sum()),
            series_ratio=self._n_now / max_series if max_series is not None else None,
            findings=tuple(findings),
        )

    def _findings(
        self, marks: dict[str, BoolArray], gaps: float, repeats: FloatArray, recent: FloatArray
    ) -> list[Finding]:
        found = []
        if gaps > 0.01:
            words = f"{gaps:.1%} of the points are missing between others"
            found.append(Finding("gaps", gaps, words, "look at failed scrapes: up, scrape_duration_seconds"))
        for kind, (words, remedy) in _WORDS.items():
            share = float(marks[kind].mean())
            if share < _LEAST_SHARE.get(kind, 0.05):
                continue
            if kind in ("slow", "interval"):
                words = f"{words}: about every {self._every(repeats[marks[kind]])} s"
            if kind == "interval":
                words += f" before, every {self._every(recent[marks[kind]])} s now"
            found.append(Finding(kind, share, f"{share:.0%} of the series {words}", remedy))
        return found

    def _every(self, repeats: FloatArray) -> str:
        """Seconds between renewals, from the share of points that repeat the one before."""
        every = self.step_seconds / (1.0 - float(np.median(repeats)))
        return f"{round(every, -1 if every > 100 else 0):.0f}"


def _fade_in(counts: FloatArray, change: FloatArray) -> None:
    """Follow how often points repeated the one before lately; NaN where there is none before."""
    known = np.isfinite(change)
    later = known[:, ::-1].cumsum(axis=1)[:, ::-1] - known
    weights = np.where(known, RECENT_PACE * (1.0 - RECENT_PACE) ** later, 0.0)
    counts[:, _RECENT] *= (1.0 - RECENT_PACE) ** known.sum(axis=1)
    counts[:, _RECENT] += (weights * (change == 0)).sum(axis=1)


_WORDS = {
    "flat": ("never change", "leave them out, or watch their absence only"),
    "quantised": ("move in few, large steps", "a rate over a longer range is smoother"),
    "counter": ("only ever rise: they are counters", "wrap them in rate() or increase()"),
    "slow": ("are renewed more rarely than they are judged", "make the step at least that long"),
    "interval": (
        "are renewed in another rhythm than before",
        "if somebody changed the scrape interval: nothing; else look at scrape_duration_seconds",
    ),
    "stale": ("have stopped", "nothing, if they were replaced; else look at their targets"),
    "young": ("were seen for less than three days", "wait, or let `history` reach further back"),
}
_LEAST_SHARE = {"young": 0.5, "flat": 0.2, "stale": 0.2, "interval": 0.3}
_WEIGHTS = {
    **{"gaps": 0.8, "flat": 0.5, "quantised": 0.2, "counter": 0.8, "slow": 0.3, "stale": 0.2, "young": 0.3},
    "interval": 0.1,
    "cardinality": 0.1,
}
"""How much of the score each finding may cost where it concerns every series; judgement, not measurement."""
