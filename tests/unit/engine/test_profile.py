"""What two profiles say together."""

from __future__ import annotations

import pytest

from sidecar.engine.profile import of_both


@pytest.mark.parametrize("unit", [1e-100, 1.0, 1e100])
def test_a_profile_of_half_the_loss_has_sixteen_times_the_say(unit: float) -> None:
    """In any unit: fourth powers of huge or tiny losses are no numbers any more."""
    assert of_both(10.0, unit, 27.0, 2.0 * unit) == pytest.approx(11.0)
    assert of_both(10.0, unit, 20.0, unit) == pytest.approx(15.0)
