"""What an alert measures is read from an address that whoever posts alerts may write."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from sidecar.records import Episode
from webhooks.measured import MAX_CHARACTERS, MAX_PARTS, Subject


def subject(expr: str, address: str = "http://prometheus/graph?g0.expr={}") -> Subject | None:
    return Subject.of(Episode("t", "f", 0, None, {}, {}, address.format(quote(expr)), 0, 0))


def test_the_expression_of_a_rule_is_taken_apart() -> None:
    found = subject("sum(rate(errors_total[5m])) / sum(rate(all_total[5m])) > 0.05")
    assert found is not None
    assert found.expr == "sum(rate(errors_total[5m])) / sum(rate(all_total[5m]))"
    by_hour = "\nor ".join(f"vector({at}) and on () (hour() == {at})" for at in range(24))
    assert subject(f"load > on () group_left () ({by_hour})") is not None


@pytest.mark.parametrize(
    "expr",
    [
        # Twenty thousand brackets break the process off; of so many the parser comes back.
        pytest.param("(" * 2000 + "up" + ")" * 2000 + " > 5", id="brackets"),
        pytest.param("-" * 2000 + "up > 5", id="signs"),
        pytest.param("up" + " or up" * 2000, id="words"),
        pytest.param("up" + " ATAN2 up" * 2000, id="capitals"),
        pytest.param("sum(" * (MAX_PARTS + 1) + "up" + ")" * (MAX_PARTS + 1), id="functions"),
        pytest.param("up" + " " * MAX_CHARACTERS, id="length"),
    ],
)
def test_what_no_rule_is_like_is_not_taken_apart(expr: str) -> None:
    assert subject(expr) is None


def test_what_is_no_address_has_no_expression() -> None:
    assert subject("up > 5", "http://[prometheus/graph?g0.expr={}") is None
    assert subject("") is None
