"""What came of a scenario: when its alert fired, how much of the incident it covered, when it was wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.series import BoolArray
from tests.integration.scenarios.incidents import ONSET, SECOND_INCIDENT, Scenario
from tests.integration.scenarios.replay import EVALUATED_AFTER_SECONDS, FIRST

RECOVERY_MINUTES = 10
"""An alert may look back over a window: so long after an incident, or a spike, it is not wrong."""


@dataclass(frozen=True)
class Verdict:
    """Minutes to the first firing (None: never), share of the incident covered, minutes fired wrongly."""

    after_minutes: float | None
    stays_share: float
    false_minutes: int
    silent_after_minutes: int | None = None
    """Of a shift that stays: when the alert ended."""
    again_after_minutes: float | None = None
    """Of a shift that stays: minutes to the firing on the second incident."""

    @classmethod
    def of(cls, scenario: Scenario, fires: BoolArray) -> Verdict:
        """From the minutes at which an alert fired, counted from `FIRST`."""
        onset, minutes = ONSET - FIRST, scenario.incident.minutes
        lasts = scenario.incident.expected.until_minutes is not None
        during = fires[onset : onset + minutes]
        wrong = fires.copy()
        wrong[onset : onset + minutes + RECOVERY_MINUTES] = False
        if scenario.incident.spike_hours is not None:
            spike = onset - 60 * scenario.incident.spike_hours
            wrong[max(spike - 5, 0) : spike + RECOVERY_MINUTES] = False
        ended = again = None
        if lasts:
            second = onset + SECOND_INCIDENT
            firing = np.flatnonzero(fires[onset:second])
            ended = int(firing[-1]) + 1 if len(firing) else 0
            again = _first(fires[second : second + 30])
            wrong[onset : onset + scenario.incident.expected.until_minutes] = False
            wrong[second : second + 30 + RECOVERY_MINUTES] = False
        return cls(_first(during), float(during.mean()) if minutes else 0.0, int(wrong.sum()), ended, again)

    def faults(self, scenario: Scenario) -> list[str]:
        """What is not as the contract wants it."""
        expected = scenario.incident.expected
        found = []
        if expected.within_minutes is not None:
            if self.after_minutes is None:
                found.append("never fires")
            elif self.after_minutes > expected.within_minutes:
                found.append(f"fires after {self.after_minutes:g} min")
            elif self.stays_share < expected.stays_share:
                found.append(f"stays for {self.stays_share:.0%}")
        if self.false_minutes:
            found.append(f"{self.false_minutes} false minutes")
        if expected.until_minutes is not None and (
            self.again_after_minutes is None or self.again_after_minutes > 6
        ):
            found.append("does not see the next incident")
        return found


def _first(fires: BoolArray) -> float | None:
    return float(np.argmax(fires)) + EVALUATED_AFTER_SECONDS / 60 if fires.any() else None
