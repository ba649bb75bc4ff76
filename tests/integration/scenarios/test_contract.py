"""The behaviour contract in incidents, on a real Prometheus, through the rule that pronoia generates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.scenarios.incidents import DAY, SECOND_INCIDENT, Scenario, scenarios
from tests.integration.scenarios.replay import FLAGS, Firing, Replay, replay
from tests.integration.scenarios.verdict import Verdict
from tests.integration.servers import Prometheus, stopping

# All scenarios are played before the first test, in half a minute where nothing else runs.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ALL = list(scenarios(all_phases=True))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Firing, list[Replay]]]:
    prometheus = Prometheus(tmp_path_factory.mktemp("scenarios") / "prometheus", flags=FLAGS)
    with stopping(prometheus):
        yield replay(prometheus, ALL)


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.name) for scenario in ALL])
def test_the_generated_rule_behaves(scenario: Scenario, played: tuple[Firing, list[Replay]]) -> None:
    assert Verdict.of(scenario, played[0].of(scenario)).faults(scenario) == []


def test_a_shift_that_stays_is_accepted_once_and_before_the_next_incident(
    played: tuple[Firing, list[Replay]],
) -> None:
    of_load = played[1][0]
    for scenario in ALL:
        until = scenario.incident.expected.until_minutes
        if until is not None:
            (minute,) = of_load.accepted(scenario)
            assert DAY < minute < DAY + until <= DAY + SECOND_INCIDENT


def test_what_a_maintenance_teaches_is_accepted_at_its_end_and_only_where_it_is_to_teach(
    played: tuple[Firing, list[Replay]],
) -> None:
    of_load = played[1][0]
    for scenario in ALL:
        maintenance = scenario.incident.maintenance
        if maintenance is not None:
            last_minute = DAY + maintenance.end - 1
            assert of_load.accepted(scenario) == ([last_minute] if maintenance.learn else [])
