"""A place's text before and after, the rules rewritten in it, and who lets it go for which reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rules.adapt.text import Rewrite


@dataclass(frozen=True)
class Change:
    """What is to be done to one place. `evidence`: ready for the store; `approver`: empty while none is."""

    group: str
    before: str
    after: str
    rewrites: Sequence[Rewrite]
    evidence: Mapping[str, object] = field(default_factory=dict)
    approver: str = ""
