"""Incident risks, as lines of the scrape page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from exporters import names
from exporters.labels import joined
from exporters.page import SyntheticPage

if TYPE_CHECKING:  # numba is not for the import of a sink.
    from sidecar.engine.risk import Risk

SOURCE = "incident risks"
"""No query can have this name: a space is in it."""


class RiskPage:
    """A sink for incident risks; each call shows all of them and nothing older."""

    def __init__(self, page: SyntheticPage) -> None:
        self._page = page

    def publish(self, risks: Sequence[Risk], *, valid_seconds: float) -> None:
        """Show these; they leave the page when so many seconds passed without new ones."""
        name = names.INCIDENT_RISK.name
        body = "".join(
            f"{name}{{{joined({'service': one.service, 'horizon': one.window})}}} {one.probability:.4g}\n"
            for one in risks
        )
        self._page.put(
            SOURCE, names.INCIDENT_RISK, body.encode(errors="replace"), valid_seconds=valid_seconds
        )
