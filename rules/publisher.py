"""What the rules loop asks of the place where rules go, whichever place it is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from rules.document import RuleFile
from sidecar.errors import PullError, RuleError, RuleReason, SidecarError


class Found(StrEnum):
    """What is in a group's place, compared with a text."""

    ABSENT = "absent"
    SAME = "same"
    OTHER = "other"


class NotPutBack(RuleError):
    """What failed may stand in its place still, whole or in part: what was there could not be put back."""


def not_put_back(error: SidecarError, trouble: RuleError) -> NotPutBack:
    """A publication that failed, and so did the way back: both have to be known."""
    return NotPutBack(
        RuleReason(trouble.reason), f"{error}; and what was there before cannot be put back: {trouble}"
    )


def not_reloaded(place: str, error: PullError) -> RuleError:
    """A text that was put back into its place, and that the server was not made to load."""
    return RuleError(
        RuleReason.RELOAD_FAILED,
        f"{place} is written, and Prometheus does not load it ({error}); "
        "once it does, do this again, so that it is remembered",
    )


class RulePublisher(Protocol):
    """Puts generated groups where Prometheus takes its rules from, and takes them back."""

    @property
    def at_once(self) -> int:
        """How many groups may be published at the same time."""
        ...

    def place(self, group: str) -> str:
        """Where a group is, or would be, in words that a person can look up."""
        ...

    async def found(self, group: str, text: str) -> Found:
        """Whether that very text is in the group's place. Raises: RuleError."""
        ...

    async def says_one_of(self, group: str, texts: Sequence[str]) -> bool:
        """Whether what is in the group's place has the rules of one of them. Raises: RuleError."""
        ...

    async def text(self, group: str) -> str | None:
        """A rule file with what is in the group's place, whoever put it there. Raises: RuleError."""
        ...

    async def publish(self, file: RuleFile) -> None:
        """Make the file live: in place, loaded and healthy.

        Raises: RuleError with the reason; what was there before is back in place then.
        """
        ...

    async def restore(self, group: str, text: str | None) -> None:
        """Put an earlier text (None: nothing) into a group's place. Raises: RuleError."""
        ...

    async def sweep(self) -> None:
        """Remove what a killed process left half done. Raises: RuleError."""
        ...
