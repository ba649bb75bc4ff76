"""Names of the stores that a configuration may choose; written by tools/registry_names.py."""

from __future__ import annotations

from typing import Literal

StoreName = Literal["sqlite"]
