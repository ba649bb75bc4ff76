"""Formats and encodings by Accept headers."""

from __future__ import annotations

import pytest

from exporters.negotiate import wants_gzip, wants_openmetrics

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param(PROMETHEUS_2_42, True, id="Prometheus 2.42"),
        pytest.param("", False, id="nothing said"),
        pytest.param("*/*", False, id="curl"),
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", False, id="browser"),
        pytest.param("application/openmetrics-text", True, id="no version"),
        pytest.param("application/openmetrics-text;version=0.0.1", False, id="only an old version"),
        pytest.param("application/openmetrics-text;q=0.2,text/plain;q=0.9", False, id="text preferred"),
        pytest.param("text/plain,application/openmetrics-text", True, id="both as gladly"),
        pytest.param(
            "application/openmetrics-text;q=0.2,application/json", True, id="or what is not offered"
        ),
        pytest.param("application/openmetrics-text;q=0", False, id="forbidden"),
        pytest.param("application/openmetrics-text;q=often", False, id="unreadable weight"),
        pytest.param(";;,=,", False, id="rubbish"),
    ],
)
def test_format(accept: str, expected: bool) -> None:
    assert wants_openmetrics(accept) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param("gzip", True, id="gzip"),
        pytest.param("deflate, GZIP;q=0.5", True, id="one of two"),
        pytest.param("*", True, id="any"),
        pytest.param("gzip;q=0, *", False, id="any but gzip"),
        pytest.param("gzip;q=0", False, id="forbidden"),
        pytest.param("identity", False, id="identity"),
        pytest.param("", False, id="nothing said"),
    ],
)
def test_encoding(accept: str, expected: bool) -> None:
    assert wants_gzip(accept) is expected
