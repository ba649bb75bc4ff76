"""What verdicts on anomalies are worth: `python -m tools.verdict_effect`.

Made-up operations series (tools/made_incidents.py) are judged for three weeks. A person calls every false
alarm of the first two noise; in the third, in which each series has its incident, it is counted what
is flagged with these verdicts heeded and without.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.loop.taste import COURSE, VALUE, Taste, factors, tastes
from sidecar.records import SeriesVerdict
from sidecar.series import BoolArray, LabelSet, SeriesBatch
from tools.detection_table import runs
from tools.made_incidents import PER_DAY, START_MS, STEP_SECONDS, Labelled, made

TEACHES_DAYS, LEARNT_DAYS = 4, 14
"""False alarms count from the fourth day on; from the fourteenth they are counted, not spoken of."""

QUERY = QueryConfig(name="made", expr="made", step=STEP_SECONDS, forecast_horizons=())


def judge(series: Labelled, heeded: tuple[Taste, ...] = ()) -> tuple[BoolArray, BoolArray]:
    """Where the series is flagged, and where for its course alone; both (T,)."""
    model = QueryModel(QUERY)
    model.surroundings.heed(partial(factors, heeded))
    labels = (LabelSet({"kind": series.kind}),)
    _, band, score = model.score(SeriesBatch("made", labels, series.timestamps, series.values[None, :]))
    inside = (series.values >= band.lower[0]) & (series.values <= band.upper[0])
    flagged = np.nan_to_num(score.anomaly_score[0]) > 1
    return flagged, flagged & inside & (score.shape[0] != 0)


def said(series: Labelled, flagged: BoolArray, by_course: BoolArray) -> tuple[Taste, ...]:
    """What comes of calling each false alarm before the incident noise."""
    past = flagged.copy()
    past[: TEACHES_DAYS * PER_DAY] = past[LEARNT_DAYS * PER_DAY :] = False
    verdicts = [
        SeriesVerdict(
            "made",
            {"kind": series.kind},
            int(series.timestamps[first]),
            COURSE if by_course[first] else VALUE,
            "noise",
            "somebody",
            int(series.timestamps[last]) * 1_000_000,
        )
        for first, last in runs(past)
    ]
    return tastes(verdicts, START_MS / 1000 + LEARNT_DAYS * 86400.0).get("made", ())


def count(series: Labelled, flagged: BoolArray) -> tuple[bool, int]:
    """Whether the incident was flagged, and false alarms of the third week."""
    free = flagged.copy()
    free[: LEARNT_DAYS * PER_DAY] = False
    length = series.end - series.begin + 1
    free[series.begin : series.end + 1 + max(1, length // 4)] = False
    return bool(flagged[series.begin : series.end + 1].any()), len(runs(free))


def main() -> None:
    """Judge every series twice and print what changed."""
    plain, heeded = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    n_series = n_spoken = 0
    for series in made():
        flagged, by_course = judge(series)
        found = said(series, flagged, by_course)
        n_series += 1
        n_spoken += sum(one.n_noise for one in found)
        plain += count(series, flagged)
        heeded += count(series, judge(series, found)[0]) if found else count(series, flagged)
    print(f"{n_series} series, {n_spoken} false alarms called noise in {LEARNT_DAYS - TEACHES_DAYS} days\n")
    print("| of the third week | without verdicts | with them |")
    print("| --- | --- | --- |")
    print(f"| false alarms | {plain[1]} | {heeded[1]} |")
    print(f"| incidents found, of {n_series} | {plain[0]} | {heeded[0]} |")


if __name__ == "__main__":
    main()
