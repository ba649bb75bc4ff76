"""The tables of what feedback teaches, for docs/response.md: recorded streams, with and without it.

Each stream is cut into parts of equal time. After each part every incident that
people were told of is called noise or useful, as the truth has it; the next part
is judged with what was said. The truth is lines of JSON with `fingerprint`,
`startsAt`, `is_noise`, `incident`, `priority` and `alertname`. Run as
`python -m tools.feedback_curve --stream WEBHOOKS TRUTH TOPOLOGY [--stream …]`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sidecar.records import Feedback
from webhooks.offline import correlate
from webhooks.topology import load

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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("WEBHOOKS", "TRUTH", "TOPOLOGY")
    parser.add_argument("--stream", nargs=3, type=Path, action="append", metavar=names, required=True)
    streams = parser.parse_args().stream
    runs = {learn: [Part() for _ in range(PARTS)] for learn in (False, True)}
    for learn, parts in runs.items():
        for stream in streams:
            judge(*stream, parts, learn=learn)
    columns = ("noise F1", "told, of it noise", "pages lost")
    print(f"| part | {' | '.join(columns)} | with feedback: {' | '.join(columns)} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for at, (plain, taught) in enumerate(zip(runs[False], runs[True], strict=True), 1):
        cells = [f"{p.f1:.2f} | {p.n_told}, {p.n_told_noise} | {p.pages_lost}" for p in (plain, taught)]
        print(f"| {at} | {' | '.join(cells)} |")
    print("\n| believed | incidents | were noise | with feedback: incidents | were noise |")
    print("| --- | --- | --- | --- | --- |")
    for cell in range(BINS):
        columns = []
        for parts in runs.values():
            n, noise = sum(p.believed[cell] for p in parts), sum(p.was_noise[cell] for p in parts)
            columns.append(f"{n} | {noise / n:.0%}" if n else "0 | –")
        print(f"| {cell / BINS:.0%} to {(cell + 1) / BINS:.0%} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
