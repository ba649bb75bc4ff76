"""What adapting rules is worth on labelled series: `python -m tools.rules_replay DIRECTORY`.

The directory is laid out as for `tools.detection_table`; where moments are labelled beside
windows (`labels/combined_labels.json`), an incident begins at its moment, not at its window.

Each series gets two rules as one writes them after a look at a graph: above the 95th
percentile of its first half, and below the 5th, without `for`. They are adapted on that
half, and old and new run over the other half, in a Prometheus that holds the series.

All rules of the directory are one fleet: where they are quieter together by `--enough`, none is
made less sensitive than that needs.

What the old rules told of by chance is counted apart, since fewer alarms lose it by design. An
alarm is one of chance if, while it fired, nothing went beyond what normal life reached in the
first half, and if their rate of false alarms makes one so early more probable than one in twenty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry
from rich.progress import track

from rules.adapt.history import Adapted, Adapter, Choice, loosest_enough
from rules.adapt.uncertainty import CHANCE
from rules.backtest.compare import Catch, Comparison, IncidentRow, compare
from rules.backtest.firing import Firing
from rules.backtest.past import BackTester, Window
from rules.incidents import KnownIncident, within
from rules.read import WrittenRule, taken_apart
from sidecar.cli.rules_table import print_table
from sidecar.cli.rules_temporary import temporary_prometheus
from sidecar.config.adapt import AdaptConfig
from sidecar.config.fields import format_duration
from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.promql.threshold import Comparison as PromComparison
from sidecar.tables import SeriesTable
from tools.detection_table import Runs, labelled

BY_CHANCE = "was told of, or so soon, by chance"
LOOKBACK_STEPS = 1.5
"""Samples come at uneven times; one is the newest until the next ought to be there."""


@dataclass(frozen=True)
class LabelledSeries:
    """One series, by its set and a name that is unique in it, with its incidents."""

    group: str
    name: str
    table: SeriesTable
    incidents: tuple[KnownIncident, ...]

    @property
    def step_ms(self) -> int:
        """The usual distance of its samples."""
        return round(self.table.step_seconds) * 1000

    @property
    def windows(self) -> tuple[Window, Window]:
        """The half that is learned from, and the half that is replayed."""
        step = self.step_ms
        start, end = (int(at) // step * step for at in self.table.timestamps[self.table.in_order][[0, -1]])
        middle = (start + end) // 2 // step * step
        return Window(start, middle, step), Window(middle, end, step)

    @cached_property
    def calm(self) -> tuple[float, float]:
        """The least and the greatest that the first half has outside of incidents."""
        learned, _ = self.windows
        times, values = self.table.timestamps, self.table.values
        calm = values[(times <= learned.end_ms) & ~within(self.incidents, times)]
        return float(np.nanmin(calm)), float(np.nanmax(calm))

    def goes_beyond(self, firing: Firing, rule: WrittenRule) -> bool:
        """Whether what a rule fired on went beyond all of the calm first half, on the rule's side."""
        times, values = self.table.timestamps, self.table.values
        newest = firing.start_ms - LOOKBACK_STEPS * self.step_ms
        there = values[(times > newest) & (times < firing.end_ms)]
        least, greatest = self.calm
        comparison = taken_apart(rule)
        above = isinstance(comparison, PromComparison) and comparison.above
        return bool((there > greatest).any() if above else (there < least).any())

    def worst(self, start_ms: float, end_ms: float, above: bool) -> float:
        """The value furthest on the bad side, from the newest sample at the one moment to the other."""
        times, values = self.table.timestamps, self.table.values
        there = values[(times > start_ms - LOOKBACK_STEPS * self.step_ms) & (times <= end_ms)]
        return float(np.nanmax(there) if above else np.nanmin(there))

    def rules(self, share: float) -> list[WrittenRule]:
        """One rule above all but a share of the first half, one below."""
        learned, _ = self.windows
        first = self.table.values[self.table.timestamps <= learned.end_ms]
        selector = f"sample{{series={json.dumps(self.name)}}}"
        high, low = np.nanquantile(first, (1 - share, share))
        return [
            WrittenRule(f"{self.name} high", f"{selector} > {high:.6g}", "alerting"),
            WrittenRule(f"{self.name} low", f"{selector} < {low:.6g}", "alerting"),
        ]

    def openmetrics(self) -> str:
        """Its samples."""
        kept = self.table.in_order & np.isfinite(self.table.values)
        head = f"sample{{series={json.dumps(self.name)}}}"
        pairs = zip(
            self.table.values[kept].tolist(), (self.table.timestamps[kept] / 1000).tolist(), strict=True
        )
        return "".join([f"{head} {value!r} {moment:.3f}\n" for value, moment in pairs])


