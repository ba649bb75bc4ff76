"""The page of one incident: what it shows, to whom it leads, and what it may do."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.errors import StoreError
from sidecar.records import Episode, Incident
from tests.unit.webhooks.respond.incidents import NOW, incident
from webhooks.respond.document import Report
from webhooks.respond.incident_page import IncidentPage
from webhooks.respond.report import WIDTH, incident_report

NOW_NS = int(NOW * 1e9)
SECOND = 1_000_000_000


def alert(n: int, *, rule: str = "Down", runbook: str = "", seconds: float | None = None) -> Episode:
    starts_at_ns = NOW_NS + n * SECOND
    return Episode(
        tenant="default",
        fingerprint=f"f{n}",
        starts_at_ns=starts_at_ns,
        ends_at_ns=None if seconds is None else starts_at_ns + int(seconds * SECOND),
        labels={"alertname": rule, "dc": "eu", "pod": f"p{n}"},
        annotations={"summary": "<i>it is down</i>", "runbook_url": runbook},
        generator_url="",
        first_seen_ns=0,
        last_seen_ns=0,
        state="firing" if seconds is None else "resolved",
    )


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    known = {
        "i1": (incident(title="<b>web</b>: Down", shared_labels={"dc": "eu"}), "open"),
        "i2": (incident("i2", state="merged", merged_into="i1"), "merged"),
        "i3": (incident("i3", state="resolved"), "resolved"),
    }

    async def told(incident_id: str) -> tuple[Incident, str, Callable[[], Report]] | None:
        if incident_id == "locked":
            raise StoreError("the database is locked")
        if incident_id not in known:
            return None
        one, status = known[incident_id]
        return one, status, lambda: incident_report(one, [alert(0)], None, [], [])

    app = web.Application()
    IncidentPage(told).add_routes(app.router)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize(("name", "scripts"), [("i1", 1), ("i3", 0)], ids=["open", "over"])
async def test_the_page_may_do_only_what_it_does(
    client: TestClient[Any, Any], name: str, scripts: int
) -> None:
    answer = await client.get(f"/incidents/{name}")
    page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    found = [
        *re.findall("<style>(.*?)</style>", page, re.S),
        *re.findall("<script>(.*?)</script>", page, re.S),
    ]
    assert len(found) == 1 + scripts == policy.count("'sha256-")
    for text in found:
        assert b64encode(sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r"innerHTML| on[a-z]+=| style=|<b>|<i>", page)
    assert ("<button" in page) == bool(scripts), "what is over can no longer be taken on"


async def test_a_link_leads_where_the_incident_went(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/incidents/i2")
    assert (answer.status, answer.url.path) == (200, "/incidents/i1")


@pytest.mark.parametrize(("name", "status"), [("gone", 404), ("locked", 503)])
async def test_what_cannot_be_shown_is_said_on_a_page(
    client: TestClient[Any, Any], name: str, status: int
) -> None:
    answer = await client.get(f"/incidents/{name}")
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert "all incidents" in await answer.text()


def test_a_report_says_where_and_what_to_do() -> None:
    alerts = [alert(n, runbook="https://wiki/a?b=(c)") for n in range(5)]
    alerts.append(alert(9, rule="Odd", runbook="javascript:alert(1)"))
    report = incident_report(incident(shared_labels={"dc": "eu"}), alerts, None, [], [])
    assert "pod=p0; pod=p1; pod=p2 and 2 more" in report.page()
    assert "dc=eu" not in report.page(), "all of them have it"
    assert report.page().count("<a ") == 1, "once each, and nothing that is a script"
    assert "[Down](https://wiki/a?b=%28c%29)" in report.markdown()


def test_the_picture_of_a_storm_is_no_larger_than_its_pixels() -> None:
    alerts = [alert(n, seconds=30.5) for n in range(3000)]
    picture = next(s.picture for s in incident_report(incident(), alerts, None, [], []).sections if s.picture)
    assert picture.count(",") < 4 * WIDTH
    assert "at most 31 at once" in picture
    still = incident(last_change_ns=NOW_NS + 3600 * SECOND)
    picture = next(s.picture for s in incident_report(still, [alert(0)], None, [], []).sections if s.picture)
    assert "2025-06-15T16:06:40Z" in picture, "what still fires goes on to the right"
