"""What stands in quotes in an expression: values and, since Prometheus 3, names of labels and metrics.

`{"http.server.errors", "http.route"="/pay"}` is what OpenTelemetry's names look like there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

STRING = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"""
MATCHERS = rf"\{{(?:{STRING}|[^{{}}\"'`])*\}}"
"""What stands in braces, values like `"5.{2}"` among it."""

LEGAL_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""Needs no quotes in any version."""

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def written(name: str) -> str:
    """A label's name as an expression has it: in quotes where it must be.

    >>> written("job"), written("http.route")
    ('job', '"http.route"')
    """
    return name if LEGAL_LABEL.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def matchers(labels: Mapping[str, str]) -> str:
    """Labels as they stand in braces, each equal to its value; JSON's quotes are read alike.

    >>> matchers({"job": "a", "http.route": '"'})
    'job="a","http.route"="\\\\""'
    """
    return ",".join(
        f"{written(name)}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()
    )


def said(literal: str) -> str:
    """What a quoted string says: `'it\\'s'` and `"it's"` are one."""
    return literal[1:-1] if literal[0] == "`" else _ESCAPE.sub(_letter, literal[1:-1])


def _letter(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    return chr(int(code, 8)) if len(code) > 1 else _LETTERS.get(code, code)
