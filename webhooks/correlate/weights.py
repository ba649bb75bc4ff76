"""The numbers of correlation, in one place."""

from __future__ import annotations

import msgspec


class Weights(msgspec.Struct, frozen=True):
    """How much each dimension draws at no distance in time, and how fast it fades. Half-lives in seconds."""

    hold_seconds: float = 60.0
    reach_seconds: float = 2400.0
    enough: float = 0.3
    same: float = 0.33
    half_same: float = 430.0
    active: float = 0.28
    half_active: float = 1700.0
    half_edge: float = 180.0
    hops: tuple[float, ...] = (0.0, 0.85, 0.6, 0.4, 0.25)
    edge: float = 0.25
    callee: float = 0.6
    covered: float = 0.4
    hosted: float = 0.32
    mention: float = 0.55
    half_mention: float = 600.0
    companion: float = 0.25
    lag: float = 0.5
    half_lag: float = 60.0
    namespace: float = 0.12
    anomaly: float = 0.35
    half_anomaly: float = 60.0
    change: float = 0.4
    same_name: float = 0.75
    words: float = 0.3
    dense: float = 0.5
    dense_seconds: float = 45.0
    neighbours: float = 0.8
    strangers: float = 0.55
    over: float = 0.85
    sure_seconds: float = 110.0
    again_seconds: float = 45.0
    tries: int = 3
    enough_again: float = 0.345
    enough_now: float = 0.9
    near_groups: int = 256
    habit: float = 0.75
    company_seconds: float = 130.0

    @property
    def settling_seconds(self) -> float:
        """How long a new incident looks for what it belongs to."""
        return self.hold_seconds + self.tries * self.again_seconds
