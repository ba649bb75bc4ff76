"""Which expressions are plain selectors, and the matchers they are made of."""

from __future__ import annotations

from collections.abc import Iterable

import promql_parser

from sidecar.promql.nesting import parse
from sidecar.promql.quoted import written

_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def selector_of(matchers: Iterable[tuple[str, str, str]]) -> str:
    """The selector that matchers make.

    >>> selector_of([("__name__", "=", "up"), ("job", "!=", 'a"b')])
    '{__name__="up",job!="a\\\\"b"}'
    """
    quoted = (
        (name, operator, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, operator, value in matchers
    )
    return "{" + ",".join(f'{written(name)}{operator}"{value}"' for name, operator, value in quoted) + "}"


def plain_matchers(expr: str) -> list[tuple[str, str, str]] | None:
    """(name, operator, value) of `metric{label="x"}`; None for anything beyond a plain selector.

    >>> plain_matchers('up{job!="x"}')
    [('__name__', '=', 'up'), ('job', '!=', 'x')]
    >>> plain_matchers("rate(up[5m])") is None
    True
    """
    try:
        tree = parse(expr)
    except ValueError:
        return None
    if not isinstance(tree, promql_parser.VectorSelector) or tree.offset or tree.at:
        return None
    if tree.matchers.or_matchers:
        return None
    matchers = [("__name__", "=", tree.name)] if tree.name else []
    for matcher in tree.matchers.matchers:
        operator = _OPERATORS.get(str(matcher.op).rpartition(".")[2])
        if operator is None:
            return None
        matchers.append((matcher.name, operator, matcher.value))
    return matchers
