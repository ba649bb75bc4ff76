"""A small music-streaming platform as a model: every value is a function of the series and the time.

Because nothing is drawn from a running generator, history that is written in
one go and values that are scraped live are one continuous series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sidecar.cli.demo.courses import COURSES, RELEASE
from sidecar.series import FloatArray

DAY = 86_400.0
MINUTE = 60.0
KNOT = 1_200.0  # Slow noise wanders over twenty minutes, the pace of playlists and caches.

REGION_PEAK_HOUR = {"eu": 19.0, "us": 1.0, "ap": 12.0}  # The evening of each, in UTC.
EDGE_REGION = {"fra": "eu", "iad": "us", "sin": "ap", "lhr": "eu", "ams": "eu"}
FAILING_EDGE, FAILING_REGION = "fra", "eu"


@dataclass(frozen=True, slots=True)
class Family:
    """What a metric name means: Prometheus' type and help text."""

    name: str
    type: str
    help: str


@dataclass(frozen=True, slots=True)
class Track:
    """One series: its usual level and rhythm, or, for a counter, its usual rate per second.

    `daily` and `weekly` are amplitudes as shares of the level, `noise` a
    relative standard deviation. Times of birth and death are days before the
    model's anchor. `effect` is what an incident does to it, see `Incident`.
    """

    family: Family
    labels: Mapping[str, str]
    level: float
    peak_hour: float = 19.0
    daily: float = 0.45
    weekly: float = 0.12
    noise: float = 0.03
    ceiling: float | None = None
    reset_days: float = 4.0
    born_days_ago: float | None = None
    died_days_ago: float | None = None
    effect: str = ""
    course: str = ""
    """Of a disk: how it fills, see `courses.COURSES`."""

    @property
    def counter(self) -> bool:
        """True where the value only grows, until its process restarts."""
        return self.family.type == "counter"


@dataclass(frozen=True, slots=True)
class Incident:
    """A CDN edge that fails: its errors first, then buffering of its region, then errors upstream."""

    start_seconds: float
    duration_seconds: float = 150.0

    def strength(self, effect: str, times: FloatArray) -> FloatArray:
        """How far an effect has set in at each time, 0..1. Effects reach the upstream later."""
        delay = {"edge": 0.0, "player": 20.0, "upstream": 40.0}[effect.partition(":")[0]]
        lag = delay * 0.3  # What broke last is mended soon after the cause is.
        end = self.start_seconds + self.duration_seconds
        rise = np.clip((times - self.start_seconds - delay) / 10.0, 0.0, 1.0)
        fall = np.clip((end + lag - times) / 10.0, 0.0, 1.0)
        return np.minimum(rise, fall)


FACTORS = {
    "edge:slow": 7.0,
    "edge:misses": -0.55,
    "player:buffering": 9.0,
    "player:bitrate": -0.45,
    "upstream:waits": 2.5,
}
"""Change of a gauge at full strength, as a share of its usual value."""

FAILING_SHARE = {"edge:fails": 0.35, "upstream:fails": 0.14}
"""Share of good requests that turn into errors at full strength; `…:ok` tracks lose them."""


def _families() -> dict[str, Family]:
    rows = [
        ("stream_sessions_active", "gauge", "Listening sessions that are open now."),
        ("player_buffering_ratio", "gauge", "Share of listening time that players spent waiting for data."),
        ("audio_bitrate_bits_per_second", "gauge", "Mean bit rate that players were served."),
        ("cdn_requests_total", "counter", "Requests answered by a CDN edge, by status code."),
        ("cdn_edge_response_seconds", "gauge", "Mean time to first byte at a CDN edge."),
        ("cdn_hit_ratio", "gauge", "Share of requests that an edge answered from its cache."),
        ("http_requests_total", "counter", "Requests answered by a service, by status code."),
        ("api_latency_seconds", "gauge", "Response time of the API gateway, 95th percentile."),
        ("search_latency_seconds", "gauge", "Response time of search, 95th percentile."),
        ("billing_payments_total", "counter", "Payments, by result."),
        ("disk_used_ratio", "gauge", "Used share of a service's disk."),
    ]
    return {name: Family(name, kind, text) for name, kind, text in rows}


FAMILIES = _families()


