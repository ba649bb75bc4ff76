"""What feedback teaches, for docs/response.md: streams of webhooks, judged with and without it.

Without a stream six weeks are made up (tools/made_alerts.py). Each stream is cut into
parts of equal time. After each part every incident that people were told of is called
noise or useful, as the truth has it; the next part is judged with what was said. The
truth is lines of JSON with `fingerprint`, `startsAt`, `is_noise`, `incident`, `priority`
and `alertname`. Run as
`python -m tools.feedback_curve [--stream WEBHOOKS TRUTH TOPOLOGY …] [--picture FILE.png]`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sidecar.records import Feedback
from tools.made_alerts import made, write
from webhooks.correlate.topology import load
from webhooks.offline import correlate

PARTS = 6
PAGES = ("P0", "P1")
BINS = 5


@dataclass
class Part:
    """What became of one part of the streams."""

    right: int = 0
    real_lost: int = 0
    noise_missed: int = 0
    n_told: int = 0
    n_told_noise: int = 0
    pages_lost: int = 0
    believed: Counter[int] = field(default_factory=Counter)
    was_noise: Counter[int] = field(default_factory=Counter)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(2 * self.right + self.real_lost + self.noise_missed, 1)


def judge(webhooks: Path, truth: Path, topology: Path, parts: list[Part], *, learn: bool) -> None:
    """Replay one stream, adding to the parts."""
    lines = webhooks.read_bytes().splitlines()
    moments = [_seconds(json.loads(line)["received_at"]) for line in lines]
    rows = [json.loads(line) for line in truth.read_text().splitlines()]
    known = {(row["fingerprint"], row["startsAt"][:19]): row for row in rows}
    graph = load(topology)
    said: list[Feedback] = []
    first, span = moments[0], moments[-1] - moments[0]
    for at, part in enumerate(parts):
        begin, end = first + span * at / len(parts), first + span * (at + 1) / len(parts)
        heard = [line for line, moment in zip(lines, moments, strict=True) if moment <= end]
        told: set[str] = set()
        lost: set[str] = set()
        for incident in correlate(heard, topology=graph, feedback=list(said)):
            if _seconds(incident["started_at"]) < begin:
                continue
            members = [known.get((e["fingerprint"], e["startsAt"][:19])) for e in incident["episodes"]]
            found = [row for row in members if row is not None]
            _count(part, incident, found)
            pages = {row["incident"] for row in found if row["incident"] and row.get("priority") in PAGES}
            is_told = incident["priority"] != "P4"
            (told if is_told else lost).update(pages)
            if is_told and learn:
                said += _verdicts(incident, found)
        part.pages_lost += len(lost - told)


def _count(part: Part, incident: dict[str, Any], members: list[dict[str, Any]]) -> None:
    hidden = set(incident["noise_alerts"])
    for row in members:
        flagged = row["fingerprint"] in hidden
        part.right += flagged and row["is_noise"]
        part.real_lost += flagged and not row["is_noise"]
        part.noise_missed += not flagged and row["is_noise"]
    is_noise = all(row["is_noise"] for row in members)
    cell = min(int(incident["noise_probability"] * BINS), BINS - 1)
    part.believed[cell] += 1
    part.was_noise[cell] += is_noise
    if incident["priority"] != "P4":
        part.n_told += 1
        part.n_told_noise += is_noise


def _verdicts(incident: dict[str, Any], members: list[dict[str, Any]]) -> list[Feedback]:
    verdict = "noise" if all(row["is_noise"] for row in members) else "useful"
    rules = sorted({row["alertname"] for row in members})
    believed = float(incident["noise_probability"])
    name = f"{incident['incident_id']}/{incident['started_at']}"
    return [Feedback(name, "default", 0, verdict, "simulated", rule, "", believed) for rule in rules]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def judged(streams: Iterable[tuple[Path, Path, Path]], *, n_parts: int = PARTS) -> dict[bool, list[Part]]:
    """The parts of all streams, by whether what people said was heeded."""
    runs = {learn: [Part() for _ in range(n_parts)] for learn in (False, True)}
    for learn, parts in runs.items():
        for stream in streams:
            judge(*stream, parts, learn=learn)
    return runs


def tables(runs: dict[bool, list[Part]]) -> Iterator[str]:
    """Lines of Markdown."""
    columns = ("noise F1", "told, of it noise", "pages lost")
    yield f"| part | {' | '.join(columns)} | with feedback: {' | '.join(columns)} |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for at, (plain, taught) in enumerate(zip(runs[False], runs[True], strict=True), 1):
        cells = [f"{p.f1:.2f} | {p.n_told}, {p.n_told_noise} | {p.pages_lost}" for p in (plain, taught)]
        yield f"| {at} | {' | '.join(cells)} |"
    yield ""
    yield "| believed | incidents | were noise | with feedback: incidents | were noise |"
    yield "| --- | --- | --- | --- | --- |"
    for cell in range(BINS):
        columns_of_cell = []
        for parts in runs.values():
            n, noise = sum(p.believed[cell] for p in parts), sum(p.was_noise[cell] for p in parts)
            columns_of_cell.append(f"{n} | {noise / n:.0%}" if n else "0 | –")
        yield f"| {cell / BINS:.0%} to {(cell + 1) / BINS:.0%} | {' | '.join(columns_of_cell)} |"


def picture(runs: dict[bool, list[Part]], path: Path) -> None:
    """The curve over the parts, and how often what was believed to be noise was noise."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    curve, calibration = figure.subplots(1, 2)
    calibration.plot([0, 1], [0, 1], color="#adb5bd", linewidth=1, label="believed = was")
    for learn, parts in runs.items():
        words, colour = ("with feedback", "#d9480f") if learn else ("without", "#495057")
        curve.plot(range(1, len(parts) + 1), [p.f1 for p in parts], "o-", color=colour, label=words)
        points = []
        for cell in range(BINS):
            n, noise = sum(p.believed[cell] for p in parts), sum(p.was_noise[cell] for p in parts)
            if n:
                points.append(((cell + 0.5) / BINS, noise / n))
        calibration.plot(*zip(*points, strict=True), "o-", color=colour, label=words)
    curve.set(xlabel="part of the time", ylabel="F1 of noise", ylim=(0.5, 1))
    calibration.set(xlabel="believed probability of noise", ylabel="share that was noise", ylim=(0, 1))
    for axes in (curve, calibration):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("WEBHOOKS", "TRUTH", "TOPOLOGY")
    parser.add_argument("--stream", nargs=3, type=Path, action="append", metavar=names, default=[])
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    with TemporaryDirectory() as directory:
        streams = arguments.stream or [write(made(PARTS), Path(directory))]
        runs = judged(streams)
    print("\n".join(tables(runs)))
    if arguments.picture is not None:
        picture(runs, arguments.picture)


if __name__ == "__main__":
    main()
