"""A small picture of the series behind an incident: the alert's own expression, its threshold, its course.

Looked up and drawn when an incident is told of, off the event loop, in a bounded time; a message
that has none goes without.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from sidecar.errors import PullError
from sidecar.records import Episode, Incident
from sidecar.series import FloatArray, SeriesBatch
from sidecar.telemetry import get_logger
from webhooks.measured import Subject, worst

WIDTH, HEIGHT = 640, 240
LEFT, TOP, RIGHT, BOTTOM = 70, 34, 14, 26
BEFORE_SECONDS, MAX_SECONDS = 3600.0, 6 * 3600.0
"""Shown: an hour before the alert, six hours in all at most."""
POINTS = 160
LEAST_STEP_MS = 15_000
MAX_SERIES = 300
MAX_KEPT = 500
AT_ONCE = 4
"""Pictures that are looked up and drawn at a time; what is late goes without."""
REST_SECONDS = 30.0
"""A Prometheus that was too slow for one picture is not waited for by those that come next."""
INK, FAINT, LINE, ALARM = "#212529", "#dee2e6", "#1c7ed6", "#d9480f"


class Source(Protocol):
    """What is asked of Prometheus."""

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values at the multiples of a step, shape (N, T). Raises: PullError."""
        ...


class PictureMetrics:
    """What is told of pictures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.made = Counter(
            "pronoia_pictures_total",
            "Pictures for messages, by outcome: drawn, none (no expression, or no series), error, late.",
            ["result"],
            registry=registry,
        )
        for result in ("drawn", "none", "error", "late"):
            self.made.labels(result)


class Pictures:
    """Holds the newest picture of each incident that was told of lately."""

    def __init__(
        self,
        *,
        enabled: bool,
        timeout_seconds: float,
        episodes: Callable[[str], Awaitable[list[Episode]]],
        draw: Callable[[Subject, SeriesBatch, int], Awaitable[bytes]],
        metrics: PictureMetrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._enabled = enabled
        self._timeout = timeout_seconds
        self._episodes = episodes
        self._draw = draw
        self._metrics = metrics
        self._now = now
        self._source: Source | None = None
        self._not_before = 0.0
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._made: dict[str, bytes] = {}
        self._log = get_logger("pictures")

    def ask(self, source: Source | None) -> None:
        """Whom to ask from now on."""
        self._source = source

    def of(self, incident_id: str) -> bytes | None:
        """The PNG of an incident; None where there is none."""
        return self._made.get(incident_id)

    async def prepare(self, incidents: Iterable[Incident]) -> None:
        """Draw incidents that have no picture yet, in the configured time."""
        source = self._source
        if source is None or not self._enabled or self._now() < self._not_before:
            return
        missing = [one for one in incidents if one.state == "open" and one.incident_id not in self._made]
        await asyncio.gather(*(self._prepare(source, incident) for incident in missing))

    async def _prepare(self, source: Source, incident: Incident) -> None:
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                outcome = await self._made_of(source, incident)
        except TimeoutError:
            self._not_before = self._now() + REST_SECONDS
            outcome = "late"
        except PullError as error:
            self._log.debug("no picture", incident=incident.incident_id, err=str(error))
            outcome = "error"
        self._metrics.made.labels(outcome).inc()

    async def _made_of(self, source: Source, incident: Incident) -> str:
        subject = subject_of(incident, await self._episodes(incident.incident_id))
        if subject is None:
            return "none"
        end_ms = int(self._now() * 1000)
        begin_ms = subject.episode.starts_at_ns // 1_000_000 - int(BEFORE_SECONDS * 1000)
        start_ms = max(begin_ms, end_ms - int(MAX_SECONDS * 1000))
        batch = await source.range(
            subject.expr,
            start_ms=start_ms,
            end_ms=end_ms,
            step_ms=max((end_ms - start_ms) // POINTS // 1000 * 1000, LEAST_STEP_MS),
            name="picture",
            max_series=MAX_SERIES,
        )
        row = worst(batch, subject)
        if row is None:
            return "none"
        self._made[incident.incident_id] = await self._draw(subject, batch, row)
        while len(self._made) > MAX_KEPT:
            del self._made[next(iter(self._made))]
        return "drawn"


def subject_of(incident: Incident, episodes: Sequence[Episode]) -> Subject | None:
    """The alert that is shown: the probable cause's, else the first to fire that has an expression."""
    cause = incident.causes[0].fingerprint if incident.causes else None
    order = sorted(episodes, key=lambda e: (e.fingerprint != cause, e.state != "firing", e.starts_at_ns))
    return next((found for one in order if (found := Subject.of(one)) is not None), None)


def png(subject: Subject, batch: SeriesBatch, row: int) -> bytes:
    """The picture of one row. Blocks for some milliseconds."""
    from PIL import Image, ImageDraw, ImageFont

    values, times = batch.values[row], batch.timestamps
    threshold = subject.comparison.threshold if subject.comparison is not None else None
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin

    def x(at_ms: float) -> float:
        span = max(float(times[-1] - times[0]), 1.0)
        return LEFT + (at_ms - float(times[0])) / span * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    for share in (0.1, 0.5, 0.9):
        value = low + share * (high - low)
        draw.line([(LEFT, y(value)), (WIDTH - RIGHT, y(value))], fill=FAINT)
        draw.text((LEFT - 6, y(value)), f"{value:.3g}", fill=INK, font=font, anchor="rm")
    begun = x(subject.episode.starts_at_ns / 1e6)
    if begun >= LEFT:
        draw.line([(begun, TOP), (begun, HEIGHT - BOTTOM)], fill=ALARM)
    if threshold is not None:
        for dash in range(LEFT, WIDTH - RIGHT, 10):
            draw.line([(dash, y(threshold)), (dash + 5, y(threshold))], fill=ALARM)
    for piece in _pieces(values):
        points = [(x(float(times[i])), y(float(values[i]))) for i in piece]
        draw.line(points if len(points) > 1 else points * 2, fill=LINE, width=2, joint="curve")
    title = " ".join(f"{_printable(subject.episode.labels.get('alertname', ''))}: {subject.expr}".split())
    draw.text((LEFT, 10), _cut(_printable(title), draw, font), fill=INK, font=font)
    for at_ms, anchor in ((times[0], "la"), (times[-1], "ra")):
        stamp = datetime.fromtimestamp(float(at_ms) / 1000, UTC).strftime("%H:%M UTC")
        draw.text((x(float(at_ms)), HEIGHT - BOTTOM + 6), stamp, fill=INK, font=font, anchor=anchor)
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def _pieces(values: FloatArray) -> Iterable[list[int]]:
    """Runs of columns that have a value: a gap is no line."""
    piece: list[int] = []
    for column, there in enumerate(np.isfinite(values)):
        if there:
            piece.append(column)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:400]


def _cut(text: str, draw: object, font: object) -> str:
    """The text as far as it fits the width."""
    width = draw.textlength  # type: ignore[attr-defined]
    while text and width(text, font=font) > WIDTH - LEFT - RIGHT:
        text = text[: int(len(text) * 0.9)].rstrip("…") + "…" if len(text) > 8 else ""
    return text
