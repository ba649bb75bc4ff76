"""Judged history as OpenMetrics text, for `promtool tsdb create-blocks-from openmetrics`.

The names are those of the live page, so a dashboard shows the back-test as it
would show the present. A series' samples stand together, in order of time, with
timestamps in seconds, as OpenMetrics 1.0 asks; NaN is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from exporters.labels import label_text
from exporters.names import ACTUAL, EXPECTED, LOWER, SCORE, UPPER
from sidecar.records import DEFAULT_TENANT
from sidecar.series import Expectation, FloatArray, LabelSet, Score, TimeArray

Judged = tuple[LabelSet, FloatArray, Expectation, Score]
"""Labels of one series, its values (T,), and what is said of it, arrays (1, T)."""


def lines(query: str, timestamps: TimeArray, judged: Iterable[Judged]) -> Iterator[str]:
    """The file, line by line, each with its newline; `timestamps` int64 ms (T,)."""
    series = list(judged)
    times = [f"{ms / 1000:.3f}" for ms in timestamps.tolist()]
    metrics = {labels.get("__name__") for labels, _, _, _ in series}
    for at_family, family in enumerate((ACTUAL, EXPECTED, LOWER, UPPER, SCORE)):
        yield f"# TYPE {family.name} gauge\n"
        yield f"# HELP {family.name} {family.help}\n"
        for labels, values, band, score in series:
            head = label_text(labels, query, DEFAULT_TENANT, with_name=len(metrics) > 1).decode()
            column = (values, band.yhat[0], band.lower[0], band.upper[0], score.anomaly_score[0])[at_family]
            for at in np.flatnonzero(np.isfinite(column)).tolist():
                yield f"{family.name}{head}}} {float(column[at])!r} {times[at]}\n"
    yield "# EOF\n"
