"""Alerts that usually resolve by themselves: how long to wait before anybody is told of them."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

ENOUGH = 10
"""So many ends of a rule's alerts are known before anything is expected of it."""

USUALLY = 0.8
"""What resolves within the longest wait so often, resolves by itself."""

REMEMBERED = 200
MAX_RULES = 5_000


@dataclass
class _Durations:
    ordered: array[float] = field(default_factory=lambda: array("d"))
    n: int = 0

    def add(self, seconds: float) -> None:
        insort(self.ordered, seconds)
        self.n += 1
        if len(self.ordered) > REMEMBERED:
            # Thinned from both ends in turn, so that the distribution keeps its shape.
            del self.ordered[:: len(self.ordered) - 1]


class Transients:
    """Learns by rule how long alerts last. Seconds throughout."""

    def __init__(self, longest_wait: float) -> None:
        self._longest = longest_wait
        self._rules: dict[tuple[str, str], _Durations] = {}

    def learn(self, tenant: str, alertname: str, lasted: float) -> None:
        """Take one more end."""
        durations = self._rules.setdefault((tenant, alertname), _Durations())
        durations.add(lasted)
        if len(self._rules) > MAX_RULES:
            del self._rules[next(iter(self._rules))]

    def wait(self, tenant: str, alertname: str) -> float:
        """How long nine in ten of those take that resolve in time; 0 where an alert is no transient."""
        durations = self._rules.get((tenant, alertname))
        if durations is None or len(durations.ordered) < ENOUGH:
            return 0.0
        in_time = bisect_right(durations.ordered, self._longest)
        if in_time < USUALLY * len(durations.ordered):
            return 0.0
        return durations.ordered[min(int(0.9 * in_time), in_time - 1)]

    def wait_for(self, tenant: str, alertnames: Iterable[str]) -> float:
        """The longest of the rules' waits; 0 where any of them is no transient."""
        waits = [self.wait(tenant, name) for name in alertnames]
        return max(waits) if waits and min(waits) > 0.0 else 0.0
