"""The pool: many cheap rules, each of which forecasts from all origins and at all leads at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial

import numpy as np

from sidecar.engine.forecast.past import (
    Index,
    Past,
    damped_trend,
    ewma,
    holt_winters,
    same_time_mean,
    same_time_median,
    smooth,
)
from sidecar.series import FloatArray

HOUR = 3600.0
DAY = 24 * HOUR
NEVER = 1e9
"""Seconds after which a correction has faded that is meant to stay."""


@dataclass(frozen=True)
class View:
    """From where to where: `origins` (B, 1) counts known values, `leads` (1, L) counts steps from 1."""

    past: Past
    origins: Index
    leads: Index
    _same_time: dict[int, Index] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def lead_seconds(self) -> FloatArray:
        """Leads in seconds, (1, L)."""
        seconds: FloatArray = self.leads * self.past.step_seconds
        return seconds

    def same_time(self, period: int) -> Index:
        """Position of the newest known value that lies whole periods before each target, (B, L).

        Where history does not reach so far back it is whole days, and at last the start.
        """
        if period not in self._same_time:
            # Dozens of rules look at the same few places.
            self._same_time[period] = self._find_same_time(period)
        return self._same_time[period]

    def _find_same_time(self, period: int) -> Index:
        targets = self.origins + self.leads - 1
        at = targets - -(-self.leads // period) * period
        if at.min() >= 0:
            return at
        # Before the first whole week, the day before stands in for it; never an index from the end.
        day = self.past.day or 1
        return np.where(at >= 0, at, np.maximum(targets - -(-self.leads // day) * day, 0))

    def flat(self, per_origin: FloatArray) -> FloatArray:
        """One value for each origin, at every lead."""
        # A sum takes a tenth of the time of `np.broadcast_to`.
        flat: FloatArray = per_origin + self._nothing
        return flat

    @cached_property
    def _nothing(self) -> FloatArray:
        return np.zeros((len(self.origins), self.leads.shape[1]))


Rule = Callable[[View], FloatArray]


@dataclass
class Profile:
    """What is usual at each slot of a period, and how the newest values differ from it.

    `make` computes the slots when they are first needed: of a selection, few rules are.
    """

    past: Past
    period: int
    make: Callable[[], FloatArray]
    half: int = 0
    _levels: dict[float, FloatArray] = field(default_factory=dict)

    @cached_property
    def usual(self) -> FloatArray:
        """The profile as of each position, (n,)."""
        return self.make()

    def at(self, view: View) -> FloatArray:
        """The profile at each target."""
        at = view.same_time(self.period)
        # A smoothed slot must not reach past the origin: near it the last whole one serves.
        return self.usual[np.minimum(at, view.origins - 1 - self.half)]

    def level(self, view: View, seconds: float) -> FloatArray:
        """Exponential mean of the error of the profile before each origin, (B, 1)."""
        if seconds not in self._levels:
            error = np.zeros(self.past.n)
            error[self.period :] = self.past.y[self.period :] - self.usual[: -self.period]
            self._levels[seconds] = ewma(error, min(self.past.step_seconds / seconds, 1.0))
        return self._levels[seconds][view.origins - 1]


def _corrected(profile: Profile, level_seconds: float, fade_seconds: float) -> Rule:
    def rule(view: View) -> FloatArray:
        fade = np.exp(-view.lead_seconds / fade_seconds)
        return profile.at(view) + profile.level(view, level_seconds) * fade

    return rule


def _profile_rules(
    name: str, profile: Profile, corrections: tuple[tuple[float, float], ...]
) -> dict[str, Rule]:
    rules: dict[str, Rule] = {name: profile.at}
    for level, fade in corrections:
        rules[name + _correction(level, fade)] = _corrected(profile, level, fade)
    return rules


@cache
def _correction(level_seconds: float, fade_seconds: float) -> str:
    """A correction in a rule's name; the same few are asked for at each refresh."""
    return f"+level{level_seconds / HOUR:g}h/fade{fade_seconds / HOUR:g}h"


def _last_mean(width: int) -> Rule:
    return lambda view: view.flat(view.past.window_mean(view.origins, width))


def _last_median(width: int) -> Rule:
    return lambda view: view.flat(view.past.window_median(view.origins[:, 0], width)[:, None])


def _smoothed(alpha: float) -> Rule:
    return lambda view: view.flat(view.past.memo(ewma, alpha)[view.origins - 1])


