"""The breaker opens after repeated failure, probes, and closes on success."""

from __future__ import annotations

from sidecar.prometheus.breaker import Breaker


def test_life_of_a_breaker() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, cooldown_seconds=10, now=lambda: now[0])
    breaker.failed()
    assert breaker.allow(), "one failure is an accident"
    breaker.failed()
    assert breaker.open
    assert not breaker.allow()
    now[0] = 10
    assert breaker.allow(), "one probe"
    assert not breaker.allow(), "and only one"
    breaker.failed()
    now[0] = 20
    assert breaker.allow()
    breaker.succeeded()
    assert not breaker.open
    assert breaker.allow()
    assert breaker.allow()
