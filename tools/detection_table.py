"""How each detector does on labelled series: `python -m tools.detection_table DIRECTORY`, a Markdown table.

The directory holds CSV files `timestamp,value,label` (any depth; the first folder
is the set), and where it has `labels/combined_windows.json` it is read in the
layout of the Numenta benchmark. Counted are events at the fixed threshold, score
above 1: an event is found by a flag inside it or within the 5 % after it; a run
of flags elsewhere is a false alarm, and once more for each further hour (at least
ten rows). The first 15 % of a series, at most 750 rows, only teach. What detectors cost is
measured by tools/detector_pages.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from sidecar.config.model import QueryConfig
from sidecar.engine.alarms import LOG_OF_POINTS, LOG_THRESHOLD
from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.model import QueryModel
from sidecar.engine.offline import score_series
from sidecar.engine.protocols import Judged
from sidecar.engine.registry import DETECTORS
from sidecar.series import FloatArray, LabelSet, SeriesBatch, TimeArray
from sidecar.tables import SeriesTable, read_table

UNCALIBRATED = "uncalibrated"
FORGET_ROWS = 20
Runs = list[tuple[int, int]]


class Uncalibrated(EnsembleDetector):
    """The ensemble with the threshold that it starts with, for ever."""

    def judge(self, batch: SeriesBatch) -> Judged:
        """As the ensemble does; what thresholds learn is taken back every some rows, before it matters."""
        parts = []
        for t in range(0, batch.n_steps, FORGET_ROWS):
            at = slice(t, t + FORGET_ROWS)
            part = SeriesBatch(batch.query, batch.labels, batch.timestamps[at], batch.values[:, at])
            parts.append(super().judge(part))
            self.calibrator.arrays["alarms"][:, [LOG_THRESHOLD, LOG_OF_POINTS]] = 0.0
        score, yhat, lower, upper = (
            np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in ("score", "yhat", "lower", "upper")
        )
        shape = np.concatenate([part.shape for part in parts if part.shape is not None], axis=1)
        return Judged(score, yhat, lower, upper, shape)


def scores(detector: str, timestamps: TimeArray, values: FloatArray, step_seconds: float) -> FloatArray:
    """The scores of one series' rows."""
    if detector != UNCALIBRATED:
        return score_series(timestamps, values, detector=detector)[1].anomaly_score[0]
    query = QueryConfig(name="series", expr="series", step=step_seconds, forecast_horizons=())
    model = QueryModel(query)
    model.detector = Uncalibrated(query.false_alarms, query.step)
    model.calibrator = model.detector.calibrator
    _, _, score = model.score(SeriesBatch("series", (LabelSet(),), timestamps, values[None, :]))
    return score.anomaly_score[0]


@dataclass
class Tally:
    """Events found and missed, false alarms and rows of one set."""

    found: int = 0
    missed: int = 0
    false_alarms: int = 0
    rows: int = 0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall over events."""
        return 2 * self.found / max(2 * self.found + self.missed + self.false_alarms, 1)

    @property
    def recall(self) -> float:
        """Share of events found."""
        return self.found / max(self.found + self.missed, 1)

    @property
    def false_alarms_per_1000_rows(self) -> float:
        """False alarms for each thousand rows judged."""
        return 1000 * self.false_alarms / max(self.rows, 1)


def runs(mask: np.ndarray) -> Runs:
    """First and last index of each run of true values."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(
        zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True)
    )


def count(tally: Tally, flagged: np.ndarray, events: Runs, step_seconds: float) -> None:
    """Add one series to a tally."""
    first = int(min(0.15 * len(flagged), 750))
    flagged = flagged & (np.arange(len(flagged)) >= first)
    outside = flagged.copy()
    for at, (begin, end) in enumerate(events):
        late = min(end + max(1, math.ceil(0.05 * (end - begin + 1))), len(flagged) - 1)
        if at + 1 < len(events):
            late = max(min(late, events[at + 1][0] - 1), end)
        outside[begin : late + 1] = False
        if end < first:
            continue
        if flagged[begin : late + 1].any():
            tally.found += 1
        else:
            tally.missed += 1
    allowed = max(10, round(3600 / step_seconds))
    tally.false_alarms += sum(1 + (end - begin) // allowed for begin, end in runs(outside))
    tally.rows += len(flagged) - first


def labelled(folder: Path) -> Iterator[tuple[str, SeriesTable, Runs]]:
    """Set, series and its events, of every labelled file."""
    for windows in sorted(folder.rglob("combined_windows.json")):
        for name, spans in sorted(json.loads(windows.read_text()).items()):
            table = read_table(windows.parent.parent / "data" / name)
            inside = np.zeros(table.n_rows, dtype=np.bool_)
            for begin, end in spans:
                ms = [np.datetime64(moment, "ms").astype(np.int64) for moment in (begin, end)]
                inside |= (table.timestamps >= ms[0]) & (table.timestamps <= ms[1])
            yield windows.parent.parent.name, table, runs(inside)
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and "label" in rows[0]:
            inside = np.array([float(row["label"]) > 0 for row in rows])
            yield path.relative_to(folder).parts[0], read_table(path), runs(inside)


def main() -> None:
    """Score every series with every detector, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--detectors", nargs="*", default=[*DETECTORS, UNCALIBRATED])
    arguments = parser.parse_args()
    series = list(labelled(arguments.directory))
    sets = sorted({name for name, _, _ in series})
    tallies = {(name, detector): Tally() for name in sets for detector in arguments.detectors}
    for name, table, events in track(series, description="scoring"):
        for detector in arguments.detectors:
            kept = table.in_order
            score = scores(detector, table.timestamps[kept], table.values[kept], table.step_seconds)
            flagged = np.zeros(table.n_rows, dtype=np.bool_)
            flagged[kept] = np.nan_to_num(score) > 1
            count(tallies[name, detector], flagged, events, table.step_seconds)
    print("| set | detector | F1 | recall | false alarms per 1,000 rows |")
    print("| --- | --- | --- | --- | --- |")
    for (name, detector), tally in tallies.items():
        print(
            f"| {name} | {detector} | {tally.f1:.3f} | {tally.recall:.3f} "
            f"| {tally.false_alarms_per_1000_rows:.2f} |"
        )


if __name__ == "__main__":
    main()
