"""What people say has a bounded effect on the series they spoke of, and on no other; it fades."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.loop.taste import (
    COURSE,
    HALF_LIFE_SECONDS,
    LEAST,
    MOST,
    NOISE,
    USEFUL,
    VALUE,
    factors,
    in_words,
    of_alerts,
    rows_of,
    tastes,
)
from sidecar.records import Episode, SeriesVerdict
from sidecar.series import LabelSet

NOW = 1_790_000_000.0
SHOP = {"__name__": "load", "service": "shop"}


def said(
    verdict: str = "noise", *, event: int = 1, actor: str = "ann", kind: str = VALUE, age: float = 0.0
) -> SeriesVerdict:
    return SeriesVerdict("load", SHOP, event, kind, verdict, actor, round((NOW - age) * 1e9))


@pytest.mark.parametrize(
    ("verdicts", "band", "course"),
    [
        pytest.param([said()], NOISE, 1.0, id="noise widens"),
        pytest.param([said(), said()], NOISE, 1.0, id="the same word twice is one"),
        pytest.param([said(), said(actor="bob")], NOISE**2, 1.0, id="two people"),
        pytest.param([said(event=1), said(event=2)], NOISE**2, 1.0, id="two events"),
        pytest.param([said("noise", age=9), said("useful")], USEFUL, 1.0, id="the newest word counts"),
        pytest.param([said("useful")], USEFUL, 1.0, id="useful narrows"),
        pytest.param([said(kind=COURSE)], 1.0, NOISE, id="its course alone"),
        pytest.param([said(age=HALF_LIFE_SECONDS)], NOISE**0.5, 1.0, id="half is forgotten"),
        pytest.param([said(event=i) for i in range(90)], MOST, 1.0, id="never more"),
        pytest.param([said("useful", event=i) for i in range(90)], LEAST, 1.0, id="never less"),
    ],
)
def test_what_is_said_moves_the_edge(verdicts: list[SeriesVerdict], band: float, course: float) -> None:
    (one,) = tastes(verdicts, NOW)["load"]
    assert (one.band, one.course) == pytest.approx((band, course))


@given(st.lists(st.tuples(st.sampled_from(["noise", "useful"]), st.integers(0, 50)), max_size=60))
def test_the_effect_is_bounded(words: list[tuple[str, int]]) -> None:
    for one in tastes([said(verdict, event=event) for verdict, event in words], NOW).get("load", ()):
        assert LEAST <= one.band <= MOST
        assert one.course == 1.0


def test_it_concerns_that_series_alone() -> None:
    labels = (LabelSet(SHOP), LabelSet({"__name__": "load", "service": "cart"}))
    found = tastes([said()], NOW)["load"]
    assert list(rows_of(found, labels)) == [0]
    band, course = factors(found, labels) or (None, None)
    assert band is not None
    assert course is not None
    assert band[:, 0].tolist() == pytest.approx([NOISE, 1.0])
    assert course[:, 0].tolist() == [1.0, 1.0]
    assert factors(found, labels[1:]) is None
    assert "noise: the band is 1.15 times as wide" in in_words(found[0])


def test_a_verdict_on_an_incident_reaches_the_series_of_its_generated_alerts() -> None:
    alert = {
        "alertname": "LoadUnusual", "generator": "pronoia", "query": "load", "severity": "warning",
        "service": "shop", "cluster": "eu",
    }  # fmt: skip

    def episode(labels: dict[str, str]) -> Episode:
        return Episode("default", "f", 5_000_000, None, labels, {}, "", 0, 0, 1, "firing")

    (one,) = of_alerts(
        [episode(alert), episode({"alertname": "Other", "service": "shop"})], "noise", actor="ann", at_ns=1
    )
    assert (one.query, one.kind, one.event_ms) == ("load", COURSE, 5)
    found = tastes([one], NOW)["load"]
    assert list(rows_of(found, (LabelSet(SHOP), LabelSet({"service": "cart"})))) == [0]