@dataclass(frozen=True)
class Replayed:
    """One series' rules, adapted and run."""

    series: LabelledSeries
    adapted: Sequence[Adapted]
    comparison: Comparison

    def verdict(self, row: IncidentRow) -> str:
        """What became of an incident that the old rules caught."""
        interval = self.comparison.interval_seconds
        if row.kept(interval):
            return "kept"
        told = self._told(row.incident)
        if told is None or replace(row, before=told).kept(interval):
            return BY_CHANCE
        return "lost" if row.after is None else "late"

    def case(self, row: IncidentRow) -> tuple[str, ...]:
        """Of an incident that is late or lost: what was there when the old alarm told of it, and at worst."""
        assert row.before is not None
        told = self._told(row.incident) or row.before
        adapted = next(one for one in self.adapted if one.rule.name == told.alert)
        comparison = taken_apart(adapted.rule)
        above = isinstance(comparison, PromComparison) and comparison.above
        incident, worst = row.incident, self.series.worst
        moment = incident.start_ms + told.delay_seconds * 1000
        return (
            incident.name,
            "high" if above else "low",
            f"{worst(moment, moment, above):.4g}",
            f"{worst(incident.start_ms, incident.end_ms, above):.4g}",
            f"{self.series.calm[above]:.4g}",
            "; ".join(adapted.changes) or f"– {adapted.why_not}",
        )

    def _told(self, incident: KnownIncident) -> Catch | None:
        """The first of the old alarms in an incident that is none of chance."""
        found = [
            Catch(past.rule.name, (firing.start_ms - incident.start_ms) / 1000)
            for past in self.comparison.before
            for firing in past.firings
            if incident.start_ms <= firing.start_ms <= incident.end_ms
            and not self._by_chance(past.rule, firing, incident)
        ]
        return min(found, key=lambda one: one.delay_seconds, default=None)

    def _by_chance(self, rule: WrittenRule, firing: Firing, incident: KnownIncident) -> bool:
        """Whether a false alarm as early as this is probable, and nothing tells this one from such."""
        waited = (firing.start_ms - incident.start_ms) / 1000
        return self.comparison.by_noise(waited) > CHANCE and not self.series.goes_beyond(firing, rule)


def read_series(folder: Path) -> list[LabelledSeries]:
    """Every labelled series below the folder whose step is a minute or more."""
    moments = _moments(folder)
    found = []
    for group, table, runs in labelled(folder):
        if table.step_seconds < 60:
            continue
        name = f"{table.path.parent.name}/{table.path.stem}"
        incidents = tuple(_incidents(name, table, runs, moments.get(table.path, ())))
        # A folder of files alone is a set itself.
        group = folder.resolve().name if group == table.path.name else group
        found.append(LabelledSeries(group, name, table, incidents))
    return found


def _moments(folder: Path) -> dict[Path, list[int]]:
    """By file the labelled moments (ms)."""
    return {
        labels.parent.parent / "data" / name: [int(np.datetime64(one, "ms").astype(np.int64)) for one in ones]
        for labels in folder.rglob("combined_labels.json")
        for name, ones in json.loads(labels.read_text()).items()
    }


def _incidents(name: str, table: SeriesTable, runs: Runs, moments: Sequence[int]) -> Iterator[KnownIncident]:
    for n, (first, last) in enumerate(runs):
        start, end = int(table.timestamps[first]), int(table.timestamps[last])
        start = min((one for one in moments if start <= one <= end), default=start)
        end = max(end, start + round(table.step_seconds) * 1000)
        yield KnownIncident(f"{name} #{n + 1}", start, end, match={"series": re.escape(name)})


