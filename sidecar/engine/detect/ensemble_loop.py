"""The loops of the ensemble detector: one pass over rows and columns, compiled, no look-ahead.

State is one row of scalars a series, its profiles of day and week, and its last
residuals; `detect/ensemble.py` says what is computed and why. What each sample needs
stands here in one piece: taken apart further, the compiler finds up to a third less to share.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.alarms import GROWN, IN_ALARM, LENGTH, PEAK, learn_alarm, of_points, threshold_at
from sidecar.engine.arrays import MAX_VALUE
from sidecar.engine.detect.ensemble_alarm import accept, save_levels, undo_alarm
from sidecar.engine.detect.ensemble_course import SHAPE_SAMPLES, ask_course, learn_drift, learn_runs
from sidecar.engine.detect.ensemble_edges import EDGE_SECONDS, at_edge, beyond, moved_since, reach_of
from sidecar.engine.detect.ensemble_learn import (
    CLIP_CENTRE,
    LOSS_SECONDS,
    NEWS_SECONDS,
    compete,
    learn_scales,
    learn_season,
)
from sidecar.engine.detect.ensemble_minutes import (
    MINUTE_STEP_SECONDS,
    MINUTES,
    at_minute,
    growth_of_hour,
    learn_minute,
    share_of_hour,
)
from sidecar.engine.detect.ensemble_parts import (
    CLIP_SCALE,
    DAY_SECONDS,
    NEW_NORMAL_SECONDS,
    POINT,
    SCALE_SECONDS,
    WARM_UP_SAMPLES,
    clip,
    floor_of,
    loudness,
    memory,
    mix,
)
from sidecar.engine.detect.ensemble_state import (
    ACCEPTED,
    COUNT,
    DAY_BINS,
    DAY_LEVEL,
    DAY_SLOW,
    DOWN,
    DOWN_SLOW,
    FAST,
    FIRST,
    GAP,
    HOURS,
    LARGEST,
    LAST,
    LAST_LESS_HOUR,
    LAST_TIME,
    LONG_MEAN,
    LONG_SQUARE,
    LONGEST,
    LOSS,
    N_HABITS,
    OUTSIDE_SECONDS,
    REPEAT_SHARE,
    SAMPLES,
    SAVED,
    SEASON_LOSS,
    SIZE_5,
    SIZE_15,
    SLOWER,
    SLOWEST,
    SUM_5,
    SUM_15,
    SUSPICION,
    TREND,
    TREND_LEVEL,
    UP,
    UP_SLOW,
    VISITED,
    WEEK_BINS,
    WEEK_LEVEL,
    WEEK_SLOW,
)
from sidecar.engine.detect.habit import BIN_SECONDS, habitual, learn_visit
from sidecar.engine.profile import VISITS_REMEMBERED, places, teach

FAST_SECONDS, SLOW_SECONDS, SLOWEST_SECONDS = 1800.0, 6 * 3600.0, DAY_SECONDS
LEVEL_SECONDS = 6 * 3600.0  # Memory of the level above a profile.
MAX_GAP_SECONDS = 6 * 3600.0  # What a longer gap counts as.
STANDS_FOR = 3.0  # After a gap a sample teaches as for so many distances of the samples before it.
PACE_IN_ALARM = 0.5
"""How fast levels follow while an alarm lasts: an incident is not to become normal at once."""

NEW_SHAPE_SECONDS = 2 * DAY_SECONDS
"""After an accepted shift the slow centres have to learn the new days before they judge again."""
CLIP_WINDOW, CLIP_SHORT, SHORT_SECONDS = 6.0, 8.0, 200.0
"""In scales: how much one point may weigh in a window's mean; more at steps shorter than so many seconds."""
UNITS = (POINT, 7.1, 12.0, 12.0, 14.0, 3.0)
"""What is unusual, in scales: a point, the mean of 5, the mean of 15, a point against the slow centres, a
day against a week; and a run of equal values, in longest runs seen before.
"""


