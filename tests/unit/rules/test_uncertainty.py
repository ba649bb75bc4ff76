"""What comes by chance."""

from __future__ import annotations

import pytest

from rules.adapt.uncertainty import within_by_chance


def test_what_comes_once_a_day_falls_into_few_hours() -> None:
    a_day = 86_400.0
    assert within_by_chance(1 / a_day, 0.0) == 0.0
    assert within_by_chance(1 / a_day, 3600.0) == pytest.approx(0.0408, abs=1e-4)
    assert within_by_chance(1 / a_day, 30 * a_day) == pytest.approx(1.0)
