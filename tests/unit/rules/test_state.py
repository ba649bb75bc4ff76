"""States, 0 or 1: an alert on one is never moved to where nothing goes, however often it fires."""

from __future__ import annotations

import numpy as np
import pytest

from rules.adapt.search import Objective
from rules.adapt.solve import Proposal, Unchanged, solve
from rules.adapt.state import A_STATE
from tests.unit.rules.histories import evidence


def failed_jobs(highest: float) -> np.ndarray:
    """Eight times in four weeks each of three jobs is left failed, for up to two and a half hours."""
    rng = np.random.default_rng(1)
    values = np.zeros((3, 28 * 1440))
    for row in values:
        for first in rng.integers(0, row.size - 200, 8):
            row[first : first + rng.integers(20, 150)] = highest
    return values


@pytest.mark.parametrize("expr", ["kube_job_failed > 0", "kube_job_failed >= 1", "kube_job_failed > 0.5"])
def test_a_state_keeps_its_number(expr: str) -> None:
    found = solve(evidence(failed_jobs(1.0), expr), Objective(2))
    assert isinstance(found, Unchanged)
    assert found.why == A_STATE


def test_a_count_has_numbers_beyond_one() -> None:
    found = solve(evidence(failed_jobs(2.0), "jobs_failed > 0"), Objective(2))
    assert isinstance(found, Proposal)