def _tracks() -> Iterator[Track]:
    def of(name: str, service: str, level: float, *, labels: dict[str, str] | None = None, **how: object):  # type: ignore[no-untyped-def]
        identity = {"service": service, "job": service, "instance": f"{service}:8080", **(labels or {})}
        return Track(FAMILIES[name], identity, level, **how)  # type: ignore[arg-type]

    for region, level in (("eu", 5200.0), ("us", 6100.0), ("ap", 3400.0)):
        peak, where = REGION_PEAK_HOUR[region], {"region": region}
        hit = region == FAILING_REGION
        release = "release" if region == RELEASE.region else ""
        yield of(
            "stream_sessions_active", "player", level, labels=where, peak_hour=peak, effect=release
        )  # fmt: skip
        yield of(
            "player_buffering_ratio", "player", 0.008, labels=where, peak_hour=peak, daily=0.25, noise=0.05,
            ceiling=1.0, effect="player:buffering" if hit else "",
        )  # fmt: skip
        yield of(
            "audio_bitrate_bits_per_second", "player", 256_000.0, labels=where, peak_hour=peak + 12,
            daily=0.06, weekly=0.02, noise=0.01, effect="player:bitrate" if hit else "",
        )  # fmt: skip
    for edge, region in EDGE_REGION.items():
        life = {"lhr": {"born_days_ago": 5.2}, "ams": {"died_days_ago": 3.4}}.get(edge, {})
        hit, peak = edge == FAILING_EDGE, REGION_PEAK_HOUR[region]
        how = {"peak_hour": peak, "reset_days": 4.3, **life}
        for code, rate, noise in (("200", 140.0, 0.03), ("404", 1.6, 0.06), ("503", 0.45, 0.08)):
            effect = {"200": "edge:ok", "503": "edge:fails"}.get(code, "") if hit else ""
            where = {"edge": edge, "region": region, "code": code}
            yield of("cdn_requests_total", "cdn", rate, labels=where, noise=noise, effect=effect, **how)
        where = {"edge": edge, "region": region}
        yield of(
            "cdn_edge_response_seconds", "cdn", 0.042, labels=where, noise=0.05,
            effect="edge:slow" if hit else "", **{**how, "daily": 0.3},
        )  # fmt: skip
        yield of(
            "cdn_hit_ratio", "cdn", 0.93, labels=where, noise=0.006, ceiling=1.0,
            effect="edge:misses" if hit else "", **{**how, "daily": 0.02, "weekly": 0.01},
        )  # fmt: skip
    services = (("api-gateway", 220.0), ("search", 60.0), ("recommendation", 85.0), ("billing", 9.0))
    for number, (service, rate) in enumerate(services):
        for code, share, noise in (("200", 1.0, 0.03), ("404", 0.02, 0.06), ("500", 0.004, 0.09)):
            effect = {"200": "upstream:ok", "500": "upstream:fails"}.get(code, "")
            yield of(
                "http_requests_total", service, rate * share, labels={"code": code}, noise=noise,
                daily=0.5 - 0.05 * number, reset_days=3.1 + 0.7 * number,
                effect=effect if service == "api-gateway" else "",
            )  # fmt: skip
    yield of("api_latency_seconds", "api-gateway", 0.11, daily=0.25, noise=0.04, effect="upstream:waits")
    yield of("search_latency_seconds", "search", 0.108, daily=0.3, noise=0.05)
    for result, rate in (("ok", 2.4), ("declined", 0.12)):
        yield of("billing_payments_total", "billing", rate, labels={"result": result},
                 peak_hour=17.0, weekly=-0.15, noise=0.06, reset_days=5.2)  # fmt: skip
    for service, course in (("search", "filling"), ("api-gateway", "rotated"), ("billing", "slowly_growing")):
        yield of("disk_used_ratio", service, 1.0, daily=0.0, weekly=0.0, noise=0.002, course=course)


