"""What an audit finds: which rule, what is wrong with it, the evidence, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Everything that an audit looks for, the worst first."""

    BROKEN = "broken"
    MISSING_SERIES = "missing series"
    MATCHES_NOTHING = "matches nothing"
    CANNOT_JOIN = "cannot join"
    CONSTANT = "fires constantly"
    FLAPS = "flaps"
    BRIEF = "resolves within minutes"
    DUPLICATE = "duplicate"
    TWINS = "same name and labels"
    IMPLIED = "implied by another"
    CO_FIRES = "co-fires with another"
    MANY_AT_ONCE = "many alerts at once"
    UNREACHABLE = "threshold far from anything seen"
    NEVER = "never fires"
    CHANGING_IDENTITY = "labels change with the value"
    UNGATED_RATIO = "ratio without a gate"
    NO_FOR = "no for"
    EXPENSIVE = "expensive"
    UNASKABLE = "refused by the server"
    NO_OWNER = "no owner"
    NO_RUNBOOK = "no runbook"
    NAMING = "naming"


RANK = {kind: n for n, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one rule. `weight`: how much of it there is, to rank equals by."""

    rule: str
    kind: Kind
    evidence: str
    proposal: str
    weight: float = 0.0


def in_days(days: float) -> str:
    """A window's length in words.

    >>> in_days(1.2), in_days(28.0), in_days(0.25)
    ('1 day', '28 days', '6 hours')
    >>> in_days(30 / 1440)
    '30 minutes'
    """
    if days < 2 / 24:
        return f"{days * 1440:.0f} minutes"
    if days < 0.9:
        return f"{days * 24:.0f} hours"
    return "1 day" if round(days) == 1 else f"{days:.0f} days"


def ranked(findings: list[Finding]) -> list[Finding]:
    """The worst kinds first, within a kind the most of it."""
    return sorted(findings, key=lambda one: (RANK[one.kind], -one.weight, one.rule))
