"""Names of queries that other sections mention: each has to be one that is watched."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def check_mentions(mentions: Iterable[tuple[str, Sequence[str]]], watched: Sequence[str]) -> None:
    """Hold the names at each place against those that are watched; where none is stated, some are proposed.

    Raises: ValueError for a name that is none of them: what is said of it would hold of nothing.

    >>> check_mentions([("pauses[0].queries", ["errors"])], ["http_errors"])
    Traceback (most recent call last):
    ValueError: pauses[0].queries: no query is named 'errors'; did you mean 'http_errors'?
    """
    for place, names in mentions if watched else ():
        for name in names:
            if name not in watched:
                near = difflib.get_close_matches(name, watched, n=1)
                words = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(watched)}"
                raise ValueError(f"{place}: no query is named {name!r}; {words}")
