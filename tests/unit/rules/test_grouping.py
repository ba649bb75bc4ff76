"""Series that fire together as one alert, and what an incident that is given up must be worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rules.adapt.grouping import grouping_of, with_grouping
from rules.adapt.judge import Evidence, fired
from rules.adapt.search import Objective, as_it_is
from rules.adapt.solve import Proposal, Unchanged, solve
from rules.incidents import KnownIncident
from sidecar.series import LabelSet
from tests.unit.rules.histories import MINUTE, evidence, noise, proposal, with_incident


def fleet(days: float, n_pods: int = 6) -> Evidence:
    """Two services of pods; when a service is loaded, a few times a day, all of its pods are, one by one."""
    rng = np.random.default_rng(4)
    n = int(days * 1440)
    values = 10 + rng.normal(0, 0.2, (2 * n_pods, n))
    for service in (0, 1):
        for start in rng.integers(0, n - 60, int(days * 3)):
            for pod in range(n_pods):
                values[service * n_pods + pod, start + pod : start + 15] = 14.0
    labels = tuple(
        LabelSet({"service": f"s{service}", "pod": f"p{service}{pod}"})
        for service in (0, 1)
        for pod in range(n_pods)
    )
    return replace(evidence(values, "load > 12"), labels=labels)


def test_pods_that_fire_together_are_one_alert_by_their_service() -> None:
    seen = fleet(14)
    found = grouping_of(seen)
    assert found is not None
    assert found.by == ("service",)
    assert found.evidence.values.shape[0] == 2
    told = with_grouping(seen, found, Unchanged("its false alarms are within the budget"))
    assert isinstance(told, Proposal)
    assert told.expr == "max by (service) (\n  load\n) > 12"
    assert told.after.n_false < 0.3 * told.before.n_false
    assert told.changes == ("one alert by (service)",)
    rewritten_too = with_grouping(seen, found, solve(found.evidence, Objective(2)))
    assert isinstance(rewritten_too, Proposal)
    assert rewritten_too.expr.startswith("max by (service) (")
    assert rewritten_too.before.n_false == told.before.n_false


def test_pods_that_fire_each_on_its_own_are_not_grouped() -> None:
    rng = np.random.default_rng(4)
    values = 10 + rng.normal(0, 0.2, (6, 14 * 1440))
    for row in range(6):
        values[row, 1000 * row + 40 : 20_000 : 7000] = 14.0
    seen = evidence(values, "load > 12")
    assert grouping_of(seen) is None
    alike = tuple(LabelSet({"pod": str(n)}) for n in range(12))
    assert grouping_of(replace(fleet(14), labels=alike)) is None, "they share no label"
    conditioned = replace(fleet(14).comparison, conditions=("and on () up",))
    assert grouping_of(replace(fleet(14), comparison=conditioned)) is None


def test_a_group_may_catch_what_none_of_its_series_did() -> None:
    """What differs in a group is not in its labels, so that it tells of trouble of any pod of the service."""
    seen = fleet(14)
    first = next(one for one in fired(as_it_is(seen), seen) if one.row == 1)
    window = (first.start_ms - 30 * MINUTE, first.start_ms + 20 * MINUTE)
    trouble = tuple(KnownIncident(pod, *window, match={"pod": pod}) for pod in ("p00", "elsewhere"))
    seen = replace(seen, incidents=trouble)
    found = grouping_of(seen)
    assert found is not None
    told = proposal(with_grouping(seen, found, Unchanged("its false alarms are within the budget")))
    assert len(told.after.delays) > len(told.before.delays) > 0
    assert told.caught_share[0] < told.caught_share[1] == 1.0


def torn() -> Evidence:
    """A clear incident, and one that stood out no more than the noise of many an hour."""
    values = noise(28)
    incidents = (with_incident(values, 5), with_incident(values, 20.3, height=2.6))
    for start in range(600, values.size, 311):
        values[start : start + 8] += 2.5
    return evidence(values, "load > 11.9", incidents)


@pytest.mark.parametrize(
    ("miss_cost", "given_up"),
    [
        pytest.param(None, None, id="nothing is worth a miss"),
        pytest.param(1000.0, None, id="dear"),
        pytest.param(20.0, "day 20.3", id="cheap"),
    ],
)
def test_an_incident_is_given_up_only_for_what_it_is_worth(
    miss_cost: float | None, given_up: str | None
) -> None:
    seen = torn()
    found = solve(seen, Objective(1, miss_cost=miss_cost))
    if given_up is None:
        assert isinstance(found, Unchanged)
    else:
        told = proposal(found)
        assert told.before.delays.keys() - told.after.delays.keys() == {given_up}
        assert "day 5" in told.after.delays
