"""The behaviour in incidents, ours and the peers', on a real Prometheus: `python -m tools.scenario_table`.

Prints a Markdown table: of each incident, minutes until the alert fires and the
share of the incident that it stays (the worst of all hours of the day), and
minutes fired wrongly (the sum), for pronoia's generated rule and, on the same
samples, for the two strategies of grafana/promql-anomaly-detection. Needs
prometheus and promtool; some minutes with the peers, a quarter of one without.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.integration.scenarios.incidents import Scenario, scenarios
from tests.integration.scenarios.peers import record, strategies
from tests.integration.scenarios.replay import FLAGS, Firing, replay
from tests.integration.scenarios.verdict import Verdict
from tests.integration.servers import Prometheus, stopping


def cell(verdicts: list[Verdict], *, incident: bool) -> str:
    """The worst of several verdicts in a few characters."""
    false_minutes = sum(verdict.false_minutes for verdict in verdicts)
    wrong = f"{false_minutes} false" if false_minutes else ""
    if not incident:
        return wrong or "silent"
    firsts = [verdict.after_minutes for verdict in verdicts]
    seen = [first for first in firsts if first is not None]
    if not seen:
        return ", ".join(filter(None, ["never", wrong]))
    share = min(verdict.stays_share for verdict in verdicts)
    missed = len(firsts) - len(seen)
    longest = f"{max(seen):g} min" if max(seen) < 600 else f"{max(seen) / 60:.0f} h"
    return ", ".join(
        filter(
            None, [longest, f"{share:.0%}", f"never at {missed} of {len(firsts)}" if missed else "", wrong]
        )
    )


def table(played: list[Scenario], columns: Mapping[str, Firing]) -> str:
    """The table in Markdown."""
    lines = [
        f"| incident | series | {' | '.join(columns)} |",
        f"| --- | --- | {' | '.join('---' for _ in columns)} |",
    ]
    rows: dict[tuple[str, str], list[Scenario]] = {}
    for scenario in played:
        rows.setdefault((scenario.incident.name, scenario.kind), []).append(scenario)
    for (name, kind), members in rows.items():
        series = kind if len(members) == 1 else f"{kind}, {len(members)} hours"
        cells = [
            cell(
                [Verdict.of(scenario, fires.of(scenario)) for scenario in members],
                incident=members[0].incident.expected.within_minutes is not None,
            )
            for fires in columns.values()
        ]
        lines.append(f"| {name} | {series} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Play all scenarios, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--only", default="", metavar="WORDS", help="incidents named with these words")
    arguments = parser.parse_args()
    played = [one for one in scenarios(all_phases=True) if arguments.only in one.incident.name]
    with tempfile.TemporaryDirectory() as directory:
        prometheus = Prometheus(Path(directory) / "prometheus", flags=FLAGS)
        with stopping(prometheus):
            ours, _ = replay(prometheus, played)
            columns = {"pronoia": ours}
            if not arguments.without_peers:
                record(prometheus, Path(directory))
                columns |= strategies(prometheus)
    print(table(played, columns))


if __name__ == "__main__":
    main()
