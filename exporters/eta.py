"""Times until thresholds are crossed, as lines of the scrape page."""

from __future__ import annotations

from collections.abc import Sequence

from exporters import names
from exporters.labels import joined, made_legal
from exporters.page import SyntheticPage
from sidecar.series import ThresholdEta

SOURCE = "threshold forecasts"
"""No query can have this name: a space is in it."""


class EtaPage:
    """A sink for threshold forecasts; each call shows all of them and nothing older."""

    def __init__(self, page: SyntheticPage) -> None:
        self._page = page

    def publish(self, etas: Sequence[ThresholdEta], *, valid_seconds: float) -> None:
        """Show these; they leave the page when so many seconds passed without new ones."""
        lines: dict[str, float] = {}
        for eta in etas:
            own = {"rule": eta.rule, "threshold": eta.threshold, "probability": f"{eta.probability:g}"}
            text = joined(made_legal(eta.labels, own) | own)
            # Rules of one name may look at several metrics with equal labels: the earliest is told.
            lines[text] = min(eta.seconds, lines.get(text, eta.seconds))
        name = names.THRESHOLD_ETA.name
        body = "".join(f"{name}{{{text}}} {seconds:g}\n" for text, seconds in lines.items())
        self._page.put(
            SOURCE, names.THRESHOLD_ETA, body.encode(errors="replace"), valid_seconds=valid_seconds
        )
