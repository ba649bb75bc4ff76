"""What an alert is about: the service its labels name, and which labels tell alerts apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

SERVICE_LABELS = (
    "service",
    "app",
    "application",
    "component",
    "deployment",
    "job",
    "container",
    "pod",
    "instance",
)
"""Labels that name what an alert is about, the best first."""

NOT_SHARED = frozenset(
    {"alertname", "severity", "instance", "pod", "fingerprint", "prometheus", "replica", "monitor"}
)
"""Labels that say nothing of a common cause: names of rules, of urgency, of single processes, of servers."""

CONSTANT_SHARE = 0.6
CONSTANT_AFTER = 10
MAX_VALUES = 50_000
"""Label values that are counted; beyond, the rare ones are forgotten, which bind nothing constant anyway."""


def service_of(labels: Mapping[str, str]) -> str:
    """The service that an alert names; its alertname where it names none.

    >>> service_of({"alertname": "X", "job": "node", "service": "cdn"})
    'cdn'
    """
    for name in SERVICE_LABELS:
        value = labels.get(name)
        if value:
            return value
    return labels.get("alertname", "unknown")


class LabelStatistics:
    """How common each label value is among alerts; what nearly all carry binds nothing together."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()
        self._n = 0

    def learn(self, labels: Mapping[str, str]) -> None:
        """Take one more episode's labels."""
        self._n += 1
        self._values.update(pair for pair in labels.items() if pair[0] not in NOT_SHARED)
        if len(self._values) > MAX_VALUES:
            self._values = Counter(dict(self._values.most_common(MAX_VALUES // 2)))

    def telling(self, labels: Mapping[str, str]) -> set[tuple[str, str]]:
        """The label pairs that can bind alerts together."""
        return {
            (name, value)
            for name, value in labels.items()
            if name not in NOT_SHARED and value and not self._constant((name, value))
        }

    def _constant(self, pair: tuple[str, str]) -> bool:
        return self._n >= CONSTANT_AFTER and self._values[pair] > CONSTANT_SHARE * self._n
