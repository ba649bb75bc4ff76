"""The figures of the detectors' pages: a right and a wrong case of each, and what each costs.

`python -m tools.detector_pages` draws `docs/images/detector-<name>.png` for each name given (by default
for all) and prints the table of costs, which is measured: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sidecar.config.model import QueryConfig
from sidecar.engine.registry import DETECTORS, make_detector
from sidecar.series import LabelSet, SeriesBatch
from tools.detector_cases import DetectorCase, Judgement, cases, judged
from tools.made_incidents import START_MS

DPI, COLOURS = 70, 48
MARGIN = 100
"""So many points before and after the stretch are drawn."""

N_SERIES, WARM_COLUMNS, TIMED_COLUMNS, STEP = 2000, 90, 20, 60


def draw(path: Path, detector: str) -> None:
    """Both cases beside each other: grey the value, blue the band, yellow the stretch, red the flags."""
    figure = Figure(figsize=(12, 2.6), layout="constrained")
    for axes, case in zip(figure.subplots(1, 2), cases(detector), strict=True):
        _panel(axes, case, judged(detector, case))
    drawn = BytesIO()
    figure.savefig(drawn, dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def _panel(axes: Axes, case: DetectorCase, found: Judgement) -> None:
    part = slice(max(case.begin - MARGIN, 0), case.end + MARGIN)
    times = found.timestamps.astype("datetime64[ms]")
    values = case.values[0]
    flagged = np.nan_to_num(found.score.anomaly_score[0]) > 1
    flagged[: part.start], flagged[part.stop :] = False, False
    band = found.expectation
    axes.fill_between(times[part], band.lower[0][part], band.upper[0][part], color="#39c", alpha=0.25, lw=0)
    for other in case.values[1:]:
        axes.plot(times[part], other[part], lw=0.4, color="#bbb")
    axes.plot(times[part], values[part], lw=0.8, color="#444")
    axes.plot(times[flagged], values[flagged], ".", ms=4, color="#d33")
    axes.axvspan(times[case.begin], times[case.end], color="#fc3", alpha=0.3, lw=0)
    low, high = float(values[part].min()), float(values[part].max())
    axes.set_ylim(low - 0.4 * (high - low), high + 0.4 * (high - low))
    axes.set_title(f"{case.what}: {case.outcome}", fontsize=8, loc="left")
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.3)


def microseconds_a_point(detector: str) -> float:
    """Judging and learning one column of 2,000 series, by series; the median of some columns."""
    query = QueryConfig(name="cost", expr="cost", step=STEP)
    made = make_detector(detector, query)
    made.resize(N_SERIES)
    made.calibrator.resize(N_SERIES)
    rng = np.random.default_rng(5)
    labels = tuple(LabelSet({"job": "a", "pod": str(i)}) for i in range(N_SERIES))
    taken = []
    for column in range(WARM_COLUMNS + TIMED_COLUMNS):
        at = np.array([START_MS + column * STEP * 1000], dtype=np.int64)
        batch = SeriesBatch("cost", labels, at, rng.normal(50, 2, (N_SERIES, 1)))
        begun = time.perf_counter()
        made.judge(batch)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[WARM_COLUMNS:]) / N_SERIES * 1e6


def bytes_a_series(detector: str) -> int:
    """What the detector and its thresholds keep of one more series."""
    made = make_detector(detector, QueryConfig(name="cost", expr="cost"))
    total = 0
    for part in (made, made.calibrator):
        part.resize(N_SERIES)
        total += sum(array.nbytes for array in part.state().values() if len(array) == N_SERIES)
    return total // N_SERIES


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", nargs="*", help="only these")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args()
    print("| detector | µs a point | bytes a series |")
    print("| --- | --- | --- |")
    for name in chosen.detectors or DETECTORS:
        draw(chosen.out / f"detector-{name}.png", name)
        print(f"| [`{name}`]({name}.md) | {microseconds_a_point(name):.2f} | {bytes_a_series(name):,} |")


if __name__ == "__main__":
    main()
