"""Removes what is kept of queries that nobody watches any more, once it is too old to be of use again."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

KEPT_SECONDS = 30 * 86400.0
"""A query that comes back within this finds its model, its past events and its versions."""

_OF_A_QUERY = re.compile(r"(\w+)\.(model|events|quality|trial|\w+\.version)")


def remove_old_models(directory: Path, watched: Collection[str], now_seconds: float) -> dict[str, int]:
    """Delete the files of queries that are not watched and had none written for that long.

    `directory`: the folder of models. `now_seconds`: as files' times are. Bytes given back, by query.
    """
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for file in directory.iterdir() if directory.is_dir() else ():
        found = _OF_A_QUERY.fullmatch(file.name)
        if found is not None and found[1] not in watched:
            files[found[1]].append(file)
    removed: dict[str, int] = {}
    for query, of_query in files.items():
        stats = [file.stat() for file in of_query]
        if now_seconds - max(stat.st_mtime for stat in stats) > KEPT_SECONDS:
            for file in of_query:
                file.unlink(missing_ok=True)
            removed[query] = sum(stat.st_size for stat in stats)
    return removed
