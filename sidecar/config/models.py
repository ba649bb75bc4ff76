"""How models that judge are tried, renewed and replaced while pronoia runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sidecar.config.fields import LastingSeconds
from sidecar.config.section import Section


class ModelsConfig(Section):
    """Challengers: on how many series they are tried, for how long, and what comes of it."""

    challenger_share: float = Field(
        0.1, gt=0, le=1, description="part of a query's series that a challenger judges too; 20 at least"
    )
    export_challenger: bool = Field(
        False, description='show what it says of them on /synthetic, as query="<name>:challenger"'
    )
    trial: LastingSeconds = Field(
        86400.0, description="how long both judge live before one is called better; after three times that "
        "a challenger that is not is given up"
    )  # fmt: skip
    refit_on_drift: bool = Field(
        True,
        description="learn a challenger when a fifth of the series drift for an hour, once a trial at most",
    )
    promote: Literal["when_better", "by_hand"] = Field(
        "when_better", description="whether a challenger that won its trial takes the champion's place"
    )
