"""Names under which rewrites of people's own rule files are remembered."""

from __future__ import annotations

from pathlib import Path

PREFIX = "file:"


def group_of(path: Path) -> str:
    """The name of a file among the groups of the store.

    >>> group_of(Path("/etc/rules/a.yaml"))
    'file:/etc/rules/a.yaml'
    """
    return f"{PREFIX}{path.resolve()}"


def path_of(group: str) -> Path:
    """The file of such a name."""
    return Path(group.removeprefix(PREFIX))


def is_adapted(group: str) -> bool:
    """True for a file of people's own, False for a group that pronoia generates."""
    return group.startswith(PREFIX)
