"""One thing that `pronoia doctor` finds."""

from __future__ import annotations

from typing import NamedTuple


class Trouble(NamedTuple):
    """How bad, where, what, and what to do."""

    level: str
    where: str
    what: str
    remedy: str
