"""Ten right and ten wrong cases of detection as pictures: `python -m tools.detection_plots`.

Without a directory the incidents are made up (tools/made_incidents.py); with one
they are those of its labelled files, as `python -m tools.detection_table` reads
them. Right is an incident that was flagged, wrong one that was not, or a flag
outside of incidents. Of each kind of case a few are drawn, not the best ones: the
seed chooses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sidecar.engine.offline import score_series
from sidecar.series import BoolArray, FloatArray, TimeArray
from tools.detection_table import labelled, runs
from tools.made_incidents import made

N_CASES = 10
TEACHES = 0.3
"""The first share of a series, in which nothing is counted."""

DPI = 70


@dataclass(frozen=True)
class Case:
    """An incident, or a false alarm, and the stretch of its series to be drawn; all arrays (T,)."""

    title: str
    group: str
    right: bool
    n_rows: int
    """How long the incident, or the false alarm, was."""
    timestamps: TimeArray
    values: FloatArray
    lower: FloatArray
    upper: FloatArray
    flagged: BoolArray
    incident: BoolArray


@dataclass(frozen=True)
class Series:
    """A series with its incidents, rows from and to."""

    name: str
    group: str
    timestamps: TimeArray
    values: FloatArray
    incidents: list[tuple[int, int]]


def made_up() -> Iterator[Series]:
    """The made-up incidents."""
    for one in made():
        name = f"{one.kind}: {one.incident}, size {one.size:g}"
        yield Series(name, one.incident, one.timestamps, one.values, [(one.begin, one.end)])


def from_files(folder: Path) -> Iterator[Series]:
    """The labelled files of a directory."""
    for group, table, incidents in labelled(folder):
        if table.in_order.all():
            yield Series(group, group, table.timestamps, table.values, incidents)


def cases(series: Series) -> Iterator[Case]:
    """What came of each incident, and every false alarm."""
    expectation, score = score_series(series.timestamps, series.values)
    flagged = np.nan_to_num(score.anomaly_score[0]) > 1
    first = int(TEACHES * len(flagged))
    incident = np.zeros(len(flagged), dtype=np.bool_)
    for begin, end in series.incidents:
        incident[begin : end + 1] = True

    def case(what: str, group: str, right: bool, begin: int, end: int) -> Case:
        margin = max(end - begin, 80)
        part = slice(max(begin - margin, 0), end + margin)
        return Case(
            f"{series.name} – {what}",
            group,
            right,
            end - begin + 1,
            series.timestamps[part],
            series.values[part],
            expectation.lower[0][part],
            expectation.upper[0][part],
            flagged[part],
            incident[part],
        )

    free = flagged.copy()
    for begin, end in series.incidents:
        late = end + max(1, (end - begin) // 4)
        free[begin : late + 1] = False
        if begin < first:
            continue
        found = np.flatnonzero(flagged[begin : end + 1])
        if len(found):
            rows = "at once" if found[0] == 0 else f"after {found[0]} rows"
            yield case(f"found {rows}", series.group, True, begin, end)
        else:
            yield case("missed", series.group, False, begin, end)
    free[:first] = False
    for begin, end in runs(free):
        yield case("false alarm", "false alarm", False, begin, end)


def chosen(found: Iterable[Case], rng: np.random.Generator) -> list[Case]:
    """Ten of them, in turn from each group; false alarms are every third."""
    groups: dict[str, list[Case]] = {}
    for one in found:
        groups.setdefault(one.group, []).append(one)
    for members in groups.values():
        rng.shuffle(members)  # type: ignore[arg-type]
    picked: list[Case] = []
    order = sorted(groups)
    if "false alarm" in order:
        others = [group for group in order if group != "false alarm"]
        order = [
            name
            for at, group in enumerate(others)
            for name in ((group, "false alarm") if at % 2 else (group,))
        ]
    while len(picked) < N_CASES and any(groups.values()):
        for group in order:
            if groups[group] and len(picked) < N_CASES:
                picked.append(groups[group].pop())
    return picked


def draw(path: Path, picked: list[Case]) -> None:
    """The cases in two columns of a PNG file."""
    figure = Figure(figsize=(13, 2.1 * -(-len(picked) // 2)), layout="constrained")
    for axes, one in zip(figure.subplots(-(-len(picked) // 2), 2, squeeze=False).flat, picked, strict=False):
        _panel(axes, one)
    figure.savefig(path, dpi=DPI)


def _panel(axes: Axes, one: Case) -> None:
    times = one.timestamps.astype("datetime64[ms]")
    axes.fill_between(times, one.lower, one.upper, color="#39c", alpha=0.25, lw=0)
    axes.plot(times, one.values, lw=0.8, color="#444")
    axes.plot(times[one.flagged], one.values[one.flagged], ".", ms=4, color="#d33")
    for begin, end in runs(one.incident):
        axes.axvspan(times[begin], times[end], color="#fc3", alpha=0.3, lw=0)
    axes.set_title(one.title, fontsize=8, loc="left")
    axes.tick_params(labelsize=6, axis="both")
    axes.grid(alpha=0.3)
    low, high = np.nanmin(one.values), np.nanmax(one.values)
    margin = 0.4 * float(high - low) or 1.0
    axes.set_ylim(float(low) - margin, float(high) + margin)


def main() -> None:
    """Judge, choose, draw, and say how many there were."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    source = from_files(arguments.directory) if arguments.directory else made_up()
    found = [case for series in source for case in cases(series)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    for name, right in (("right", True), ("wrong", False)):
        draw(arguments.out / f"detection-{name}.png", chosen([c for c in found if c.right is right], rng))
    print("| case | found | missed |")
    print("| --- | --- | --- |")
    for group in sorted({case.group for case in found if case.group != "false alarm"}):
        of_group = [case.right for case in found if case.group == group]
        print(f"| {group} | {sum(of_group)} | {len(of_group) - sum(of_group)} |")
    false_alarms = [case for case in found if case.group == "false alarm"]
    single = sum(case.n_rows == 1 for case in false_alarms)
    print(f"\n{len(false_alarms)} false alarms, {single} of them of a single row.")


if __name__ == "__main__":
    main()
