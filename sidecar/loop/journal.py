"""What became of every anomaly: a sink that remembers events, so that the next one can be compared."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from sidecar.durable import UNREADABLE, replace_file, why_unreadable
from sidecar.loop.severity import QUIET_STEPS
from sidecar.loop.taste import COURSE, VALUE
from sidecar.series import Evaluation, FloatArray, LabelSet
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # numba is imported in the worker that publishes.
    from sidecar.engine.explain import Chronicle

EVENTS_A_QUERY = 500
BEGUN_A_STEP = 50
"""When a whole fleet breaks, the worst are remembered; more of the same teach nothing."""

FORMAT = 1
TAIL_SECONDS = 4
"""Column of a tail (`engine.explain.Chronicle`) that says how long a series was judged."""
LONGEST_STEP_SECONDS = 3600.0
"""After an outage the time in between was not watched."""
UNRESOLVED_MS = 3_600_000
"""What is unusual so long after it was last seen so is another event."""


class AnomalyEvent(msgspec.Struct):
    """One anomaly of one series; times int64 ms, `shape` as `engine.explain.shape_of` gives it."""

    query: str
    labels: dict[str, str]
    started_ms: int
    peak: float
    direction: int
    shape: list[float] = []
    ended_ms: int | None = None
    outcome: str = "open"  # open | came back | accepted as the new normal | the series went away
    kind: str = VALUE
    """`course` while only the course of the series was unusual, no value of it."""


@dataclass
class Page:
    """What is remembered of one query."""

    chronicle: Chronicle
    evaluation: Evaluation
    step_ms: int = 0
    open: dict[int, AnomalyEvent] = field(default_factory=dict)
    begun_at: dict[int, int] = field(default_factory=dict)
    """Number of the step at which the open event of a row began."""
    quiet: dict[int, int] = field(default_factory=dict)
    past: deque[AnomalyEvent] = field(default_factory=lambda: deque(maxlen=EVENTS_A_QUERY))
    known_tails: dict[LabelSet, list[float]] = field(default_factory=dict)
    """Tails read from disk whose series has not been seen yet."""
    unresolved: dict[LabelSet, AnomalyEvent] = field(default_factory=dict)
    """Events that were open in an earlier process, or by another model, until their series is seen."""
    unresolved_until_ms: int = 0
    _fingerprints: tuple[tuple[LabelSet, ...], dict[str, int]] = ((), {})

    def row_of(self, fingerprint: str) -> int:
        """The row of a series; those with an open event are found at once. Raises: KeyError."""
        labels = self.evaluation.labels
        for row in self.open:
            if labels[row].fingerprint() == fingerprint:
                return row
        if self._fingerprints[0] is not labels:
            self._fingerprints = labels, {one.fingerprint(): row for row, one in enumerate(labels)}
        return self._fingerprints[1][fingerprint]


class _Saved(msgspec.Struct):
    format: int
    query: str
    labels: list[list[tuple[str, str]]]
    past: list[AnomalyEvent]
    open: list[AnomalyEvent] = []
    at_ms: int = 0


class Journal:
    """Takes every evaluation; may be asked and fed from any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pages: dict[str, Page] = {}
        self._learnt: dict[str, dict[LabelSet, list[float]]] = {}
        self._files: dict[str, tuple[_Saved, FloatArray] | None] = {}
        """What was read of a query's file before its page was opened."""
        self._lock = threading.Lock()
        self._log = get_logger("journal")

    def publish(self, evaluation: Evaluation) -> None:
        """Remember one evaluation."""
        from sidecar.engine.explain import changed_rows, deviations, flagged

        with self._lock:
            page = self._pages.get(evaluation.query)
            if page is None:
                page = self._pages[evaluation.query] = self._opened(evaluation)
            elif len(evaluation.labels) < page.chronicle.n_rows:
                # Rows never go away, so this is another model: it was learnt anew.
                page = self._pages[evaluation.query] = _renewed(page, evaluation)
            before, page.evaluation = page.evaluation, evaluation
            chronicle = page.chronicle
            changed = []
            if before.labels is not evaluation.labels:
                changed = changed_rows(before.labels, evaluation.labels)
                for row in changed:
                    self._end(page, row, "the series went away")
                chronicle.reset(np.array(changed, dtype=np.int64))
            known = chronicle.n_rows
            chronicle.resize(len(evaluation.labels))
            self._recall(page, [*changed, *range(known, chronicle.n_rows)])
            elapsed_ms = evaluation.timestamp_ms - before.timestamp_ms
            page.step_ms = round(evaluation.step_seconds * 1000) or elapsed_ms
            chronicle.observe(
                evaluation.actual,
                deviations(evaluation.actual, evaluation.expected, evaluation.lower, evaluation.upper),
                evaluation.anomaly_score,
                min(max(elapsed_ms / 1000, 0.0), LONGEST_STEP_SECONDS),
            )
            now_flagged = flagged(evaluation.anomaly_score)
            if page.unresolved:
                self._resolve(page, now_flagged)
            self._follow(page, now_flagged)

    def learn(self, query: str, labels: Sequence[LabelSet], tails: FloatArray) -> None:
        """Take what a model that was learnt anew said of the past: how rare scores are, by series.

        Of that and of what an earlier process saw, what is longer counts.
        """
        known = {
            one: tail for one, tail in zip(labels, tails.tolist(), strict=True) if tail[TAIL_SECONDS] > 0
        }
        with self._lock:
            if query not in self._pages:
                self._learnt[query] = known

    def begun(self, query: str, now_ms: float) -> dict[LabelSet, int]:
        """Since when series are anomalous (ms), of those that were so within an hour, in any process."""
        with self._lock:
            page = self._pages.get(query)
            if page is None:
                saved = self._files[query] = self._read(query)
                if saved is None or now_ms > saved[0].at_ms + UNRESOLVED_MS:
                    return {}
                return {LabelSet(one.labels): one.started_ms for one in saved[0].open}
            late = now_ms > page.unresolved_until_ms
            lasting = [*page.open.values(), *(() if late else page.unresolved.values())]
            return {LabelSet(one.labels): one.started_ms for one in lasting}

    def retire(self, query: str) -> None:
        """Forget a query that is no longer watched."""
        with self._lock:
            self._files.pop(query, None)
            self._pages.pop(query, None)
            self._learnt.pop(query, None)

    def read(self, look: Callable[[dict[str, Page]], object]) -> object:
        """What `look` finds in the pages, with nobody writing meanwhile."""
        with self._lock:
            return look(self._pages)

    def save(self) -> None:
        """Write every query's memory beside its model.

        Raises: OSError where a file cannot be written, when all others are.
        """
        with self._lock:
            pages = {
                name: (
                    page.evaluation,
                    page.chronicle.arrays["tail"].copy(),
                    list(page.past),
                    [
                        msgspec.structs.replace(one)
                        for one in (*page.open.values(), *page.unresolved.values())
                    ],
                )
                for name, page in self._pages.items()
            }
        self.directory.mkdir(parents=True, exist_ok=True)
        trouble: OSError | None = None
        for name, (evaluation, tail, past, still_open) in pages.items():
            labels = evaluation.labels
            pairs = [list(one.pairs) for one in labels]
            saved = _Saved(FORMAT, name, pairs, past, still_open, evaluation.timestamp_ms)
            header = np.frombuffer(msgspec.json.encode(saved), dtype=np.uint8)
            try:
                replace_file(self._file(name), partial(np.savez, header=header, tail=tail[: len(labels)]))
            except OSError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _file(self, query: str) -> Path:
        return self.directory / f"{query}.events"

    def _opened(self, evaluation: Evaluation) -> Page:
        """A page for a query that is seen for the first time, with what an earlier process remembered."""
        from sidecar.engine.explain import Chronicle

        page = Page(Chronicle(), evaluation, known_tails=self._learnt.pop(evaluation.query, {}))
        name = evaluation.query
        found = self._files.pop(name) if name in self._files else self._read(name)
        if found is not None:
            saved, tail = found
            page.past.extend(saved.past)
            page.unresolved = {LabelSet(one.labels): one for one in saved.open}
            page.unresolved_until_ms = saved.at_ms + UNRESOLVED_MS
            for pairs, row in zip(saved.labels, tail.tolist(), strict=True):
                learnt = page.known_tails.get(LabelSet(pairs))
                if learnt is None or row[TAIL_SECONDS] >= learnt[TAIL_SECONDS]:
                    page.known_tails[LabelSet(pairs)] = row
        return page

    def _read(self, query: str) -> tuple[_Saved, FloatArray] | None:
        """What an earlier process remembered of a query; None where there is nothing that can be used."""
        try:
            with self._file(query).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                saved = msgspec.json.decode(file["header"].tobytes(), type=_Saved)
                tail = file["tail"]
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            path = str(self._file(query))
            self._log.warning("past events set aside", query=query, path=path, err=why_unreadable(error))
            return None
        if saved.format == FORMAT and saved.query == query and tail.shape == (len(saved.labels), 5):
            return saved, tail
        words = "it is of another version of pronoia, or of another query"
        self._log.warning("past events set aside", query=query, path=str(self._file(query)), err=words)
        return None

    def _recall(self, page: Page, rows: list[int]) -> None:
        """Give series that are new in this process the tail that is known of them."""
        if page.known_tails:
            for row in rows:
                known = page.known_tails.pop(page.evaluation.labels[row], None)
                if known is not None:
                    page.chronicle.arrays["tail"][row] = known

    def _resolve(self, page: Page, flagged: np.ndarray) -> None:
        """Go on with events that were open elsewhere, or end them, as soon as their series is seen."""
        evaluation = page.evaluation
        late = evaluation.timestamp_ms > page.unresolved_until_ms
        rows = {one: row for row, one in enumerate(evaluation.labels) if one in page.unresolved}
        for labels, event in list(page.unresolved.items()):
            row = rows.get(labels)
            seen = row is not None and bool(np.isfinite(evaluation.actual[row]))
            if not seen and not late:
                continue
            del page.unresolved[labels]
            if row is not None and seen and flagged[row] and not late:
                page.open[row] = event
                page.begun_at[row], page.quiet[row] = page.chronicle.n_steps - 1, 0
                continue
            event.outcome = "came back" if seen else "the series went away"
            event.ended_ms = evaluation.timestamp_ms
            page.past.append(event)

    def _follow(self, page: Page, flagged: np.ndarray) -> None:
        """Begin, continue and end events."""
        evaluation, step = page.evaluation, page.chronicle.n_steps - 1
        score = np.nan_to_num(evaluation.anomaly_score)
        for row, event in list(page.open.items()):
            page.quiet[row] = 0 if flagged[row] else page.quiet[row] + 1
            event.peak = max(event.peak, float(score[row]))
            if flagged[row] and _kind(evaluation, row) == VALUE:
                event.kind = VALUE
            self._draw(page, row)
            if evaluation.accepted is not None and evaluation.accepted[row]:
                self._end(page, row, "accepted as the new normal")
            elif page.quiet[row] >= QUIET_STEPS:
                gone = not np.isfinite(evaluation.actual[row])
                self._end(page, row, "the series went away" if gone else "came back")
        if evaluation.accepted is not None:
            flagged = flagged & ~evaluation.accepted
        begun = np.flatnonzero(flagged)
        begun = begun[np.argsort(-score[begun], kind="stable")][:BEGUN_A_STEP]
        for row in begun.tolist():
            if row not in page.open:
                labels, direction = evaluation.labels[row], int(evaluation.direction[row])
                page.open[row] = AnomalyEvent(
                    evaluation.query,
                    dict(labels.pairs),
                    evaluation.timestamp_ms,
                    float(score[row]),
                    direction,
                    kind=_kind(evaluation, row),
                )
                page.begun_at[row], page.quiet[row] = step, 0
                self._draw(page, row)

    def _draw(self, page: Page, row: int) -> None:
        """Renew the shape of an open event, until it is as long as shapes are."""
        from sidecar.engine.explain import LEAD_STEPS, SHAPE_STEPS, shape_of

        event = page.open[row]
        if len(event.shape) < LEAD_STEPS + SHAPE_STEPS:
            age = page.chronicle.n_steps - 1 - page.begun_at[row]
            event.shape = shape_of(page.chronicle.recent(row)[0], age).round(3).tolist()

    def _end(self, page: Page, row: int, outcome: str) -> None:
        event = page.open.pop(row, None)
        if event is not None:
            event.outcome, event.ended_ms = outcome, page.evaluation.timestamp_ms
            page.past.append(event)
            del page.quiet[row], page.begun_at[row]


