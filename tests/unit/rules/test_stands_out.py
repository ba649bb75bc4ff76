"""What stands out of normal life, where a ratio over nothing is infinite now and then."""

from __future__ import annotations

import numpy as np

from rules.adapt.search import Objective
from rules.adapt.solve import solve
from tests.unit.rules.histories import evidence, proposal, with_incident


def test_what_is_infinite_now_and_then_hides_no_incident_of_finite_height() -> None:
    rng = np.random.default_rng(4)
    values = np.abs(rng.normal(0.02, 0.02, 28 * 1440))
    incident = with_incident(values, 12.3, height=0.3)
    values[777::1440] = 1e300  # Once a day nothing is asked, and something fails.
    found = proposal(solve(evidence(values, "failed / asked > 0.05", (incident,)), Objective(2)))
    assert not found.by_chance
    assert found.after.delays[incident.name] <= 60
