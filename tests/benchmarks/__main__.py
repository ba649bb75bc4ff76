"""`python -m tests.benchmarks [--quick] [topic …]`: tables; exit code 1 if a budget is missed."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from tests.benchmarks.table import show

TOPICS = (
    "pull",
    "score",
    "council",
    "export",
    "webhook",
    "incidents",
    "memory",
    "notify",
    "start",
    "forecast",
    "thresholds",
    "risk",
    "rules",
    "explain",
)


def _topic(word: str) -> str:
    if word not in TOPICS:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(TOPICS)}")
    return word


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Speed as ratios, ours beside what else one would use, measured in one run.",
        epilog="Exit code 1 if a budget is missed.",
    )
    parser.add_argument(
        "topics", nargs="*", type=_topic, metavar="topic", help=f"of {', '.join(TOPICS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="short runs: indicative figures only")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the topics named, or all."""
    asked = _arguments(words)
    missed = 0
    for topic in asked.topics or TOPICS:
        rows = importlib.import_module(f"tests.benchmarks.bench_{topic}").run(asked.quick)
        show(topic, rows)
        missed += sum(not row.ok for row in rows)
    print(f"{missed} budgets missed" if missed else "every budget held")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
