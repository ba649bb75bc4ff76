"""Who begins a constant time after whom, learned online: a queue fills minutes after its reader dies."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping

import msgspec

REACH_SECONDS = 900.0
APART_SECONDS = 60.0
"""Onsets of one entity within a minute are one."""

ENOUGH = 4
"""So often must one have followed the other, the time at hand counted."""

STEADY_SECONDS = 30.0
"""Standard deviation of a lag that is one; chance meetings are spread over the quarter of an hour."""

PRIOR = 1.0
MAX_RECENT = 200
"""With more entities than that at once, everything follows everything, and nothing is learned."""

MAX_PAIRS = 50_000
MAX_ENTITIES = 100_000
"""Beyond either the half of all entities is forgotten that has not alerted for longest."""


class Steady(msgspec.Struct, frozen=True, gc=False):
    """That one begins so many seconds after another (before it, where negative), and how surely, 0..1."""

    seconds: float
    strength: float


class _Pair(msgspec.Struct):
    """Count, mean and sum of squared distances from it, after Welford (1962)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        off = value - self.mean
        self.mean += off / self.n
        self.squares += off * (value - self.mean)


class Lags:
    """Lags from each entity to those that began within a quarter of an hour after it."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self._recent: deque[tuple[float, str]] = deque()
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._steady: defaultdict[str, dict[str, Steady]] = defaultdict(dict)

    def learn(self, entity: str, onset: float) -> None:
        """Take one more onset, in seconds since the epoch."""
        if abs(onset - self._last.get(entity, -1e18)) < APART_SECONDS:
            return
        self._last[entity] = onset
        if len(self._last) > MAX_ENTITIES or len(self._pairs) >= MAX_PAIRS:
            self._forget()
        self._times[entity] += 1
        while self._recent and self._recent[0][0] < onset - 2.0 * REACH_SECONDS:
            self._recent.popleft()
        if len(self._recent) < MAX_RECENT:
            for before, other in self._recent:
                if other != entity and 0.0 <= onset - before <= REACH_SECONDS:
                    self._follow(other, entity, onset - before)
        self._recent.append((onset, entity))

    def _forget(self) -> None:
        """Let go of the half that is longest ago: names come and go, and those of today must have room."""
        gone = set(sorted(self._last, key=self._last.__getitem__)[: len(self._last) // 2])
        for entity in gone:
            del self._last[entity]
            self._times.pop(entity, None)
            for other in self._steady.pop(entity, {}):
                self._steady[other].pop(entity, None)
        self._pairs = {pair: known for pair, known in self._pairs.items() if gone.isdisjoint(pair)}

    def of(self, entity: str) -> Mapping[str, Steady]:
        """Whom an entity steadily follows or precedes, and by how much."""
        return self._steady.get(entity, {})

    def any_between(self, ones: Collection[str], others: Collection[str]) -> bool:
        """Whether anything of the one side steadily follows or precedes anything of the other."""
        return bool(self._steady) and any(not self.of(one).keys().isdisjoint(others) for one in ones)

    def _follow(self, first: str, then: str, seconds: float) -> None:
        pair = self._pairs.get((first, then))
        if pair is None:
            pair = self._pairs[first, then] = _Pair()
        pair.add(seconds)
        if pair.n < ENOUGH:
            return
        if math.sqrt(pair.squares / pair.n) > STEADY_SECONDS:
            self._steady[then].pop(first, None)
            self._steady[first].pop(then, None)
            return
        rarer = min(self._times[first], self._times[then])
        strength = min((pair.n - 1) / (rarer - 1 + PRIOR), 1.0)
        self._steady[then][first] = Steady(pair.mean, strength)
        self._steady[first][then] = Steady(-pair.mean, strength)
