"""Firings before and after, as a picture: what its axes and its legend say."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rules.backtest.compare import Comparison, IncidentRow
from rules.backtest.firing import Firing
from rules.backtest.past import RulePast, Window
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.cli import rules_plot
from sidecar.series import LabelSet

HOUR_MS = 3_600_000
WINDOW = Window(1_700_000_000_000, 1_700_000_000_000 + 30 * HOUR_MS, 60_000)


def past(n_firings: int) -> RulePast:
    firings = tuple(Firing(0, at := WINDOW.start_ms + n * HOUR_MS, at, at) for n in range(n_firings))
    return RulePast(WrittenRule("A", "x > 1", "alerting", "g"), WINDOW, (LabelSet(),), firings)


def test_days_have_dates_and_totals_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(rules_plot, "save", lambda figure, path: drawn.append(figure))
    began_before = KnownIncident("a", WINDOW.start_ms - HOUR_MS, WINDOW.start_ms + HOUR_MS)
    incident = IncidentRow(began_before, None, None)
    rules_plot.draw_days(
        tmp_path / "a.png", Comparison([past(28)], [past(2)], [incident], 60.0, [began_before])
    )
    (axes,) = drawn[0].axes
    assert [round(at * rules_plot.DAY_MS) for at in axes.get_xlim()] == [WINDOW.start_ms, WINDOW.end_ms]
    assert type(axes.xaxis.get_major_formatter()).__name__ == "AutoDateFormatter"
    assert axes.get_ylim()[1] > 24, "the highest bar ends below the top"
    assert {text.get_text() for text in drawn[0].legends[0].get_texts()} == {
        "before: 28",
        "after: 2",
        "a known incident",
    }
