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


def test_a_rest_that_was_asked_for_is_not_cut_short_by_what_was_under_way() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, cooldown_seconds=10, now=lambda: now[0])
    breaker.rest(300)
    breaker.failed()
    now[0] = 299
    assert not breaker.allow()
    now[0] = 300
    assert breaker.allow()
