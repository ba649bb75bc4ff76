"""What a server tells of itself decides how its raw samples are read, and whether they may be."""

from __future__ import annotations

import pytest

from sidecar.prometheus.raw_terms import RawTerms, raw_terms
from sidecar.prometheus.selector import plain_matchers, selector_of

LABELLED = 'global:\n  external_labels:\n    replica: a\n    shard: "1"\n'


@pytest.mark.parametrize(
    ("config", "flags", "version", "terms"),
    [
        pytest.param("global: {}", {}, "2.42.0", RawTerms({}, 300_000), id="nothing said"),
        pytest.param(
            LABELLED,
            {"query.lookback-delta": "1m30s"},
            "2.42.0+ds",
            RawTerms({"replica": "a", "shard": "1"}, 90_000),
            id="labels and lookback",
        ),
        pytest.param("global: {}", {}, "3.1.0", RawTerms({}, 299_999), id="3: left-open"),
        pytest.param("global: {external_labels: }", {}, "2.42.0", RawTerms({}, 300_000), id="no labels"),
        pytest.param("global:\nscrape_configs: []", {}, "2", RawTerms({}, 300_000), id="nothing global"),
        pytest.param("global: {}", {}, "main", RawTerms({}, 300_000), id="a version without a number"),
        pytest.param("global: {}", {}, "v3.0.1", RawTerms({}, 299_999), id="v3"),
        pytest.param("global: {}", {"query.lookback-delta": "soon"}, "2", None, id="unknown lookback"),
        pytest.param("", {}, "2.42.0", None, id="empty"),
        pytest.param("target: all", {}, "2.42.0", None, id="not a Prometheus"),
        pytest.param("a: [", {}, "2.42.0", None, id="not YAML"),
        pytest.param("- 1", {}, "2.42.0", None, id="a list"),
    ],
)
def test_terms(config: str, flags: dict[str, str], version: str, terms: RawTerms | None) -> None:
    assert raw_terms(config, flags, version) == terms


def test_matchers_on_external_labels_are_refused() -> None:
    terms = RawTerms({"replica": "a"}, 1)
    assert terms.allow([("__name__", "=", "up"), ("job", "=", "x")])
    assert not terms.allow([("__name__", "=", "up"), ("replica", "!=", "a")])


@pytest.mark.parametrize(
    ("expr", "matchers"),
    [
        pytest.param("up", [("__name__", "=", "up")], id="a name"),
        pytest.param('{__name__="up"}', [("__name__", "=", "up")], id="a name as matcher"),
        pytest.param(
            'up{a="1",b!="2",c=~"3|4",d!~"5"}',
            [
                ("__name__", "=", "up"),
                ("a", "=", "1"),
                ("b", "!=", "2"),
                ("c", "=~", "3|4"),
                ("d", "!~", "5"),
            ],
            id="all operators",
        ),
        pytest.param(
            r'up{a="q\"b\\n\n"}', [("__name__", "=", "up"), ("a", "=", 'q"b\\n\n')], id="escapes are undone"
        ),
        pytest.param("up[5m]", None, id="range"),
        pytest.param("up offset 5m", None, id="offset"),
        pytest.param("up @ 5", None, id="at"),
        pytest.param("-up", None, id="negated"),
        pytest.param("(up)", None, id="in brackets"),
        pytest.param("rate(up[5m])", None, id="call"),
        pytest.param("up > 1", None, id="filter"),
        pytest.param("up{", None, id="no PromQL"),
    ],
)
def test_plain_selectors(expr: str, matchers: list[tuple[str, str, str]] | None) -> None:
    found = plain_matchers(expr)
    assert (sorted(found) if found else found) == (sorted(matchers) if matchers else matchers)


def test_matchers_survive_a_round_through_text() -> None:
    matchers = [("__name__", "=", "up"), ("a", "!=", 'x"\\y\nz')]
    assert plain_matchers(selector_of(matchers)) == matchers
