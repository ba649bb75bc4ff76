"""What messages say beside what alerts do: tables, queries, links, and what hostile labels cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.enrichment import EnrichmentConfig, TableConfig
from sidecar.config.model import Config
from sidecar.errors import PullError, PullReason
from sidecar.series import LabelSet, SeriesBatch
from tests.unit.webhooks.respond.incidents import episode, incident, plain_enricher
from webhooks.notify.message import document
from webhooks.respond.enrich import filled, in_string, in_url, written
from webhooks.respond.mapping import MappingError, read_table

CSV = """namespace,service,team,tier,contact
shop,cart,cart-team,1,cart@example.com
shop,,shop-team,2,
,db,dba,1,dba@example.com
"""


def table(directory: Path, text: str = CSV, name: str = "owners.csv") -> TableConfig:
    (directory / name).write_text(text)
    return TableConfig(name="owners", file=directory / name, keys=("namespace", "service"), team="team")


@pytest.mark.parametrize(
    ("labels", "team"),
    [
        pytest.param({"namespace": "shop", "service": "cart"}, "cart-team", id="the whole row"),
        pytest.param({"namespace": "shop", "service": "web"}, "shop-team", id="any service of it"),
        pytest.param({"service": "db"}, "dba", id="wherever it is"),
        pytest.param({"namespace": "bank", "service": "web"}, "", id="nobody"),
        pytest.param({}, "", id="no labels"),
    ],
)
def test_the_row_that_says_most_fits(tmp_path: Path, labels: dict[str, str], team: str) -> None:
    assert read_table(table(tmp_path)).team(labels) == team


def test_a_table_may_be_yaml(tmp_path: Path) -> None:
    text = "- {namespace: shop, service: cart, team: cart-team, tier: 1}\n- {namespace: bank, team: b}\n"
    found = read_table(table(tmp_path, text, "owners.yaml"))
    assert found.find({"namespace": "shop", "service": "cart"}) == {"team": "cart-team", "tier": "1"}
    assert found.team({"namespace": "bank", "service": "x"}) == "b"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        pytest.param("a.csv", "namespace,team\nx,y\n", "no column 'service'", id="a column is missing"),
        pytest.param("a.yaml", "a: b", "no list of mappings", id="no list"),
        pytest.param("a.yaml", "- [", "a.yaml", id="broken"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(MappingError, match=words):
        read_table(table(tmp_path, text, name))


def test_a_broken_table_takes_nothing_else_along(tmp_path: Path) -> None:
    whole = table(tmp_path)
    gone = TableConfig(name="gone", file=tmp_path / "none.csv", keys=("service",))
    assert plain_enricher(EnrichmentConfig(tables=(gone, whole))).owner(incident()) == "dba"


class Prometheus:
    """Answers with these values by series, after so long."""

    def __init__(self, values: dict[str, float], *, seconds: float = 0.0, error: bool = False) -> None:
        self.values, self.seconds, self.error = values, seconds, error
        self.asked: list[str] = []

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        self.asked.append(expr)
        await asyncio.sleep(self.seconds)
        if self.error:
            raise PullError(PullReason.BAD_QUERY, "no")
        return batch(self.values, at_ms)


def batch(values: dict[str, float], at_ms: int = 0) -> SeriesBatch:
    labels = tuple(LabelSet({"job": "x", "pod": name}) for name in values)
    column = np.array(list(values.values()), dtype=np.float64).reshape(-1, 1)
    return SeriesBatch("q", labels, np.array([at_ms], dtype=np.int64), column)


def config(**fields: Any) -> EnrichmentConfig:
    query = {"name": "errors", "expr": 'sum(rate(e{service="{{ service }}"}[5m]))', "unit": "percent"}
    return EnrichmentConfig.model_validate({"queries": [query], "timeout": 5.0, **fields})


async def test_it_is_all_in_the_message(tmp_path: Path) -> None:
    link = {"name": "Dashboard", "url": "https://g.example/d?service={{ service }}&tier={{ tier }}"}
    noted = episode("Down")
    noted.annotations["runbook_url"] = "https://r.example/down"
    enricher = plain_enricher(config(links=[link], tables=[table(tmp_path).model_dump()]), [noted])
    source = Prometheus({"a": 0.125})
    enricher.ask(source)
    await enricher.prepare([incident()])
    assert source.asked == ['sum(rate(e{service="db"}[5m]))']
    found = enricher.of(incident())
    facts = {"facts": found.facts, "values": found.values, "links": found.links}
    told = document("opened", incident(), key="k", facts=facts)
    assert "errors: 12.5 %\nteam: dba\ntier: 1\ncontact: dba@example.com\n" in told["text"]
    assert told["links"] == {
        "Runbook": "https://r.example/down",
        "Dashboard": "https://g.example/d?service=db&tier=1",
    }
    assert (told["incident"]["values"], told["incident"]["facts"]["tier"]) == ({"errors": "12.5 %"}, "1")


@pytest.mark.parametrize(
    ("source", "shared"),
    [
        pytest.param(Prometheus({"a": 1.0}, seconds=60.0), {}, id="late"),
        pytest.param(Prometheus({}, error=True), {}, id="refused"),
        pytest.param(Prometheus({}), {}, id="nothing found"),
        pytest.param(None, {}, id="nobody to ask"),
    ],
)
async def test_what_cannot_be_found_out_is_left_out(
    source: Prometheus | None, shared: dict[str, str]
) -> None:
    enricher = plain_enricher(config(timeout=0.05))
    enricher.ask(source)
    await enricher.prepare([incident(shared_labels=shared)])
    assert enricher.of(incident()).values == {}


async def test_a_prometheus_that_was_late_is_not_waited_for_at_once_again() -> None:
    enricher = plain_enricher(config(timeout=0.05))
    source = Prometheus({"a": 1.0}, seconds=60.0)
    enricher.ask(source)
    for name in ("i1", "i2"):
        await enricher.prepare([incident(name)])
    assert len(source.asked) == 1
    source.seconds, set_back = 0.0, enricher._now() - 365 * 86_400
    enricher._now = lambda: set_back
    await enricher.prepare([incident("i3")])
    assert len(source.asked) == 2, "a clock that was set back since is no reason to wait for longer"


async def test_a_query_of_an_absent_label_is_not_asked() -> None:
    enricher = plain_enricher(config())
    source = Prometheus({"a": 1.0})
    enricher.ask(source)
    await enricher.prepare([incident(causes=[])])
    assert source.asked == []


@given(st.text(min_size=1, max_size=40))
def test_no_label_leaves_its_string_in_a_query(value: str) -> None:
    expr = filled('x{a="{{ a }}"}', {"a": value}, in_string)
    assert expr is not None
    if "\x00" not in value:  # The parser's own limit.
        tree = promql_parser.parse(expr)
        assert isinstance(tree, promql_parser.VectorSelector)
        (matcher,) = tree.matchers.matchers
        assert matcher.value == value


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_no_label_leaves_its_place_in_a_link(value: str) -> None:
    url = filled("https://g.example/d?a={{ a }}&b=1", {"a": value}, in_url)
    assert url is not None
    assert url.count("&") == 1
    assert url.isascii()
    assert not set(url) & set(' <>"\n\r')


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        pytest.param({}, "number", "", id="none"),
        pytest.param({"a": float("nan")}, "number", "", id="absent"),
        pytest.param({"a": 12345.678}, "number", "12346", id="one"),
        pytest.param({"a": 1200.0}, "seconds", "1200 s", id="long"),
        pytest.param({"a": 999.9}, "seconds", "1000 s", id="nearly a thousand"),
        pytest.param({"a": 12.5}, "percent", "1250 %", id="many times over"),
        pytest.param({"a": 1010 * 2**20}, "bytes", "1010 MiB", id="nearly the next"),
        pytest.param({"a": 0.00001234}, "number", "1.234e-05", id="tiny"),
        pytest.param({"a": 0.004}, "seconds", "4 ms", id="short"),
        pytest.param({"a": 3 * 2**30}, "bytes", "3 GiB", id="bytes"),
        pytest.param(
            {"a": 1, "b": 4, "c": 3, "d": 2}, "number", "b 4, c 3, d 2 and 1 more", id="the largest"
        ),
    ],
)
def test_values_for_people(values: dict[str, float], unit: str, text: str) -> None:
    assert written(batch(values), unit) == text


def test_a_table_routes_to_the_team_that_owns(tmp_path: Path) -> None:
    from webhooks.respond.audience import TeamAudience

    class Nobody:
        def response(self, _: str) -> None:
            return None

    settings = Config.model_validate(
        {
            "notify": {"targets": [{"name": n, "url": "http://x"} for n in ("dba", "rest")]},
            "teams": [
                {"name": "by-match", "match": {"service": "db"}, "steps": [{"targets": ["rest"]}]},
                {"name": "dba", "match": {"x": "y"}, "steps": [{"targets": ["dba"]}]},
            ],
        }
    )
    enricher = plain_enricher(EnrichmentConfig(tables=(table(tmp_path),)))
    audience = TeamAudience(settings, Nobody(), secret=b"", enricher=enricher, on_call=lambda _, __: None)  # type: ignore[arg-type]
    assert audience.listeners(incident(), now=0.0, since=None) == ["dba"]


async def test_prometheus_is_not_asked_for_a_thousand_incidents_at_once() -> None:
    class Busy(Prometheus):
        now_asked = most = 0

        async def instant(self, expr: str, **ways: Any) -> SeriesBatch:
            self.now_asked += 1
            self.most = max(self.most, self.now_asked)
            try:
                return await super().instant(expr, **ways)
            finally:
                self.now_asked -= 1

    enricher, source = plain_enricher(config()), Busy({"a": 1.0}, seconds=0.001)
    enricher.ask(source)
    await enricher.prepare([incident(f"i{n}") for n in range(100)])
    assert (len(source.asked), source.most) == (100, 8)