@dataclass
class Platform:
    """The model, anchored at the moment the demo began: gaps, birth and death are told from there.

    `values(times)` may be asked for any time, in any order, as often as wished.
    """

    anchor_seconds: float
    seed: int = 20_240_229
    tracks: tuple[Track, ...] = field(default_factory=lambda: tuple(_tracks()))
    incident: Incident | None = None

    def values(self, times: FloatArray) -> FloatArray:
        """Value of each track at each time (unix seconds, ascending): (N, T), NaN where it has none."""
        rows = [
            self._counter(n, times) if track.counter else self._gauge(n, times)
            for n, track in enumerate(self.tracks)
        ]
        return np.where(self._present(times), np.array(rows), np.nan)

    def _gauge(self, n: int, times: FloatArray) -> FloatArray:
        track = self.tracks[n]
        value = self._usual(n, times)
        if track.course:
            value = value * COURSES[track.course]((times - self.anchor_seconds) / 3600.0)
        if track.effect == "release":
            value = value * RELEASE.factor(times - self.anchor_seconds)
        if self.incident and track.effect in FACTORS:
            value = value * (1 + FACTORS[track.effect] * self.incident.strength(track.effect, times))
        return value if track.ceiling is None else np.minimum(value, track.ceiling)

    def _usual(self, n: int, times: FloatArray) -> FloatArray:
        track = self.tracks[n]
        phase = 2 * np.pi * ((times / 3600.0 - track.peak_hour) / 24.0)
        day = 0.85 * np.cos(phase) + 0.15 * np.cos(2 * phase)
        # The epoch was a Thursday; the week's high is Saturday noon, 2.5 days later.
        week = np.cos(2 * np.pi * (times / DAY - 2.5) / 7.0)
        rhythm = (1 + track.daily * day) * (1 + track.weekly * week)
        fast = self._normal(n, 0, np.floor(times / MINUTE))
        knot = times / KNOT
        left = np.floor(knot)
        share = knot - left
        share = share * share * (3 - 2 * share)
        slow = self._normal(n, 1, left) * (1 - share) + self._normal(n, 1, left + 1) * share
        result: FloatArray = track.level * rhythm * np.exp(track.noise * (0.8 * fast + 0.6 * slow))
        return result

    def _counter(self, n: int, times: FloatArray) -> FloatArray:
        track = self.tracks[n]
        period = track.reset_days * DAY
        # Processes of one service restart together; services do not.
        began = times - np.mod(times + _stable(track.labels["service"]) * period, period)
        if track.born_days_ago is not None:
            began = np.maximum(began, self.anchor_seconds - track.born_days_ago * DAY)
        first = np.floor(min(began.min(), times.min()) / MINUTE) * MINUTE
        edges = np.arange(first, times.max() + 2 * MINUTE, MINUTE)
        total = np.concatenate([[0.0], np.cumsum(self._usual(n, edges[:-1]) * MINUTE)])
        value = np.interp(times, edges, total) - np.interp(began, edges, total)
        counted: FloatArray = np.floor(np.maximum(value + self._moved(n, times, began), 0.0))
        return counted

    def _moved(self, n: int, times: FloatArray, began: FloatArray) -> FloatArray:
        """Requests that the incident has moved from good to failed between `began` and each time."""
        track = self.tracks[n]
        kind, _, what = track.effect.partition(":")
        if self.incident is None or what not in ("ok", "fails") or times.max() < self.incident.start_seconds:
            return np.zeros_like(times)
        seconds = np.arange(self.incident.start_seconds, times.max() + 1.0)
        good = next(i for i, t in enumerate(self.tracks) if t.effect == f"{kind}:ok")
        per_second = (
            FAILING_SHARE[f"{kind}:fails"]
            * self.incident.strength(kind, seconds)
            * self._usual(good, seconds)
        )
        total = np.cumsum(per_second)
        moved = np.interp(times, seconds, total, left=0.0) - np.interp(began, seconds, total, left=0.0)
        return moved if what == "fails" else -moved

    def _present(self, times: FloatArray) -> NDArray[np.bool_]:
        ago = (self.anchor_seconds - times) / DAY
        everyone = ~((ago > 9.30) & (ago < 9.32))  # Nothing was scraped for half an hour.
        services = sorted({track.labels["service"] for track in self.tracks})
        rows = []
        for track in self.tracks:
            here = everyone.copy()
            if track.labels["service"] == "search":
                here &= ~((ago > 5.60) & (ago < 5.72))
            if track.born_days_ago is not None:
                here &= ago <= track.born_days_ago
            if track.died_days_ago is not None:
                here &= ago > track.died_days_ago
            # One scrape in a thousand was lost, but none while people watch. A scrape is lost for
            # a service as a whole: without one code only, shares of errors would be nonsense.
            lost = self._uniform(services.index(track.labels["service"]), 2, np.floor(times / MINUTE)) < 0.001
            here &= ~lost | (ago < 0.1)
            rows.append(here)
        return np.array(rows)

    def _normal(self, n: int, stream: int, cell: FloatArray) -> FloatArray:
        radius = np.sqrt(-2.0 * np.log(self._uniform(n, 4 * stream + 8, cell)))
        normal: FloatArray = radius * np.cos(2 * np.pi * self._uniform(n, 4 * stream + 9, cell))
        # A demo whose normal life holds 5-sigma minutes would need a footnote.
        clipped: FloatArray = np.clip(normal, -3.0, 3.0)
        return clipped

    def _uniform(self, n: int, stream: int, cell: FloatArray) -> FloatArray:
        """A number in (0, 1) that depends on nothing but seed, track, stream and cell (SplitMix64)."""
        key = np.uint64((self.seed * 1_000_003 + n * 8_191 + stream * 131) & 0xFFFFFFFFFFFFFFFF)
        state = (cell.astype(np.int64).astype(np.uint64) + key) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        result: FloatArray = ((state >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)
        return result


def _stable(word: str) -> float:
    """A share of 0..1 that stays the same between runs, unlike `hash`."""
    return (sum(ord(letter) * (i + 7) for i, letter in enumerate(word)) % 89) / 89.0


def sample_name(track: Track) -> str:
    """The series as in the text formats: `name{a="b",…}`, labels in alphabetical order."""
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(track.labels.items()))
    return f"{track.family.name}{{{inside}}}"
