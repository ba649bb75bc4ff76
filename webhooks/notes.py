"""Small things that a part has learned, kept in the store under a name."""

from __future__ import annotations

from typing import Protocol


class NoteStore(Protocol):
    """A place for notes. Both calls raise StoreError where the store cannot be used."""

    async def note(self, name: str) -> bytes | None:
        """What was put under that name; None where there is nothing."""
        ...

    async def put_note(self, name: str, body: bytes) -> None:
        """Keep it, in place of what was there."""
        ...
