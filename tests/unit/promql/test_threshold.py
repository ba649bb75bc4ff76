"""Alert expressions taken apart, and those that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.promql.threshold import Comparison, NoComparison, parse_comparison


@pytest.mark.parametrize(
    ("expr", "measured", "operator", "threshold"),
    [
        pytest.param("node_load1 > 4", "node_load1", ">", 4.0, id="plain"),
        pytest.param("(node_load1 >= 4)", "node_load1", ">=", 4.0, id="in parentheses"),
        pytest.param("100 > free_bytes", "free_bytes", "<", 100.0, id="number first"),
        pytest.param("free_bytes < -(5 * 2 ^ 10)", "free_bytes", "<", -5120.0, id="arithmetic"),
        pytest.param("up == 0", "up", "==", 0.0, id="equality"),
        pytest.param(
            "sum by (job) (rate(a[5m])) / sum by (job) (b) > 0.05",
            "sum by (job)(rate(a[5m])) / sum by (job)(b)",
            ">",
            0.05,
            id="ratio",
        ),
        pytest.param(
            r'a{path=~"\\d+\"x"} > 1', r'a{path=~"\\d+\"x"}', ">", 1.0, id="escapes in strings stay"
        ),
        pytest.param("a{p=~`\\d+`} > 1", r'a{p=~"\\d+"}', ">", 1.0, id="raw strings become escaped ones"),
        pytest.param("time() - last > 3600", "time() - last", ">", 3600.0, id="function of time"),
        pytest.param(
            "max_over_time(rate(a[1m])[5m: ]) > 1",
            "max_over_time(rate(a[1m])[5m:])",
            ">",
            1.0,
            id="a subquery at the server's step",
        ),
    ],
)
def test_a_comparison_is_taken_apart(expr: str, measured: str, operator: str, threshold: float) -> None:
    found = parse_comparison(expr)
    assert isinstance(found, Comparison)
    assert (found.measured, found.operator, found.threshold) == (measured, operator, threshold)
    assert found.conditions == ()


def test_apostrophes_in_comments_are_no_strings() -> None:
    found = parse_comparison("a > 1 # don't\nand on () up # won't; \"\n unless b{x='#'}")
    assert isinstance(found, Comparison)
    assert [one.split() for one in found.conditions] == [["and", "on", "()", "up"], ["unless", "b{x='#'}"]]


def test_conditions_are_kept_in_their_order() -> None:
    found = parse_comparison("(a > 1 and on (job) (up == 1)) unless on () silenced")
    assert isinstance(found, Comparison)
    assert found.measured == "a"
    assert found.conditions == ("and on (job) (up == 1)", "unless on () silenced")
    assert found.metrics == ("a",)


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        pytest.param("a >", NoComparison.NOT_PROMQL, id="broken"),
        pytest.param("absent(up)", NoComparison.NO_COMPARISON, id="absence"),
        pytest.param("a > b", NoComparison.NOT_A_NUMBER, id="series against series"),
        pytest.param("a > 1 / 0", NoComparison.NOT_A_NUMBER, id="division by zero"),
        pytest.param("a > Inf", NoComparison.NOT_A_NUMBER, id="infinite"),
        pytest.param("a > 1 or b > 2", NoComparison.SEVERAL, id="or"),
        pytest.param("0.1 < a < 0.9", NoComparison.SEVERAL, id="between"),
        pytest.param("a > bool 1", NoComparison.BOOL, id="bool"),
        pytest.param("vector(1) > 0", NoComparison.NO_SERIES, id="constant vector"),
        pytest.param("1 > bool 2", NoComparison.BOOL, id="numbers alone"),
    ],
)
def test_what_has_no_threshold_says_why(expr: str, reason: NoComparison) -> None:
    assert parse_comparison(expr) is reason


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from([">", ">=", "<", "<=", "==", "!="]),
)
def test_any_number_comes_back(threshold: float, operator: str) -> None:
    found = parse_comparison(f"m {operator} {threshold!r}")
    assert isinstance(found, Comparison)
    assert (found.operator, found.threshold) == (operator, pytest.approx(threshold))
    assert found.ordered == (operator not in ("==", "!="))