SUSPICION_FADES, MOST_SUSPICION = 0.97, 0.97
"""What was just unusual is likelier to be so still: a score fades over samples, but suspicion is no flag."""


HELD, HELD_BY_SEASON, SEASONAL = 2.0, 1.0, 1.5
"""While an alarm lasts, so many units away from where it began count as one does at first."""

GROWN_SECONDS = 14 * DAY_SECONDS
"""Until then a weekend or a job that is not yet known may be what breaks a series' quiet: it is no proof of
tame noise, and what others' quiet says of thresholds is not for it.
"""

RETURNED = 3.0
"""A value so many scales from where the centre was before an alarm is taken for the end of the incident."""

AWAY, RECOVERED = 8.0, 5.0
"""And so is one within the second that jumps there by the first; it is judged by that centre alone."""


@njit(cache=True, nogil=True)
def run(
    s,
    day,
    day_mass,
    week,
    week_mass,
    recent,
    minutes,
    noise,
    noise_mass,
    hourly,
    habits,
    habit_sizes,
    units,
    alarms,
    first_base,
    base_of_grown,
    per_second,
    seconds,
    x,
    value,
    q,
    shape,
    usual_level,
    yhat,
    lower,
    upper,
):
    """Judge and learn `x` (rows, columns) at `seconds`; all after it are filled, all state changes."""
    n_rows, n_steps = x.shape
    quick = np.empty(6)
    slow = np.empty(3)
    kept = np.empty(6)
    day_known = 0.2 * 24.0 / DAY_BINS
    first_d, second_d, shares_d = places(seconds, DAY_BINS, DAY_BINS / 24.0)
    first_w, second_w, shares_w = places(seconds, WEEK_BINS, 1.0)
    first_h, second_h, shares_h = places(seconds, HOURS, 1.0)
    minute_at = (seconds // 60.0 % MINUTES).astype(np.int64)
    for row in range(n_rows):
        for t in range(n_steps):
            now = seconds[t]
            y = x[row, t]
            samples = s[row, SAMPLES]
            seen = abs(y) < MAX_VALUE
            if samples <= 0.0:
                if seen:
                    for k in (FAST, SLOWER, SLOWEST, LAST, TREND_LEVEL, LONG_MEAN):
                        s[row, k] = y
                    s[row, SAMPLES] = 1.0
                    s[row, FIRST] = s[row, LAST_TIME] = now
                continue
            dt = min(max(now - s[row, LAST_TIME], 1e-3), MAX_GAP_SECONDS)
            gap = s[row, GAP] if s[row, GAP] > 0.0 else dt
            step = min(dt, gap)  # Of two distances in a row one may be an outage.
            of_hour = 0.0
            hour_share = share_of_hour(s, row, now, step)
            if hour_share > 0.0:
                # All that follows is about what is left without the hour's part; the band gets it back.
                hour_share *= growth_of_hour(s, row)
                of_hour = hour_share * minutes[row, minute_at[t]]
                y -= of_hour
            clip_window = CLIP_SHORT if dt < SHORT_SECONDS else CLIP_WINDOW
            stands = min(dt, STANDS_FOR * gap)
            age = now - s[row, FIRST]
            if age > GROWN_SECONDS:
                alarms[row, GROWN] = 1.0
            base = base_of_grown if alarms[row, GROWN] > 0.0 else first_base
            d0, d1, d_share = first_d[t], second_d[t], shares_d[t]
            w0, w1, w_share = first_w[t], second_w[t], shares_w[t]
            daily = age > DAY_SECONDS and day_mass[row, d0] > day_known and day_mass[row, d1] > day_known
            weekly = age > 7.0 * DAY_SECONDS and week_mass[row, w0] > 0.25 and week_mass[row, w1] > 0.25
            of_day = (1.0 - d_share) * day[row, d0] + d_share * day[row, d1]
            of_week = (1.0 - w_share) * week[row, w0] + w_share * week[row, w1]
            quick[0], quick[1], quick[4] = s[row, FAST], s[row, SLOWER], s[row, LAST]
            quick[5] = s[row, TREND_LEVEL] + s[row, TREND] * dt
            quick[2] = of_day + s[row, DAY_LEVEL] if daily else np.nan
            quick[3] = of_week + s[row, WEEK_LEVEL] if weekly else np.nan
            slow[0] = s[row, SLOWEST]
            slow[1] = of_day + s[row, DAY_SLOW] if daily else np.nan
            slow[2] = of_week + s[row, WEEK_SLOW] if weekly else np.nan
            spread = 1e-12 + 1e-3 * np.sqrt(s[row, LONG_SQUARE])
            centre = mix(s, row, LOSS, 6, quick, spread)
            centre_slow = mix(s, row, LOSS + 6, 3, slow, spread)
            before_alarm = alarms[row, IN_ALARM]
            earlier = centre
            held = HELD
            if before_alarm > 0.0:
                # Where it would be had the alarm not moved the levels. Where the seasons predict about as
                # well as anything, or the day went on since, they alone say it: the others stand where
                # the alarm began.
                kept[2] = of_day + s[row, SAVED + 5] if daily else np.nan
                kept[3] = of_week + s[row, SAVED + 6] if weekly else np.nan
                of_season = min(s[row, SEASON_LOSS], s[row, SEASON_LOSS + 1])
                of_others = min(s[row, LOSS], s[row, LOSS + 1], s[row, LOSS + 4])
                moved = daily and moved_since(day, row, d0, d1, d_share, alarms[row, LENGTH] * dt) > (
                    (AWAY + RECOVERED) * max(s[row, UP], s[row, DOWN], floor_of(s, row))
                )
                if moved or (daily and of_season < SEASONAL * of_others):
                    held = HELD_BY_SEASON
                    kept[0] = kept[1] = kept[4] = kept[5] = np.nan
                else:
                    kept[0], kept[1] = s[row, SAVED], s[row, SAVED + 1]
                    kept[4], kept[5] = s[row, SAVED + 2], s[row, SAVED + 3]
                earlier = mix(s, row, LOSS, 6, kept, spread)
            floor = floor_of(s, row)
            h0, h1, h_share = first_h[t], second_h[t], shares_h[t]
            loud = loudness(noise, noise_mass, row, h0, h1, h_share, stands / 3600.0, s[row, REPEAT_SHARE])
            up, down = max(s[row, UP] * loud, floor), max(s[row, DOWN] * loud, floor)
            up_slow = max(s[row, UP_SLOW] * loud, 2.0 * floor)
            down_slow = max(s[row, DOWN_SLOW] * loud, 2.0 * floor)
            warm = samples >= WARM_UP_SAMPLES
            least = max(s[row, UP], s[row, DOWN], floor)
            low_d = high_d = low_w = high_w = low_m = high_m = 0.0
            if daily and step < EDGE_SECONDS:
                low_d, high_d = at_edge(day, day_mass, row, d0, d1, of_day, day_known, least)
                if weekly:
                    low_w, high_w = at_edge(week, week_mass, row, w0, w1, of_week, 0.25, least)
            if hour_share > 0.0:
                low_m, high_m = at_minute(minutes, row, minute_at[t], step, hour_share, least)
            below, above = reach_of(centre, quick[2], low_d, high_d)
            below_slow, above_slow = reach_of(centre_slow, slow[1], low_d, high_d)
            if weekly and s[row, LOSS + 3] < s[row, LOSS + 2]:
                # Its bins are of an hour: only the day's tell how far a job of minutes goes.
                below_week, above_week = reach_of(centre, quick[3], low_w, high_w)
                below, above = max(below, below_week), max(above, above_week)
                below_week, above_week = reach_of(centre_slow, slow[2], low_w, high_w)
                below_slow, above_slow = max(below_slow, below_week), max(above_slow, above_week)
            below, above = below + low_m, above + high_m
            below_slow, above_slow = below_slow + low_m, above_slow + high_m
            # If this value is not as far off as the last, the incident is over, whatever windows remember.
            far = AWAY * min(up, down) + RECOVERED * max(up, down)
            away = before_alarm > 0.0 and abs(s[row, LAST_LESS_HOUR] - earlier) > far
            yhat[row, t] = centre + of_hour
            usual = threshold_at(alarms, row, now, dt, base)
            threshold = usual
            if s[row, N_HABITS] > 0.0:
                threshold *= max(habitual(habits, habit_sizes, row, now), 1.0)
            q[row, t] = threshold
            count = s[row, COUNT]
            at_15 = int(count) % 15
            before_5 = s[row, SUM_5] - recent[row, (at_15 + 10) % 15] if count >= 5 else s[row, SUM_5]
            before_15 = s[row, SUM_15] - recent[row, at_15] if count >= 15 else s[row, SUM_15]
            size_5 = max(s[row, SIZE_5] * loud, 0.25 * max(up, down))
            size_15 = max(s[row, SIZE_15] * loud, 0.25 * max(up, down))
            judge_5, judge_15 = count > 5 + WARM_UP_SAMPLES, count > 15 + WARM_UP_SAMPLES
            judge_slow = s[row, ACCEPTED] == 0.0 or now - s[row, ACCEPTED] > NEW_SHAPE_SECONDS
            unit_of_point = units[0] * of_points(alarms, row)
            if warm:
                low = centre - below - threshold * unit_of_point * down
                high = centre + above + threshold * unit_of_point * up
                if judge_slow:
                    low = max(low, centre_slow - below_slow - threshold * units[3] * down_slow)
                    high = min(high, centre_slow + above_slow + threshold * units[3] * up_slow)
                if before_alarm > 0.0:
                    low = max(low, earlier - threshold * held * units[0] * down)
                    high = min(high, earlier + threshold * held * units[0] * up)
                for window in range(2):
                    if not (judge_5 if window == 0 else judge_15):
                        continue
                    reach = threshold * (
                        5.0 * units[1] * size_5 if window == 0 else 15.0 * units[2] * size_15
                    )
                    before = before_5 if window == 0 else before_15
                    # A point weighs no more than the clip in the mean: beyond, the window does not bind.
                    if reach - before < clip_window * up:
                        room = max(reach - before, -clip_window * down)
                        high = min(high, centre + room + (above if room >= 0.0 else -below))
                    if -reach - before > -clip_window * down:
                        room = min(-reach - before, clip_window * up)
                        low = max(low, centre + room + (above if room > 0.0 else -below))
                if away:
                    low = min(low, earlier - RECOVERED * down)
                    high = max(high, earlier + RECOVERED * up)
                lower[row, t], upper[row, t] = min(low, high) + of_hour, high + of_hour
            if not seen:
                continue

            error = beyond(y - centre, below, above)
            error_slow = beyond(y - centre_slow, below_slow, above_slow)
            scale = up if error > 0.0 else down
            scale_slow = up_slow if error_slow > 0.0 else down_slow
            distance = abs(error) / scale
            clipped = min(max(error, -clip_window * down), clip_window * up)
            mean_5, mean_15 = abs(before_5 + clipped) / 5.0, abs(before_15 + clipped) / 15.0
            if warm:
                back = y - earlier
                scale_back = up if back > 0.0 else down
                recovered = away and abs(back) < RECOVERED * scale_back
                returned = before_alarm > 0.0 and abs(back) < min(RETURNED * scale_back, abs(error))
                returned = returned or recovered
                if recovered:
                    # Only the alarm's own effect on the levels makes this value look unusual.
                    worst = abs(back) / (units[0] * scale_back)
                else:
                    worst = distance / unit_of_point
                    if judge_slow:
                        worst = max(worst, abs(error_slow) / (scale_slow * units[3]))
                    if before_alarm > 0.0:
                        worst = max(worst, abs(back) / (held * units[0] * scale_back))
                    if judge_5:
                        worst = max(worst, mean_5 / (units[1] * size_5))
                    if judge_15:
                        worst = max(worst, mean_15 / (units[2] * size_15))
                by_point = not recovered and worst == distance / unit_of_point
                if samples > SHAPE_SAMPLES:
                    by_course, shape[row, t], drifted = ask_course(
                        s, row, now, x[row, t], dt, threshold, units[4], units[5], max(up, down)
                    )
                    if abs(shape[row, t]) == 1:
                        usual_level[row, t] = centre - drifted + of_hour
                    worst = max(worst, by_course)
                fading = s[row, SUSPICION] * SUSPICION_FADES
                value[row, t] = max(worst, fading * threshold)
                s[row, SUSPICION] = max(min(worst / threshold, MOST_SUSPICION), fading)
                if now // BIN_SECONDS != s[row, VISITED]:
                    if s[row, VISITED] > 0.0:
                        s[row, N_HABITS] += learn_visit(
                            habits, habit_sizes, row, s[row, VISITED], s[row, LARGEST]
                        )
                    s[row, VISITED], s[row, LARGEST] = now // BIN_SECONDS, 0.0
                s[row, LARGEST] = max(s[row, LARGEST], worst / usual)
                repeats = s[row, REPEAT_SHARE]
                learn_alarm(alarms, row, now, dt, worst, threshold, per_second, by_point, base, repeats)
                if before_alarm == 0.0 and alarms[row, IN_ALARM] > 0.0:
                    save_levels(s, row)
                elif returned:
                    # The incident is over, and what it taught is undone, or the recovery would be flagged as
                    # the next incident.
                    undo_alarm(s, row, recent, quick, kept, earlier, held == HELD_BY_SEASON)
                    error, scale = back, scale_back
                    distance, clipped = abs(back) / scale, back
                    before_5 = before_15 = 0.0
                    for k in range(LONGEST):
                        recent[row, k] = 0.0
            s[row, SUM_5], s[row, SUM_15] = before_5 + clipped, before_15 + clipped
            recent[row, at_15] = clipped
            s[row, COUNT] = count + 1.0
            if count >= 4:
                size = min(mean_5, CLIP_SCALE * size_5) if judge_5 else mean_5
                s[row, SIZE_5] += memory(stands, SCALE_SECONDS, count - 4.0) * (size - s[row, SIZE_5])
            if count >= 14:
                size = min(mean_15, CLIP_SCALE * size_15) if judge_15 else mean_15
                s[row, SIZE_15] += memory(stands, SCALE_SECONDS, count - 14.0) * (size - s[row, SIZE_15])

            learn_runs(s, row, x[row, t], dt, stands, samples, alarms[row, IN_ALARM] > 0.0)
            usual_y = centre + clip(error, CLIP_CENTRE * scale) if warm else y
            learn_drift(s, hourly, row, now, usual_y, max(up, down), step, stands, samples)

            s[row, LAST_LESS_HOUR] = y
            # A shift that stays becomes the new normal after a stated time.
            pace = dt
            shifted = False
            if alarms[row, IN_ALARM] > 0.0:
                pace = PACE_IN_ALARM * dt
                s[row, OUTSIDE_SECONDS] += stands  # Nobody knows what happened in a gap.
                shifted = s[row, OUTSIDE_SECONDS] > NEW_NORMAL_SECONDS * (1.0 + min(alarms[row, PEAK], 4.0))
            else:
                s[row, OUTSIDE_SECONDS] = 0.0
            reach = CLIP_CENTRE * scale if warm else np.inf
            cap = 20.0 * scale if warm else np.inf
            rate = memory(stands, LOSS_SECONDS, samples)
            compete(s, row, LOSS, 6, 2, quick, y, daily, low_d, high_d, weekly, low_w, high_w, cap, rate)
            compete(s, row, LOSS + 6, 3, 1, slow, y, daily, low_d, high_d, weekly, low_w, high_w, cap, rate)
            if daily:
                missed = beyond(y - quick[2], low_d, high_d)
                learn_season(s, row, 0, DAY_SECONDS, missed, cap, stands, samples, age)
            else:
                s[row, SEASON_LOSS] = s[row, LOSS + 2]
            if weekly:
                missed = beyond(y - quick[3], low_w, high_w)
                learn_season(s, row, 1, 7.0 * DAY_SECONDS, missed, cap, stands, samples, age)
            else:
                s[row, SEASON_LOSS + 1] = 1.1 * s[row, SEASON_LOSS]
            if shifted:
                accept(s, row, y, recent, daily, of_day, weekly, of_week, now)
                s[row, LAST_TIME], s[row, GAP] = now, dt
                s[row, SAMPLES] = samples + 1.0
                continue
            s[row, FAST] += memory(pace, FAST_SECONDS, samples) * clip(y - quick[0], reach)
            s[row, SLOWER] += memory(pace, SLOW_SECONDS, samples) * clip(y - quick[1], reach)
            s[row, SLOWEST] += memory(dt, SLOWEST_SECONDS, samples) * clip(y - slow[0], 2.0 * reach)
            s[row, LAST] += pace / dt * clip(y - quick[4], reach)
            moved = memory(pace, 2.0 * FAST_SECONDS, samples) * clip(y - quick[5], reach)
            s[row, TREND_LEVEL] = quick[5] + moved
            s[row, TREND] = 0.98 * s[row, TREND] + 0.1 * moved / dt
            for_day = for_week = y
            if daily:
                pulled = clip(y - quick[2], reach)
                for_day = quick[2] + pulled
                s[row, DAY_LEVEL] += pace / (LEVEL_SECONDS + pace) * pulled
                s[row, DAY_SLOW] += dt / (SLOWEST_SECONDS + dt) * clip(y - slow[1], reach)
            if weekly:
                pulled = clip(y - quick[3], reach)
                for_week = quick[3] + pulled
                s[row, WEEK_LEVEL] += pace / (LEVEL_SECONDS + pace) * pulled
                s[row, WEEK_SLOW] += dt / (SLOWEST_SECONDS + dt) * clip(y - slow[2], reach)
            if step <= MINUTE_STEP_SECONDS and alarms[row, IN_ALARM] == 0.0:
                off = x[row, t] - (quick[2] if daily else quick[1])
                learn_minute(s, minutes, row, minute_at[t], off, stands, samples, cap)
            hours = stands / 3600.0
            in_alarm = alarms[row, LENGTH] * dt
            louder = min(abs(error), (CLIP_SCALE if in_alarm < NEWS_SECONDS else 1.0) * scale) / max(
                s[row, UP] if error > 0.0 else s[row, DOWN], floor
            )
            if error != 0.0 or below + above == 0.0:  # What an edge allows tells nothing of noise.
                teach(noise, noise_mass, row, h0, h1, h_share, louder, hours, 2.0 * VISITS_REMEMBERED)
            teach(day, day_mass, row, d0, d1, d_share, for_day, hours, VISITS_REMEMBERED * 24.0 / DAY_BINS)
            teach(week, week_mass, row, w0, w1, w_share, for_week, hours, VISITS_REMEMBERED)

            news = min(1.0, NEWS_SECONDS / in_alarm) if in_alarm > 0.0 else 1.0
            learn_scales(s, row, y, error, error_slow, scale, scale_slow, cap, warm, stands, samples, news)
            s[row, SAMPLES] = samples + 1.0
            s[row, LAST_TIME], s[row, GAP] = now, dt
