"""Steps are judged on the source's clock, whatever the local one does."""

from __future__ import annotations

import pytest

from sidecar.loop.clock import SourceClock


class Wall:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def test_small_differences_are_network_not_skew() -> None:
    clock = SourceClock(Wall(1_000_000.0))
    clock.observe(1_000_003.0)
    assert clock.now() == 1_000_000.0


def test_a_local_clock_that_jumps_back_is_corrected_by_one_answer() -> None:
    wall = Wall(1_000_000.0)
    clock = SourceClock(wall)
    clock.observe(1_000_000.0)
    wall.seconds -= 300
    assert clock.last_step_ms(60, 0) < 999_900_000
    clock.observe(1_000_001.0)
    assert clock.skew_seconds == 301.0
    assert clock.last_step_ms(60, 0) == 999_960_000
    wall.seconds += 300  # And when it is set right again, the skew is gone.
    clock.observe(1_000_001.0)
    assert clock.skew_seconds == 0.0


def test_the_grain_of_the_servers_clock_asks_for_no_step_twice() -> None:
    """An answer tells whole seconds; taken by the letter, the clock would go back within a second."""
    wall = Wall(1_000_000.0)
    clock = SourceClock(wall)
    asked = []
    for _ in range(20):
        server = wall.seconds + 86_400.7
        asked.append(clock.last_step_ms(5.0, 0.0))
        clock.observe(int(server) + 0.5)
        wall.seconds += clock.until_next_step(5.0, 0.0) + 0.003
    assert len(set(asked)) == 20
    assert clock.now() == pytest.approx(wall.seconds + 86_400.7, abs=1.0)
    wall.seconds -= 2.0
    clock.observe(wall.seconds + 86_402.7)
    assert clock.now() == wall.seconds + 86_402.7, "a change beyond the grain is followed"


@pytest.mark.parametrize(
    ("now", "step", "offset", "last_step", "pause"),
    [
        pytest.param(120.0, 60.0, 0.0, 120_000, 60.0, id="on a step"),
        pytest.param(120.5, 60.0, 1.0, 60_000, 0.5, id="the offset holds the step back"),
        pytest.param(121.0, 60.0, 1.0, 120_000, 60.0, id="judged once settled"),
        pytest.param(119.999, 60.0, 0.0, 60_000, 0.01, id="never a pause of nothing"),
    ],
)
def test_steps_and_pauses(now: float, step: float, offset: float, last_step: int, pause: float) -> None:
    clock = SourceClock(Wall(now))
    assert clock.last_step_ms(step, offset) == last_step
    assert clock.until_next_step(step, offset) == pytest.approx(pause, abs=1e-6)
