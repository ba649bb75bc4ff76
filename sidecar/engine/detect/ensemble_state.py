"""What the default detector keeps of a series: the sizes of its arrays and the columns of its scalars."""

from __future__ import annotations

DAY_BINS, WEEK_BINS, LONGEST, HOURS = 48, 168, 15, 24

FIRST, LAST_TIME, SAMPLES, OUTSIDE_SECONDS = range(4)
FAST, SLOWER, SLOWEST, LAST, TREND_LEVEL, TREND = range(4, 10)
DAY_LEVEL, WEEK_LEVEL, DAY_SLOW, WEEK_SLOW = range(10, 14)
UP, DOWN, N_UP, N_DOWN, UP_SLOW, DOWN_SLOW, LONG_MEAN, LONG_SQUARE = range(14, 22)
SUM_5, SUM_15, SIZE_5, SIZE_15, COUNT = range(22, 27)
LOSS = 27  # Six of the quick centres, three of the slow ones.
SAVED = LOSS + 9  # What an alarm moves, as it was before.
N_SAVED = 7
FIRST_OF_SHAPE = SAVED + N_SAVED
ACCEPTED, N_ACCEPTED, REPEATS, USUAL_REPEATS, DRIFT, SAVED_VALUE, REPEAT_SHARE, SUSPICION = range(
    FIRST_OF_SHAPE, FIRST_OF_SHAPE + 8
)
VISITED, LARGEST = range(FIRST_OF_SHAPE + 8, FIRST_OF_SHAPE + 10)  # Of the ten minutes that habits learn.
HOUR_AT, HOUR_SUM, HOUR_COUNT, N_HOURS, DAY_MEAN, USUAL_DAY = range(FIRST_OF_SHAPE + 10, FIRST_OF_SHAPE + 16)
N_HABITS = FIRST_OF_SHAPE + 16
GAP = FIRST_OF_SHAPE + 17  # Between the two newest samples, in seconds.
WITHOUT_MINUTES, WITH_MINUTES, LAST_LESS_HOUR = range(FIRST_OF_SHAPE + 18, FIRST_OF_SHAPE + 21)
SEASON_LOSS = FIRST_OF_SHAPE + 21  # Two: of the day and of the week, each since it is known.
WITH_GROWING, OFF_MINUTES = range(FIRST_OF_SHAPE + 23, FIRST_OF_SHAPE + 25)
N_SCALARS = FIRST_OF_SHAPE + 25
