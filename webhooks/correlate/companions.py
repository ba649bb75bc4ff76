"""Which entities tend to begin alerting together, learned online from the alerts themselves."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection

TOGETHER_SECONDS = 300.0
PRIOR = 2.0
"""So many times alone are assumed of everyone, so that one coincidence says little."""

MAX_PAIRS = 50_000
MAX_ENTITIES = 100_000
"""Beyond either the half of all entities is forgotten that has not alerted for longest."""

BURST = 200
"""With more entities than that at once, everything begins with everything, and nothing is learned."""


class Companions:
    """Counts of shared onsets per pair of entities."""

    def __init__(self) -> None:
        self._alone: Counter[str] = Counter()
        self._pairs: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._recent: deque[tuple[float, str]] = deque()
        self._last: dict[str, float] = {}
        self._n_pairs = 0

    def learn(self, entity: str, onset: float) -> None:
        """Take one more onset; onsets of one entity within five minutes count once."""
        if abs(onset - self._last.get(entity, -1e18)) < TOGETHER_SECONDS:
            return
        self._last[entity] = onset
        if len(self._last) > MAX_ENTITIES or self._n_pairs >= MAX_PAIRS:
            self._forget()
        self._alone[entity] += 1
        while self._recent and self._recent[0][0] < onset - 2 * TOGETHER_SECONDS:
            self._recent.popleft()
        if len(self._recent) < BURST:
            for other_onset, other in self._recent:
                if other != entity and abs(onset - other_onset) <= TOGETHER_SECONDS:
                    self._n_pairs += self._pairs[entity][other] == 0
                    self._pairs[entity][other] += 1
                    self._pairs[other][entity] += 1
        self._recent.append((onset, entity))

    def _forget(self) -> None:
        """Let go of the half that is longest ago: names come and go, and those of today must have room."""
        for entity in sorted(self._last, key=self._last.__getitem__)[: len(self._last) // 2]:
            del self._last[entity]
            self._alone.pop(entity, None)
            for other in self._pairs.pop(entity, ()):
                self._pairs[other].pop(entity, None)
                self._n_pairs -= 1

    def partners(self, entity: str) -> Collection[str]:
        """Whom an entity has ever begun together with."""
        return self._pairs.get(entity, ())

    def strength(self, one: str, other: str) -> float:
        """Share of the rarer entity's onsets that the two began together, shrunk; 0..1."""
        together = self._pairs[one][other] if one in self._pairs else 0
        if not together:
            return 0.0
        return max(together - 1, 0) / (min(self._alone[one], self._alone[other]) - 1 + PRIOR)
