"""The parser, behind a bound on how deep an expression is nested.

It recurses in native code, where what is too deep ends the whole process and not the one question: a stack
of 1 MiB, as threads have on musl, is full after some 490 operators in a row or 970 parentheses (measured,
promql-parser 0.12), and Python's own walks over a tree end at 1000 calls. Nothing else calls the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import promql_parser as promql

from sidecar.promql.quoted import STRING

MAX_DEPTH = 250
"""Half of what the smallest stack holds; the deepest that pronoia writes is a table by hour of week: 176."""

STRING_OR_COMMENT = re.compile(STRING + r"|\#[^\n]*")

_SIGN = re.compile(r"[()\[\]{},]|[=!<>]=|=~|!~|[<>=^*/%+-]|\b(?:or|and|unless|atan2)\b", re.IGNORECASE)
_LOOSEST_FIRST = (
    frozenset(("or",)),
    frozenset(("and", "unless")),
    frozenset(("==", "!=", "<", "<=", ">", ">=")),
    frozenset(("+", "-", "*", "/", "%", "^", "atan2", "[")),
)


class TooDeepError(ValueError):
    """The expression is nested deeper than is read."""


def parse(expr: str) -> promql.Expr:
    """The tree of an expression.

    Raises: ValueError where it is not PromQL; TooDeepError, which is one, beyond `MAX_DEPTH`.
    """
    # Each level takes a character at least.
    if len(expr) > MAX_DEPTH and (found := depth(expr)) > MAX_DEPTH:
        raise TooDeepError(
            f"it is nested {found} deep, and up to {MAX_DEPTH} is read: record parts of it as rules"
        )
    return promql.parse(expr)


def depth(expr: str) -> int:
    """How deep the tree of an expression is at most, told from its text.

    Operators in a row nest as parentheses do, each in what follows it or goes before.

    >>> depth("up"), depth("((up))"), depth("a + b + c"), depth("a or b > 1 or c > 2 and (d)")
    (0, 2, 2, 5)
    """
    opened = [_Level()]
    for sign in _SIGN.findall(STRING_OR_COMMENT.sub(" ", expr)):
        if sign in "([{":
            if sign == "[":
                opened[-1].add(sign)  # A range stands around what goes before it.
            opened.append(_Level())
        elif sign in ")]}":
            if len(opened) > 1:
                inner = opened.pop().depth() + 1
                opened[-1].inner = max(opened[-1].inner, inner)
        else:
            opened[-1].add(sign.lower())
    found = 0
    while opened:
        last = opened.pop()
        last.inner = max(last.inner, found)
        found = last.depth() + (1 if opened else 0)
    return found


@dataclass(slots=True)
class _Level:
    """What stands between two brackets: the longest row of operators by precedence, and what is within."""

    inner: int = 0
    longest: list[int] = field(default_factory=lambda: [0] * len(_LOOSEST_FIRST))
    row: list[int] = field(default_factory=lambda: [0] * len(_LOOSEST_FIRST))

    def add(self, sign: str) -> None:
        """One more operator; a looser one, or a comma, ends the rows of the tighter ones."""
        rank = next((n for n, known in enumerate(_LOOSEST_FIRST) if sign in known), -1)
        for tighter in range(rank + 1, len(self.row)):
            self.row[tighter] = 0
        if rank >= 0:
            self.row[rank] += 1
            self.longest[rank] = max(self.longest[rank], self.row[rank])

    def depth(self) -> int:
        """At most so deep: rows within each other, and what is deepest within those."""
        return sum(self.longest) + self.inner