async def replay(series: Sequence[LabelledSeries], config: AdaptConfig, share: float) -> list[Replayed]:
    """Every series' rules, adapted together on the first halves and run over the second ones."""
    choices: list[Choice] = []
    steps = _by_step(series)
    for same in steps:
        async with _prometheus(same) as tester:
            adapter = Adapter(tester, config)
            for one in track(same, description=_words("adapt", same)):
                learned, _ = one.windows
                choices += await adapter.choices(one.rules(share), learned, one.incidents)
    adapted = iter(loosest_enough(choices, config.enough))
    done = []
    for same in steps:
        async with _prometheus(same) as tester:
            for one in track(same, description=_words("replay", same)):
                both = [next(adapted) for _ in one.rules(share)]
                _, later = one.windows
                before = await tester.all([each.rule for each in both], later)
                after = await tester.all([each.written for each in both], later)
                done.append(Replayed(one, both, compare(before, after, one.incidents)))
    return done


def _by_step(series: Sequence[LabelledSeries]) -> list[list[LabelledSeries]]:
    """How far a Prometheus looks back goes by the step, so those of one step share one."""
    ordered = sorted(series, key=lambda one: one.step_ms)
    return [list(same) for _, same in groupby(ordered, key=lambda one: one.step_ms)]


def _words(what: str, same: Sequence[LabelledSeries]) -> str:
    return f"{what}, step {format_duration(same[0].step_ms / 1000)}"


@asynccontextmanager
async def _prometheus(same: Sequence[LabelledSeries]) -> AsyncIterator[BackTester]:
    """A Prometheus that has the series."""
    pages = ["# TYPE sample gauge\n", *(one.openmetrics() for one in same), "# EOF\n"]
    lookback_seconds = LOOKBACK_STEPS * same[0].step_ms / 1000
    async with temporary_prometheus(pages, lookback_seconds=lookback_seconds) as url:
        source = SourceConfig(url=url)
        async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
            yield BackTester(client)


def show(done: Sequence[Replayed]) -> None:
    """Tables by rule and by incident, then what it comes to by set."""
    rows = [
        (
            one.series.group,
            adapted.rule.name,
            str(len(before.firings)),
            str(len(after.firings)),
            "; ".join(adapted.changes) or f"– {adapted.why_not}",
        )
        for one in done
        for adapted, before, after in zip(
            one.adapted, one.comparison.before, one.comparison.after, strict=True
        )
    ]
    print_table(("set", "rule", "before", "after", "change"), rows)
    print()
    incidents = [
        (
            row.incident.name,
            format_duration(row.before.delay_seconds),
            format_duration(row.after.delay_seconds) if row.after else "–",
            one.verdict(row),
        )
        for one in done
        for row in one.comparison.incidents
        if row.before is not None
    ]
    print_table(("incident", "before after", "now after", ""), incidents)
    print()
    cases = [
        one.case(row)
        for one in done
        for row in one.comparison.incidents
        if row.before is not None and one.verdict(row) in ("late", "lost")
    ]
    if cases:
        print_table(CASES, cases)
        print()
    print_table(SUMMARY, [summary(name, done) for name in sorted({one.series.group for one in done})])


CASES = ("late or lost", "alarm", "told at", "worst in it", "calm life's worst", "change")
SUMMARY = (
    *("set", "rules", "rewritten", "firings before", "after", "fewer", "incidents", "told of before"),
    *("kept", "late", "lost", "by chance"),
)


def summary(group: str, done: Sequence[Replayed]) -> tuple[str, ...]:
    """One set's line."""
    ours = [one for one in done if one.series.group == group]
    before = sum(one.comparison.n_before for one in ours)
    after = sum(one.comparison.n_after for one in ours)
    rows = [(one, row) for one in ours for row in one.comparison.incidents]
    fates = Counter(one.verdict(row) for one, row in rows if row.before is not None)
    return (
        group,
        str(sum(len(one.adapted) for one in ours)),
        str(sum(each.changed for one in ours for each in one.adapted)),
        str(before),
        str(after),
        f"{1 - after / max(before, 1):.1%}",
        str(len(rows)),
        str(sum(fates.values()) - fates[BY_CHANCE]),
        *(str(fates[fate]) for fate in ("kept", "late", "lost", BY_CHANCE)),
    )


def main() -> None:
    """Replay every series, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of the first half beyond each rule")
    parser.add_argument(
        "--enough", type=float, default=0.85, help="so much less firing on the first halves is enough"
    )
    parser.add_argument("--min-days", type=float, default=5.0, help="of a first half that is learned from")
    arguments = parser.parse_args()
    config = AdaptConfig(min_history=arguments.min_days * 86_400, enough=arguments.enough)
    done = asyncio.run(replay(read_series(arguments.directory), config, arguments.share))
    show(done)


if __name__ == "__main__":
    main()
