"""Thresholds of alert rules that are joined with a series, as lines of the scrape page."""

from __future__ import annotations

from collections.abc import Mapping

from exporters import names
from exporters.labels import joined
from exporters.page import SyntheticPage
from sidecar.series import LabelSet

SOURCE = "rule thresholds"
"""No query can have this name: a space is in it."""


class RuleThresholdPage:
    """A sink for such thresholds; each call shows all of them and nothing older."""

    def __init__(self, page: SyntheticPage) -> None:
        self._page = page

    def publish(self, values: Mapping[LabelSet, float], *, valid_seconds: float) -> None:
        """Show these; they leave the page when so many seconds passed without a call: then numbers hold."""
        name = names.RULE_THRESHOLD.name
        body = "".join(f"{name}{{{joined(dict(labels))}}} {value!r}\n" for labels, value in values.items())
        self._page.put(
            SOURCE, names.RULE_THRESHOLD, body.encode(errors="replace"), valid_seconds=valid_seconds
        )
