"""What a rewrite costs a server: asked before it goes live, of one that may not answer just then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.adapt.plan import check_cost
from rules.read import WrittenRule
from sidecar.errors import PullError, PullReason, RuleError, RuleReason
from sidecar.series import SeriesBatch

OLD = WrittenRule("Load", "load > 5", "alerting")


class Failing:
    """A server whose answers are all this error."""

    def __init__(self, error: PullError) -> None:
        self._error = error

    async def instant(self, *_: object, **__: object) -> SeriesBatch:
        raise self._error


@pytest.mark.parametrize(
    ("retryable", "reason"), [(True, RuleReason.UNREACHABLE), (False, RuleReason.CHECK_FAILED)]
)
async def test_a_server_that_does_not_answer_is_no_fault_of_the_rule(
    retryable: bool, reason: RuleReason
) -> None:
    failing = Failing(PullError(PullReason.TIMEOUT, "timed out", retryable=retryable))
    with pytest.raises(RuleError, match="Load: timed out") as refused:
        await check_cost([(OLD, replace(OLD, expr="load > 6"))], failing, at_ms=0)  # type: ignore[arg-type]
    assert refused.value.reason == reason.value
