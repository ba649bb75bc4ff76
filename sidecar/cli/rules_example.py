"""The example of `pronoia rules`: eight weeks of the demo's platform with its incidents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rules.incidents import KnownIncident
from sidecar.cli.demo.backfill import openmetrics
from sidecar.cli.demo.platform import DAY, Incident, Platform, Track
from sidecar.series import FloatArray

RULES = Path(__file__).parents[2] / "rules" / "example" / "noisy.rules.yaml"
DAYS = 56.0
END_SECONDS = datetime(2026, 1, 5, tzinfo=UTC).timestamp()

Effects = Mapping[tuple[str, str], str]
"""Which track, by family and a value among its labels, is hit and how (see the platform's FACTORS)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of incident: what it does to which tracks, and the alerts that are there to tell of it."""

    name: str
    effects: Effects
    alerts: tuple[str, ...]
    match: Mapping[str, str]


def _edge(edge: str, region: str) -> Trouble:
    return Trouble(
        f"CDN edge {edge} fails",
        {
            ("cdn_requests_total", f"{edge} 200"): "edge:ok",
            ("cdn_requests_total", f"{edge} 503"): "edge:fails",
            ("cdn_edge_response_seconds", edge): "edge:slow",
            ("cdn_hit_ratio", edge): "edge:misses",
            ("player_buffering_ratio", region): "player:buffering",
            ("audio_bitrate_bits_per_second", region): "player:bitrate",
        },
        (
            *("CdnEdgeErrors", "CdnErrorsSeen", "CdnEdgeSlow", "CdnResponseHigh", "CdnResponseUnsteady"),
            *("CdnHitRatioCollapsed", "HitRatioBelowTarget", "BufferingHigh", "BufferingNoticeable"),
            *("BitrateLow", "BitrateDip"),
        ),
        {"edge": edge, "region": region},
    )


def _service(service: str, latency: str, alerts: tuple[str, ...]) -> Trouble:
    return Trouble(
        f"{service} fails",
        {
            ("http_requests_total", f"{service} 200"): "upstream:ok",
            ("http_requests_total", f"{service} 500"): "upstream:fails",
            **({(latency, service): "upstream:waits"} if latency else {}),
        },
        (*alerts, "ServerErrorsPerSecond"),
        {"service": service},
    )


TROUBLES = (
    _edge("fra", "eu"),
    _edge("iad", "us"),
    _service("api-gateway", "api_latency_seconds", ("ApiErrors", "Api5xx", "ApiSlow", "ApiLatencyHigh")),
    _service(
        "search", "search_latency_seconds", ("SearchErrors", "Search5xx", "SearchSlow", "SearchLatencyHigh")
    ),
    Trouble(
        "payments are declined",
        {
            ("billing_payments_total", "ok"): "upstream:ok",
            ("billing_payments_total", "declined"): "upstream:fails",
        },
        ("PaymentsDeclined", "DeclinedHigh"),
        {},
    ),
    Trouble(
        "listeners of us are thrown out",
        {("stream_sessions_active", "us"): "edge:misses"},
        ("SessionsFew",),
        {"region": "us"},
    ),
)

WHEN_DAYS_AGO = (
    *(53.31, 49.62, 46.08, 41.77, 37.35, 33.18, 30.54),
    *(26.29, 23.64, 19.90, 16.43, 12.71, 7.58, 2.66),
)
"""Half of them in the four weeks that are learned from, half in the four that are replayed."""

MINUTES = (25, 40, 20, 55, 35, 30, 45)


def _hit(track: Track, effects: Effects) -> Track:
    """The track with this trouble's effect in place of the demo's own."""
    values = {track.labels.get(name, "") for name in ("edge", "region", "service", "result")}
    code = track.labels.get("code", "")
    for (family, where), effect in effects.items():
        place, _, wanted_code = where.partition(" ")
        if family == track.family.name and place in values and wanted_code in ("", code):
            return replace(track, effect=effect)
    return replace(track, effect="")


@dataclass(frozen=True)
class ExampleHistory:
    """Values (N, T) of the platform's tracks, and the incidents in them."""

    platform: Platform
    times: FloatArray
    values: FloatArray
    incidents: tuple[KnownIncident, ...]

    def openmetrics(self) -> Iterator[str]:
        """All samples as OpenMetrics text, in pieces."""
        return openmetrics(self.platform, self.times, self.values)


def make_history(*, step_seconds: float = 60.0, days: float = DAYS) -> ExampleHistory:
    """Eight weeks of the platform, with a trouble every four days; the same at any time of asking."""
    end = END_SECONDS
    times = np.arange(end - days * DAY, end + 1, step_seconds)
    calm = Platform(end, tracks=tuple(replace(track, effect="") for track in Platform(end).tracks))
    values = calm.values(times)
    base = values.copy()
    incidents: list[KnownIncident] = []
    for n, ago in enumerate(WHEN_DAYS_AGO):
        trouble, start, seconds = TROUBLES[n % len(TROUBLES)], end - ago * DAY, MINUTES[n % 7] * 60.0
        troubled = Platform(
            end,
            tracks=tuple(_hit(track, trouble.effects) for track in calm.tracks),
            incident=Incident(start, seconds),
        )
        # A counter keeps what it lost until its process starts anew, within six days.
        here = (times >= start) & (times <= start + 6 * DAY)
        if here.any():
            values[:, here] += np.nan_to_num(troubled.values(times[here]) - base[:, here])
        incidents.append(
            KnownIncident(
                f"{datetime.fromtimestamp(start, UTC):%b %d} {trouble.name}",
                round(start * 1000),
                round((start + seconds) * 1000),
                frozenset(trouble.alerts),
                trouble.match,
            )
        )
    return ExampleHistory(calm, times, values, tuple(incidents))