def _kind(evaluation: Evaluation, row: int) -> str:
    """What is unusual of a flagged row: its value, or its course alone."""
    if evaluation.shape is None or not evaluation.shape[row]:
        return VALUE
    outside = evaluation.actual[row] < evaluation.lower[row] or evaluation.actual[row] > evaluation.upper[row]
    return VALUE if outside else COURSE


def last_event(journal: Journal, query: str, fingerprint: str) -> tuple[LabelSet, int, str]:
    """Labels, beginning (ms) and kind of the open or else the newest anomaly of a series.

    Raises: KeyError where there is no such query or series, or it had none.
    """
    found: list[tuple[LabelSet, int, str]] = []

    def look(pages: dict[str, Page]) -> None:
        page = pages[query]
        row = page.row_of(fingerprint)
        labels = page.evaluation.labels[row]
        past = [one for one in page.past if one.labels == dict(labels.pairs)]
        event = page.open.get(row) or (past[-1] if past else None)
        if event is None:
            raise KeyError(fingerprint)
        found.append((labels, event.started_ms, event.kind))

    journal.read(look)
    return found[0]


def _renewed(page: Page, evaluation: Evaluation) -> Page:
    """A page for the same query with other rows: past events and tails are kept."""
    from sidecar.engine.explain import Chronicle

    tails = page.chronicle.arrays["tail"].tolist()
    known = dict(zip(page.evaluation.labels, tails, strict=True))
    still_open = {page.evaluation.labels[row]: event for row, event in page.open.items()}
    return Page(
        Chronicle(),
        evaluation,
        past=page.past,
        known_tails=known,
        unresolved={**page.unresolved, **still_open},
        unresolved_until_ms=page.evaluation.timestamp_ms + UNRESOLVED_MS,
    )
