"""`python -m tests.benchmarks [--quick] [topic …]`: tables; exit code 1 if a budget is missed."""

from __future__ import annotations

import importlib
import sys

from tests.benchmarks.table import show

TOPICS = (
    "pull",
    "score",
    "council",
    "export",
    "webhook",
    "incidents",
    "start",
    "forecast",
    "thresholds",
    "risk",
    "rules",
    "explain",
)


def main(arguments: list[str]) -> int:
    """Run the topics named, or all."""
    quick = "--quick" in arguments
    topics = [argument for argument in arguments if not argument.startswith("-")] or list(TOPICS)
    missed = 0
    for topic in topics:
        rows = importlib.import_module(f"tests.benchmarks.bench_{topic}").run(quick)
        show(topic, rows)
        missed += sum(not row.ok for row in rows)
    print(f"{missed} budgets missed" if missed else "every budget held")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
