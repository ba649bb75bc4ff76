"""A rule file of people's own on this machine."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from rules.adapt.canary import canary_path
from rules.adapt.place import FILE, group_of
from rules.alone import alone
from rules.publish import write_atomically
from sidecar.errors import RuleError, RuleReason


class FilePlace:
    """A file that Prometheus loads when it is told to; `needs_reload` False: when it sees it changed."""

    def __init__(self, path: Path, *, needs_reload: bool = True) -> None:
        self.path = path
        self.needs_reload = needs_reload

    @classmethod
    def of(cls, group: str, *, needs_reload: bool) -> Self:
        """The file that the store knows by that name."""
        return cls(Path(group.removeprefix(FILE)), needs_reload=needs_reload)

    @property
    def group(self) -> str:
        """`file:` and its path."""
        return group_of(self.path)

    async def read(self) -> str | None:
        """Its text; None where there is no file. Raises: RuleError."""
        try:
            # As it is: what reads "\r\n" as "\n" would write all lines anew.
            return (await asyncio.to_thread(self.path.read_bytes)).decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RuleError(RuleReason.NOT_WRITABLE, f"{self.path}: {error}") from error

    def same(self, one: str | None, other: str | None) -> bool:
        """To the letter."""
        return one == other

    async def write(self, text: str | None, *, expected: str | None) -> None:
        """Replace it whole, or remove it. Raises: RuleError."""
        if not self.same(await self.read(), expected):
            raise RuleError(
                RuleReason.HAND_EDITED, f"{self.path} was edited since; plan again, or change it by hand"
            )
        try:
            await asyncio.to_thread(write_atomically, self.path, text)
        except OSError as error:
            raise RuleError(
                RuleReason.NOT_WRITABLE, f"{self.path}: {error.strerror or error}; it is as it was"
            ) from error

    def shadow(self) -> Self:
        """The file beside it."""
        return type(self)(canary_path(self.path), needs_reload=self.needs_reload)

    def alone(self) -> AbstractContextManager[None]:
        """The lock of its folder."""
        return alone(self.path.parent)