def _last(view: View) -> FloatArray:
    return view.flat(view.past.y[view.origins - 1])


def _damped(alpha: float, beta: float, phi: float) -> Rule:
    def rule(view: View) -> FloatArray:
        level, trend = view.past.memo(damped_trend, alpha, beta, phi)
        run = phi * (1.0 - phi**view.leads) / (1.0 - phi)
        return level[view.origins - 1] + run * trend[view.origins - 1]

    return rule


def _seasonal(period: int, alpha: float, beta: float, gamma: float, phi: float) -> Rule:
    def rule(view: View) -> FloatArray:
        level, trend, season = view.past.memo(holt_winters, period, alpha, beta, gamma, phi)
        run = phi * (1.0 - phi**view.leads) / (1.0 - phi)
        at = view.origins - 1
        return level[at] + run * trend[at] + season[view.same_time(period)]

    return rule


def _drift(width: int) -> Rule:
    def rule(view: View) -> FloatArray:
        known = min(width, int(view.origins.min()) // 2)
        q = max(known // 4, 1)
        rise = view.past.window_mean(view.origins, q) - view.past.window_mean(view.origins - known, q)
        return view.past.y[view.origins - 1] + view.leads * rise / known

    return rule


def _window_rules(past: Past) -> dict[str, Rule]:
    rules: dict[str, Rule] = {"last": _last}
    widths = [("3", 3)] + [
        (f"{seconds / HOUR:g}h", past.steps(seconds))
        for seconds in (HOUR / 4, HOUR, 3 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY)
    ]
    done = {1}
    for label, width in widths:
        if width in done or width > past.n // 2:
            continue
        done.add(width)
        rules[f"mean{label}"] = _last_mean(width)
        if width > 2:
            rules[f"median{label}"] = _last_median(width)
    for alpha in (0.1, 0.3, 0.6):
        rules[f"ses{alpha}"] = _smoothed(alpha)
    return rules


def _trend_rules(past: Past) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for setting in ((0.5, 0.1, 0.9), (0.2, 0.05, 0.98), (0.8, 0.3, 0.8)):
        rules["holt{}/{}/{}".format(*setting)] = _damped(*setting)
    for label, seconds in (("6h", 6 * HOUR), ("1d", DAY), ("7d", 7 * DAY)):
        width = past.steps(seconds)
        if 3 <= width <= past.n // 2:
            rules[f"drift{label}"] = _drift(width)
    return rules


def _half_hour(past: Past) -> int:
    """Half the width that profiles are smoothed over, in steps; 0 where steps are long themselves."""
    return past.steps(HOUR / 2) if past.step_seconds <= HOUR / 2 else 0


def _fading(past: Past) -> tuple[tuple[float, float], ...]:
    """How long the level error of a profile is averaged, and how fast its correction fades: seconds."""
    short = max(HOUR, past.step_seconds)
    return ((short, 3 * HOUR), (short, 12 * HOUR), (6 * HOUR, DAY), (DAY, 7 * DAY))


def _mean_of(slots: Callable[[], FloatArray], period: int, gain: float) -> Callable[[], FloatArray]:
    return lambda: same_time_mean(slots(), period, gain)


def _daily_rules(past: Past) -> dict[str, Rule]:
    day = past.day
    if not day:
        return {}
    half, fading, step = _half_hour(past), _fading(past), past.step_seconds
    short = fading[0][0]
    smoothed = cache(lambda: smooth(past.y, half))
    rules = _profile_rules(
        "yesterday",
        Profile(past, day, lambda: past.y),
        ((step, NEVER), (short, 3 * HOUR), (DAY, 7 * DAY)),
    )
    if half:
        rules |= _profile_rules("yesterday~", Profile(past, day, smoothed, half), fading)
    for gain in (0.33, 0.12):
        mean = partial(same_time_mean, past.y, day, gain)
        rules |= _profile_rules(f"daymean{gain}", Profile(past, day, mean), fading)
        if half:
            rules |= _profile_rules(
                f"daymean~{gain}",
                Profile(past, day, _mean_of(smoothed, day, gain), half),
                ((step, NEVER), (step, 3 * HOUR), *fading),
            )
    for n in (3, 7):
        median = partial(same_time_median, past.y, day, n)
        rules |= _profile_rules(
            f"daymedian{n}", Profile(past, day, median), ((short, 3 * HOUR), (DAY, 7 * DAY))
        )
    for setting in (
        (0.1, 0.01, 0.2, 0.98),
        (0.5, 0.05, 0.1, 0.9),
        (0.02, 0.0, 0.3, 0.9),
        (0.9, 0.0, 0.3, 0.9),
    ):
        rules["hw{}/{}/{}".format(*setting)] = _seasonal(day, *setting)
    return rules


def _weekly_rules(past: Past) -> dict[str, Rule]:
    week = past.week
    if not week:
        return {}
    half, fading, step = _half_hour(past), _fading(past), past.step_seconds
    smoothed = cache(lambda: smooth(past.y, half))
    rules = _profile_rules("lastweek~", Profile(past, week, smoothed, half), (*fading, (step, NEVER)))
    rules |= _profile_rules("lastweek", Profile(past, week, lambda: past.y), fading[-1:])
    if past.n > 2 * week:
        rules |= _profile_rules(
            "weekmean~",
            Profile(past, week, _mean_of(smoothed, week, 0.3), half),
            (*fading, (step, NEVER)),
        )
    rules["daymean~turned"] = _turned(past, half)
    return rules


def _turned(past: Past, half: int) -> Rule:
    """The shape of the days so far, moved by how this day of the week differed from it a week ago."""
    day, week = past.day, past.week
    margin = past.steps(3 * HOUR) + half

    @cache
    def arrays() -> tuple[FloatArray, FloatArray]:
        smoothed = smooth(past.y, half)
        daily = same_time_mean(smoothed, day, 0.2)
        offset = np.zeros(past.n)
        offset[day:] = smoothed[day:] - daily[:-day]
        return daily, smooth(offset, past.steps(3 * HOUR))

    def rule(view: View) -> FloatArray:
        daily, offset = arrays()
        at = np.minimum(view.same_time(day), view.origins - 1 - half)
        then = np.minimum(view.same_time(week), view.origins - 1 - margin)
        return daily[at] + offset[then]

    return rule


def _periodic_rules(past: Past, period: int) -> dict[str, Rule]:
    name = f"period{period * past.step_seconds / HOUR:g}h"
    rules = _profile_rules(name, Profile(past, period, lambda: past.y), ((past.step_seconds, NEVER),))
    mean = Profile(past, period, partial(same_time_mean, past.y, period, 0.2))
    rules |= _profile_rules(f"{name}mean", mean, ((3 * HOUR, DAY), (DAY, 7 * DAY)))
    median = Profile(past, period, partial(same_time_median, past.y, period, 9))
    rules |= _profile_rules(f"{name}median", median, ((DAY, 7 * DAY),))
    return rules


def other_periods(past: Past, most: int = 2) -> list[int]:
    """Periods in steps, other than a day and its multiples, at which the series repeats itself.

    Peaks of the autocorrelation of the series less its daily mean, above 0.3.
    """
    y = past.y
    width = past.day or max(past.n // 4, 3)
    x = y - smooth(y, width // 2)
    limit = np.quantile(np.abs(x), 0.99)
    x = np.clip(x, -limit, limit)
    x = x - x.mean()
    n = len(x)
    power = float(x @ x)
    if power <= 0.0 or n < 24:
        return []
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    acf = np.fft.irfft(spectrum * np.conj(spectrum), size)[: n // 3] / power * (n / (n - np.arange(n // 3)))
    top = int(0.75 * past.day) if past.day else n // 3
    lags = np.arange(3, min(top, len(acf) - 1))
    if len(lags) < 2:
        return []
    peak = (acf[lags] > acf[lags - 1]) & (acf[lags] >= acf[lags + 1]) & (acf[lags] > 0.3)
    found = lags[peak]
    found = found[np.argsort(-acf[found])]
    # A peak right after a slow decay is a shoulder, no period: it must rise above the valley before it.
    kept: list[int] = []
    for lag in found.tolist():
        if acf[lag] - acf[1:lag].min() < 0.15:
            continue
        if any(abs(lag / k - round(lag / k)) < 0.02 for k in kept):
            continue
        kept.append(lag)
        if len(kept) == most:
            break
    return kept


def make_rules(past: Past, periods: list[int]) -> dict[str, Rule]:
    """Every rule that the length of this past allows, by name; `periods` as `other_periods` found them."""
    rules = _window_rules(past) | _trend_rules(past) | _daily_rules(past) | _weekly_rules(past)
    for period in periods:
        rules |= _periodic_rules(past, period)
    return rules
