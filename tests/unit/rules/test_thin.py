"""A past that is too thin: how thin, since when, and whether the rule's own range may be why."""

from __future__ import annotations

import numpy as np
import pytest

from rules.adapt.thin import too_thin
from tests.unit.rules.histories import evidence


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        pytest.param("rate(errors_total[1m]) > 1", "; [1m] gives none where samples are as far", id="short"),
        pytest.param(
            'sum(rate(a{b="c"}[5m])) / sum(increase(d[90s])) > 1', "; [1m30s] gives none", id="the shortest"
        ),
        pytest.param("rate(errors_total[5m]) > 1", "", id="long enough"),
        pytest.param("rate(errors_total[60]) > 1", "; [", id="a plain number of seconds"),
        pytest.param('rate(a{b="rate(c[of old])"}[5m]) > 1', "", id="what a label says is no range"),
        pytest.param('rate(a{b="rate(c[old])"}[5m]) > 1', "", id="nor this"),
        pytest.param("max_over_time(load[1m]) > 1", "", id="one sample will do"),
    ],
)
def test_a_range_that_holds_no_two_samples_is_named(expr: str, words: str) -> None:
    values = np.full(8 * 1440, np.nan)
    nothing = too_thin(evidence(values, expr), 7)
    values[-9:] = 1.0
    little = too_thin(evidence(values, expr), 7)
    assert nothing.startswith("what it measures had no value in all that time" + words)
    assert little.startswith(
        "it had a value at 9 of 11520 normal evaluations, the first on 2023-11-22 22:04 UTC"
    )
    assert ("gives none" in nothing, "gives none" in little) == (bool(words), bool(words))
    values[:100] = 1.0
    assert too_thin(evidence(values, expr), 7) == ""
