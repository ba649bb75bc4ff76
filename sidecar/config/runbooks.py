"""What to do about an anomaly, as people wrote it down before."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from sidecar.config.fields import LabelName
from sidecar.config.section import Section


class RunbookConfig(Section):
    """Recommended actions for anomalies of some queries and series."""

    name: str = Field(min_length=1)
    queries: tuple[str, ...] = Field((), description="names of watched queries; by default all")
    match: dict[LabelName, str] = Field(
        default_factory=dict,
        description="labels as whole-value regular expressions, such as service: shop-.*",
    )
    direction: Literal["both", "above", "below"] = "both"
    actions: tuple[str, ...] = Field(min_length=1, description="what to do, in order")
    url: str | None = None

    @field_validator("match")
    @classmethod
    def _compiles(cls, match: dict[str, str]) -> dict[str, str]:
        for name, pattern in match.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{name}: {pattern!r} is no regular expression: {error}") from error
        return match

    def fits(self, query: str, labels: dict[str, str], direction: int) -> bool:
        """True where it is about such an anomaly; `direction` is 1 above, -1 below the expected."""
        if self.queries and query not in self.queries:
            return False
        if self.direction != "both" and direction != {"above": 1, "below": -1}[self.direction]:
            return False
        return all(re.fullmatch(pattern, labels.get(name, "")) for name, pattern in self.match.items())
