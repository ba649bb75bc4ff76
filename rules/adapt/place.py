"""Where people keep rules of their own: what a rewrite asks of such a place, and what it is remembered by."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

FILE, OBJECT, RULER = "file:", "object:", "ruler:"
PLACES = (FILE, OBJECT, RULER)
THRESHOLD = "threshold:"
"""Before a rule's key: the series that is its threshold."""


class Place(Protocol):
    """One rule file, PrometheusRule object or ruler's namespace, as the text of a rule file or object."""

    @property
    def group(self) -> str:
        """Its name among the groups of the store: `file:/etc/rules/a.yaml`."""
        ...

    @property
    def needs_reload(self) -> bool:
        """True where Prometheus must be told to read it again."""
        ...

    async def read(self) -> str | None:
        """Its text; None where there is nothing. Raises: RuleError."""
        ...

    def same(self, one: str | None, other: str | None) -> bool:
        """Whether two texts are one to this place; what keeps no comments knows meanings only."""
        ...

    async def write(self, text: str | None, *, expected: str | None) -> None:
        """Put `text` (None: nothing) where `expected` is.

        Raises: RuleError (hand edited) where something else is there, and nothing is changed then.
        """
        ...

    def shadow(self) -> Self:
        """The place beside it for the same rules as shadows, loaded by whatever loads this one."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """While the block lasts no other pronoia changes it. Raises: RuleError where another does."""
        ...


def group_of(path: Path) -> str:
    """The name of a file among the groups of the store.

    >>> group_of(Path("/etc/rules/a.yaml"))
    'file:/etc/rules/a.yaml'
    """
    return f"{FILE}{path.resolve()}"


def is_adapted(group: str) -> bool:
    """True for what belongs to rules of people's own, False for a group that pronoia generates."""
    return group.startswith((*PLACES, THRESHOLD))


def is_place(group: str) -> bool:
    """True for a file, object or namespace of people's own."""
    return group.startswith(PLACES)
