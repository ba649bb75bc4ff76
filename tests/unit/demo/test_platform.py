"""The model of the platform: a function of series and time, with all that the demo promises of it."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.cli.demo.platform import DAY, Incident, Platform, sample_name

ANCHOR = 1_790_000_000.0
PLATFORM = Platform(ANCHOR)
GRID = np.arange(ANCHOR - 14 * DAY, ANCHOR + 1, 60.0)
HISTORY = PLATFORM.values(GRID)


def rows(metric: str, **labels: str) -> list[int]:
    return [
        n
        for n, track in enumerate(PLATFORM.tracks)
        if track.family.name == metric and all(track.labels.get(k) == v for k, v in labels.items())
    ]


def at(platform: Platform, seconds: float) -> np.ndarray:
    return platform.values(np.array([seconds]))[:, 0]


def test_at_least_forty_series_each_with_its_own_identity_and_a_service() -> None:
    assert len(PLATFORM.tracks) >= 40
    assert len({sample_name(track) for track in PLATFORM.tracks}) == len(PLATFORM.tracks)
    assert all(track.labels["service"] for track in PLATFORM.tracks)
    assert (np.isfinite(HISTORY).sum(axis=1) >= 5 * 1440).all()


def test_a_value_does_not_depend_on_what_else_is_asked_or_when() -> None:
    again = Platform(ANCHOR)
    for position in (0, 7_003, len(GRID) - 1):
        np.testing.assert_array_equal(at(again, GRID[position]), HISTORY[:, position])


def test_another_seed_is_another_platform() -> None:
    assert not np.array_equal(at(Platform(ANCHOR, seed=1), ANCHOR), at(PLATFORM, ANCHOR))


def test_live_values_continue_the_history() -> None:
    before, after = at(PLATFORM, ANCHOR), at(PLATFORM, ANCHOR + 60)
    for n, track in enumerate(PLATFORM.tracks):
        if np.isfinite(before[n]) and not track.counter:
            assert after[n] == pytest.approx(before[n], rel=0.6), sample_name(track)


def test_counters_grow_but_for_resets_and_each_is_reset() -> None:
    for n, track in enumerate(PLATFORM.tracks):
        if track.counter:
            seen = HISTORY[n][np.isfinite(HISTORY[n])]
            falls = np.flatnonzero(np.diff(seen) < 0)
            assert 1 <= len(falls) <= 6, sample_name(track)
            assert (seen[falls + 1] < seen[falls] / 2).all(), "a reset begins anew, near zero"


def test_days_and_weeks_repeat() -> None:
    sessions = HISTORY[rows("stream_sessions_active", region="eu")[0]]
    filled = np.where(np.isfinite(sessions), sessions, np.nanmean(sessions))
    day, week = 1440, 7 * 1440

    def alike(lag: int) -> float:
        return float(np.corrcoef(filled[lag:], filled[:-lag])[0, 1])

    assert alike(day) > 0.9
    assert alike(week) > alike(int(3.5 * day)) + 0.02
    assert alike(day // 2) < -0.5


def test_one_series_is_born_one_dies_and_some_have_gaps() -> None:
    born = HISTORY[rows("cdn_hit_ratio", edge="lhr")[0]]
    died = HISTORY[rows("cdn_hit_ratio", edge="ams")[0]]
    assert np.isnan(born[: 8 * 1440]).all()
    assert np.isfinite(born[-1440:]).mean() > 0.99
    assert np.isnan(died[-3 * 1440 :]).all()
    assert np.isfinite(died[1440]) or np.isfinite(died[1441])
    assert np.isnan(HISTORY).all(axis=0).sum() >= 20, "a gap of all"
    search = HISTORY[rows("search_latency_seconds")[0]]
    assert np.isnan(search).sum() > np.isnan(HISTORY[rows("api_latency_seconds")[0]]).sum() + 60


def test_search_keeps_its_promise_in_calm() -> None:
    """The music-streaming pack promises 200 ms; a first look must not begin with a false alarm."""
    search = HISTORY[rows("search_latency_seconds")[0]]
    assert 0.14 < np.nanquantile(search, 0.95) < np.nanmax(search) < 0.2


def test_a_scrape_is_lost_for_a_service_as_a_whole() -> None:
    codes = [HISTORY[n] for n in rows("http_requests_total", service="billing")]
    missing = np.isnan(codes)
    assert missing.any()
    assert (missing.all(axis=0) == missing.any(axis=0)).all(), "or a share of errors would be nonsense"


def test_shares_of_errors_are_calm_before_the_incident() -> None:
    for edge in ("fra", "lhr", "ams"):
        failed, *others = (
            HISTORY[rows("cdn_requests_total", edge=edge, code=c)[0]] for c in ("503", "200", "404")
        )
        grown = [np.diff(row) for row in (failed, *others)]
        with np.errstate(invalid="ignore"):
            steady = np.isfinite(grown).all(axis=0) & (np.array(grown) > 0).all(axis=0)
        share = grown[0][steady] / np.sum(grown, axis=0)[steady]
        assert steady.mean() > 0.3
        assert share.max() < 0.015, edge


def test_the_incident_reaches_the_upstream_last_and_then_all_is_as_before() -> None:
    start = ANCHOR + 100
    troubled = Platform(ANCHOR, incident=Incident(start, duration_seconds=120))

    def change(seconds: float, metric: str, **labels: str) -> float:
        n = rows(metric, **labels)[0]
        if not PLATFORM.tracks[n].counter:
            return float(at(troubled, seconds)[n] / at(PLATFORM, seconds)[n])
        times = np.array([seconds, seconds + 10])
        with_, without = (np.diff(p.values(times)[n])[0] for p in (troubled, PLATFORM))
        return float(with_ / max(without, 1.0))

    edge = {"edge": "fra", "code": "503"}
    assert change(start - 20, "cdn_requests_total", **edge) == 1
    assert change(start + 11, "cdn_requests_total", **edge) > 20
    assert change(start + 15, "player_buffering_ratio", region="eu") == 1
    assert change(start + 35, "player_buffering_ratio", region="eu") > 5
    assert change(start + 35, "player_buffering_ratio", region="us") == 1
    gateway = {"service": "api-gateway", "code": "500"}
    assert change(start + 25, "http_requests_total", **gateway) == 1
    assert change(start + 60, "http_requests_total", **gateway) > 5
    assert change(start + 160, "http_requests_total", **gateway) == pytest.approx(1, abs=0.2)
    assert change(start + 160, "player_buffering_ratio", region="eu") == 1


def test_counters_never_fall_in_an_incident_and_lose_no_request() -> None:
    troubled = Platform(ANCHOR, incident=Incident(ANCHOR + 20))
    times = ANCHOR + np.arange(0, 400, 5.0)
    values, usual = troubled.values(times), PLATFORM.values(times)
    for n in rows("cdn_requests_total", edge="fra") + rows("http_requests_total", service="api-gateway"):
        assert (np.diff(values[n]) >= 0).all()
    fra = rows("cdn_requests_total", edge="fra")
    np.testing.assert_allclose(values[fra].sum(axis=0), usual[fra].sum(axis=0), atol=3)
