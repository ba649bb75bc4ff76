"""The behaviour contract in incidents, on a real Prometheus, through the rule that pronoia generates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.scenarios.incidents import DAY, SECOND_INCIDENT, Scenario, scenarios
from tests.integration.scenarios.replay import FLAGS, Firing, Replay, replay
from tests.integration.scenarios.verdict import Verdict
from tests.integration.servers import Prometheus, stopping

pytestmark = pytest.mark.integration

ALL = list(scenarios(all_phases=True))
NOT_YET = {
    "doubles for 3 h, daily": "fires on after the end, for some minutes",
    "doubles for 3 h, daily, 12 h": "the cycle falls towards it, and it is taken for normal too soon",
    "doubles for 3 h, daily, 18 h": "the cycle rises towards it, and it is taken for normal too soon",
    "40 % up, daily, 18 h": "too small against the band of a trough",
    "leaks 1 % an hour, daily": "the drift of a day is hidden by the cycle",
    "a job once a day, flat": "ten minutes are too few for a profile of half hours",
    "a job once a day, daily": "ten minutes are too few for a profile of half hours",
}
"""What the detector does not do; docs/detection.md says so too."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Firing, Replay]]:
    prometheus = Prometheus(tmp_path_factory.mktemp("scenarios") / "prometheus", flags=FLAGS)
    with stopping(prometheus):
        yield replay(prometheus, ALL)


def case(scenario: Scenario) -> object:
    reason = NOT_YET.get(scenario.name)
    return pytest.param(
        scenario, id=scenario.name, marks=[pytest.mark.xfail(reason=reason)] if reason else []
    )


@pytest.mark.parametrize("scenario", [case(scenario) for scenario in ALL])
def test_the_generated_rule_behaves(scenario: Scenario, played: tuple[Firing, Replay]) -> None:
    assert Verdict.of(scenario, played[0].of(scenario)).faults(scenario) == []


def test_a_shift_that_stays_is_accepted_once_and_before_the_next_incident(
    played: tuple[Firing, Replay],
) -> None:
    for scenario in ALL:
        until = scenario.incident.expected.until_minutes
        if until is not None:
            (minute,) = played[1].accepted(scenario)
            assert DAY < minute < DAY + until <= DAY + SECOND_INCIDENT


def test_whatever_does_not_hold_yet_is_a_scenario() -> None:
    assert set(NOT_YET) <= {scenario.name for scenario in ALL}
