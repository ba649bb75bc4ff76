"""What a service is worth makes its incidents more urgent, with the figures as reasons, and never less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sidecar.config.hours import Hours
from sidecar.config.impact import ImpactConfig
from sidecar.errors import PullError, PullReason
from sidecar.records import Incident
from sidecar.series import LabelSet, SeriesBatch, ThresholdEta
from tests.unit.webhooks.test_evidence import T0, episode, heard
from webhooks.incident import describe
from webhooks.judge.analyst import Analyst, Verdict
from webhooks.judge.impact import Impact
from webhooks.judge.impact_feed import ImpactFeed

NOW = T0 + 600.0
ALWAYS = Hours()


def worth(**settings: Any) -> ImpactConfig:
    return ImpactConfig.model_validate({"services": [{"name": "Pay", **settings.pop("pay", {})}], **settings})


def considered(impact: Impact, *, fails: bool = True, now: float = NOW) -> Verdict:
    """What is thought of an alert of the service `pay`, that requests fail or that it is slow."""
    analyst = Analyst(impact=impact)
    one = episode("HighErrorRate" if fails else "HighLatency", 0.0, service="pay")
    one.annotations = {"summary": "requests fail" if fails else "p99 latency"}
    (group,) = heard(analyst, one)
    return analyst.consider(group, now=now, usual={})


def test_without_anything_known_nothing_changes() -> None:
    assert considered(Impact()).urgency == considered(Impact(ImpactConfig())).urgency
    assert considered(Impact()).urgency.priority == "P2"


@pytest.mark.parametrize(
    ("config", "users", "priority", "reason"),
    [
        pytest.param(worth(pay={"criticality": 1}), 0, "P1", "requests fail at", id="critical"),
        pytest.param(worth(pay={"criticality": 3}), 0, "P3", "no user-facing", id="not critical"),
        pytest.param(
            worth(pay={"revenue_per_hour": 9000}),
            0,
            "P2",
            "9,000 an hour are earned by pay",
            id="worth is told",
        ),
        pytest.param(
            worth(pay={"revenue_per_hour": 9000}, page_revenue_per_hour=5000), 0, "P1", "", id="earns much"
        ),
        pytest.param(
            worth(pay={"revenue_per_hour": 900}, page_revenue_per_hour=5000), 0, "P2", "", id="earns little"
        ),
        pytest.param(worth(page_users=100), 250, "P1", "250 users are affected", id="many users"),
        pytest.param(worth(page_users=100), 20, "P2", "20 users", id="few users"),
        pytest.param(
            worth(pay={"sla": 0.9999}), 0, "P1", "pay has spent 231% of", id="a long failure for its SLA"
        ),
        pytest.param(worth(pay={"sla": 0.99}), 0, "P2", "pay has spent 2% of", id="a short one"),
    ],
)
def test_what_fails_is_as_urgent_as_it_is_worth(
    config: ImpactConfig, users: float, priority: str, reason: str
) -> None:
    impact = Impact(config)
    impact.users["pay"] = users
    found = considered(impact).urgency
    assert found.priority == priority
    assert reason in "; ".join(found.reasons)


def test_what_is_slow_costs_nobody_anything() -> None:
    impact = Impact(worth(pay={"revenue_per_hour": 9000}, page_revenue_per_hour=5000))
    assert considered(impact, fails=False).urgency.priority == "P3"


@pytest.mark.parametrize(
    ("raises", "peak", "priority"),
    [
        pytest.param(True, True, "P2", id="in peak hours"),
        pytest.param(True, False, "P3", id="at night"),
        pytest.param(False, True, "P3", id="not asked for"),
    ],
)
def test_peak_hours_raise_what_the_business_needs(raises: bool, peak: bool, priority: str) -> None:
    impact = Impact(worth(pay={"revenue_per_hour": 10}, raise_in_peak_hours=raises))
    impact.is_peak = peak
    assert considered(impact, fails=False).urgency.priority == priority


@pytest.mark.parametrize(
    ("seconds", "priority"), [pytest.param(480.0, "P2", id="near"), pytest.param(4000.0, "P3", id="far")]
)
def test_a_threshold_that_comes_near_is_urgent(seconds: float, priority: str) -> None:
    impact = Impact(ImpactConfig())
    impact.etas["pay"] = {"DiskFull": seconds, "HighLatency": 0.0}
    found = considered(impact, fails=False).urgency
    assert found.priority == priority
    assert ("DiskFull is forecast to be crossed in 8 min" in found.reasons) == (priority == "P2")


def test_noise_stays_noise() -> None:
    impact = Impact(worth(pay={"criticality": 1, "revenue_per_hour": 9000}, page_revenue_per_hour=1))
    analyst = Analyst(impact=impact)
    (group,) = heard(analyst, episode("HighErrorRate", 0.0, service="pay", severity="none"))
    assert analyst.consider(group, now=NOW, usual={}).urgency.priority == "P4"


class Prometheus:
    """Answers with one value for each series, or not at all."""

    def __init__(self, *values: float, fails: bool = False) -> None:
        self._values, self._fails = values, fails

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        if self._fails:
            raise PullError(PullReason.TIMEOUT, "late")
        labels = tuple(LabelSet({"n": str(n)}) for n in range(len(self._values)))
        return SeriesBatch(name, labels, np.array([at_ms]), np.array(self._values)[:, None])


async def test_incidents_are_judged_anew_when_that_changes_their_priority() -> None:
    config = worth(pay={"users": "sum by (n) (sessions)"}, page_users=100)
    analyst = Analyst(impact=Impact(config))
    one = episode("HighErrorRate", 0.0, service="pay")
    one.annotations = {"summary": "requests fail"}
    (group,) = heard(analyst, one)
    told: list[str] = []
    known: dict[str, Incident] = {}

    def feed(source: Prometheus, *etas: ThresholdEta, peak: tuple[Hours, ...] = ()) -> ImpactFeed:
        verdict = analyst.consider(group, now=NOW, usual={})
        known[group.incident_id] = describe(group, verdict, now_ns=int(NOW * 1e9))
        return ImpactFeed(
            lambda: analyst,
            source=source,
            etas=lambda: etas,
            peak_hours=peak,
            known=lambda: known,
            reconsider=told.append,
            now=lambda: NOW,
        )

    await feed(Prometheus(20.0, 30.0)).look()
    assert analyst.impact.users == {"pay": 50.0}
    assert told == []
    await feed(Prometheus(80.0, 70.0), peak=(ALWAYS,)).look()
    assert analyst.impact.is_peak
    assert told == [group.incident_id]
    await feed(Prometheus(fails=True)).look()
    assert analyst.impact.users == {"pay": 150.0}, "what was known a minute ago"
    assert told == [group.incident_id], "nothing new"
    labels = LabelSet({"service": "disk"})
    near, unlikely = (
        ThresholdEta(labels, "R", "t", p, seconds) for p, seconds in ((0.9, 600.0), (0.2, 60.0))
    )
    await feed(Prometheus(150.0), near, unlikely).look()
    assert analyst.impact.etas == {"disk": {"R": 600.0}}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"services": [{"name": "a", "users": "sum("}]}, "is not PromQL", id="no PromQL"),
        pytest.param({"services": [{"name": "a"}, {"name": "A"}]}, "named twice", id="twice"),
        pytest.param(
            {"services": [{"name": "a", "criticality": 9}]}, "less than or equal to 3", id="criticality"
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ImpactConfig.model_validate(settings)
