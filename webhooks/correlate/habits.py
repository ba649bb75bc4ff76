"""Which alerts come of habit: again and again, with no company that says anything.

An alert that fires alone every half hour is no witness when it fires once more
beside others. Company counts as far as it is itself no habit, or as it is the
same company each time: faults that recur bring the same alerts along.
"""

from __future__ import annotations

import msgspec

from webhooks.correlate.sighting import Sighting

PRIOR = 1.5
ALONE_BELOW = 0.8

MAX_KNOWN = 100_000


class _Record(msgspec.Struct):
    n: int = 0
    n_alone: int = 0
    last: float = 0.0


class Habits:
    """How often each alert, by entity and rule, came without company."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], _Record] = {}

    def learn(self, seen: Sighting, company: float) -> None:
        """Take one more episode and the company it had, in entities."""
        record = self._records.setdefault(seen.habit, _Record())
        record.n += 1
        record.n_alone += company < ALONE_BELOW
        record.last = seen.onset
        if len(self._records) > MAX_KNOWN:
            oldest = sorted(self._records, key=lambda key: self._records[key].last)
            for key in oldest[: MAX_KNOWN // 2]:
                del self._records[key]

    def habit(self, seen: Sighting) -> float:
        """0, never seen or always in company, to nearly 1, always alone."""
        record = self._records.get(seen.habit)
        return record.n_alone / (record.n + PRIOR) if record else 0.0

    def count(self, seen: Sighting) -> tuple[int, int]:
        """How often it came, and how often alone."""
        record = self._records.get(seen.habit)
        return (record.n, record.n_alone) if record else (0, 0)
