"""The judge of the behaviour contract is strict: late, short, false and blind are all found."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.series import BoolArray
from tests.integration.scenarios.incidents import N_STEPS, ONSET, SECOND_INCIDENT, Scenario, scenarios
from tests.integration.scenarios.replay import FIRST, held
from tests.integration.scenarios.verdict import Verdict

ALL = {scenario.name: scenario for scenario in scenarios(all_phases=False)}
AT = ONSET - FIRST


def fires(*spans: tuple[int, int]) -> BoolArray:
    """Firing from and until these minutes after the onset."""
    found = np.zeros(N_STEPS - FIRST, dtype=np.bool_)
    for begin, end in spans:
        found[AT + begin : AT + end] = True
    return found


def one(name: str) -> Scenario:
    return ALL[name + ", flat"]


def test_an_alert_fires_after_five_minutes_without_a_break() -> None:
    active = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0], dtype=np.bool_)
    assert np.flatnonzero(held(active)).tolist() == [11, 12]


@pytest.mark.parametrize(
    ("name", "firing", "faults"),
    [
        pytest.param("doubles for 3 h", fires((5, 183)), [], id="as it should be"),
        pytest.param("doubles for 3 h", fires(), ["never fires"], id="never"),
        pytest.param("doubles for 3 h", fires((7, 180)), ["fires after 7.5 min"], id="late"),
        pytest.param("doubles for 3 h", fires((5, 90)), ["stays for 47%"], id="short"),
        pytest.param("doubles for 3 h", fires((5, 180), (300, 302)), ["2 false minutes"], id="again"),
        pytest.param("doubles for 3 h", fires((-60, -59), (5, 180)), ["1 false minutes"], id="too early"),
        pytest.param("clean", fires((700, 701)), ["1 false minutes"], id="for nothing"),
        pytest.param("triples 2 h after a spike", fires((-121, -118), (5, 60)), [], id="the spike is one"),
        pytest.param(
            "doubles for ever, and again for 30 min on its third day",
            fires((5, 300), (SECOND_INCIDENT + 5, SECOND_INCIDENT + 30)),
            [],
            id="a shift is accepted",
        ),
        pytest.param(
            "doubles for ever, and again for 30 min on its third day",
            fires((5, 400)),
            ["40 false minutes", "does not see the next incident"],
            id="a shift is not",
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_named(name: str, firing: BoolArray, faults: list[str]) -> None:
    assert Verdict.of(one(name), firing).faults(one(name)) == faults
