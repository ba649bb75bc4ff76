"""How alike the words of two rules are: TF-IDF over names and texts, learned from the alerts themselves.

What all rules say ("high", "service") counts little; what two share and few others say counts much.
Names of entities are left out: labels tell them, and a text that names another entity binds by that.
Where there is an embedding model, other words for the same thing are alike, too.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from operator import mul

from webhooks.correlate.meaning import Encode
from webhooks.correlate.sighting import Sighting
from webhooks.correlate.wording import spoken

_WORD = re.compile(r"[a-z][a-z0-9]{2,}")
COMMON = frozenset(
    {"the", "and", "for", "with", "has", "have", "are", "was", "more", "than", "from", "this", "that"}
)
MAX_TEXT = 1000
MAX_RULES = 2_000
MAX_PAIRS = 200_000
"""So many comparisons are remembered; of all rules with all there may be ten times as many."""

IDF_FLOOR = 0.3
"""What a word counts that is in every rule's text."""

ENOUGH = 0.2
"""Less alike than this is chance: some words are in every text."""


MEANT = 0.35
"""Cosines of meanings below this are chance: most texts of operations have something in common."""


class Likeness:
    """Knows each rule by the words of its first alert."""

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode
        self._meanings: dict[str, Sequence[float]] = {}
        self._words: dict[str, frozenset[str]] = {}
        self._n_rules_with: Counter[str] = Counter()
        self._known: dict[tuple[str, str], float] = {}

    def learn(self, seen: Sighting) -> None:
        """Take a rule's words, the first time that it is heard of."""
        if seen.name in self._words or len(self._words) >= MAX_RULES:
            return
        words = words_of(seen)
        self._words[seen.name] = frozenset(words)
        self._n_rules_with.update(words)
        if self._encode is not None:
            self._meanings[seen.name] = self._encode(" ".join(words))
        self._known.clear()  # What is rare has changed.

    def of(self, one: str, other: str) -> float:
        """Cosine of two rules' words, 0..1; 0 where it may be chance, and of one rule with itself."""
        if one == other:
            return 0.0
        pair = (one, other) if one < other else (other, one)
        known = self._known.get(pair)
        if known is None:
            if len(self._known) >= MAX_PAIRS:
                self._known.clear()
            by_words = self._cosine(self._words.get(one, ()), self._words.get(other, ()))
            known = self._known[pair] = max(by_words, self._meant(one, other))
        return known

    def _meant(self, one: str, other: str) -> float:
        """How alike the meanings of two rules are, 0..1 above chance; 0 where nobody knows."""
        if one not in self._meanings or other not in self._meanings:
            return 0.0
        cosine: float = sum(map(mul, self._meanings[one], self._meanings[other]), 0.0)
        return max((cosine - MEANT) / (1.0 - MEANT), 0.0)

    def _cosine(self, one: Collection[str], other: Collection[str]) -> float:
        shared = self._weight(word for word in one if word in other)
        if not shared:
            return 0.0
        cosine = shared / math.sqrt(self._weight(one) * self._weight(other))
        return cosine if cosine >= ENOUGH else 0.0

    def _weight(self, words: Iterable[str]) -> float:
        """Sum of squares of inverse document frequencies, a rule being a document."""
        n = 1 + len(self._words)
        return sum((math.log(n / (1 + self._n_rules_with[word])) + IDF_FLOOR) ** 2 for word in words)


def words_of(seen: Sighting) -> list[str]:
    """The words of an alert's rule name and annotations, once each; addresses and entities are left out."""
    texts = [spoken(seen.name)]
    texts += [text[:MAX_TEXT] for text in seen.episode.annotations.values() if "://" not in text[:12]]
    names = {word for name in (seen.entity, *seen.subject.mentions) for word in _WORD.findall(name)}
    words = dict.fromkeys(_WORD.findall(" ".join(texts).lower()))
    return [word for word in words if word not in names and word not in COMMON]
