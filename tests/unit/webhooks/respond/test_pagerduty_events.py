"""What people do in PagerDuty, as its V3 webhooks tell it: believed when signed, done once, in order."""

from __future__ import annotations

import hmac
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr, ValidationError

from sidecar.config.channels import PagerDutyConfig
from sidecar.errors import StoreError
from tests.unit.webhooks.respond.test_http import Desk
from webhooks.respond.lifecycle import ActionError
from webhooks.respond.pagerduty_events import EVENTS_PATH, PagerDutyEvents

USER = {"type": "user_reference", "id": "PLH1HKV", "summary": "Ann Ang\u00e9"}
ANN = "pagerduty:Ann Ang\u00e9"


def event(kind: str, *, at: str = "12:00:00", key: str | None = "pronoia/i1", agent: Any = USER) -> bytes:
    """The body of one webhook."""
    told = {
        "id": "01BRB6ZP",
        "event_type": kind,
        "resource_type": "incident",
        "occurred_at": f"2026-01-01T{at}.169Z",
        "agent": agent,
        "client": {"name": "PagerDuty"},
        "data": {"id": "PGR0VU2", "type": "incident", "number": 2, "incident_key": key},
    }
    return json.dumps({"event": told}, ensure_ascii=False).encode()


def signatures(body: bytes, *secrets: str) -> str:
    """The header as PagerDuty makes it: a signature for each secret that is valid now."""
    return ",".join(f"v1={hmac.new(one.encode(), body, 'sha256').hexdigest()}" for one in secrets)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def client(desk: Desk, tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    file = tmp_path / "secret"
    file.write_text("of the other service\n")
    configs = [
        PagerDutyConfig(routing_key=SecretStr("k")),
        PagerDutyConfig(routing_key=SecretStr("k"), webhook_secret=SecretStr("")),
        PagerDutyConfig(routing_key=SecretStr("k"), webhook_secret_file=tmp_path / "gone"),
        PagerDutyConfig(routing_key=SecretStr("k"), webhook_secret=SecretStr("hush")),
        PagerDutyConfig(routing_key=SecretStr("k"), webhook_secret_file=file),
    ]
    app = web.Application()
    app.router.add_post(EVENTS_PATH, PagerDutyEvents(configs, desk.do).handle)
    async with TestClient(TestServer(app)) as made:
        yield made


async def post(client: TestClient[Any, Any], body: bytes, signature: str | None = None) -> int:
    header = signatures(body, "hush") if signature is None else signature
    answer = await client.post(EVENTS_PATH, data=body, headers={"X-PagerDuty-Signature": header})
    return answer.status


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        pytest.param(event("incident.acknowledged"), [("i1", "acknowledge", ANN, "")], id="acknowledged"),
        pytest.param(event("incident.resolved"), [("i1", "mitigate", ANN, "")], id="resolved"),
        pytest.param(event("incident.reopened"), [("i1", "unacknowledge", ANN, "")], id="reopened"),
        pytest.param(event("incident.unacknowledged"), [("i1", "unacknowledge", ANN, "")], id="taken back"),
        pytest.param(event("incident.annotated"), [], id="something else"),
        pytest.param(event("incident.acknowledged", key="pager-7"), [], id="somebody else's incident"),
        pytest.param(event("incident.acknowledged", key=None), [], id="without a key"),
        pytest.param(event("incident.resolved", agent=None), [], id="by a time limit"),
        pytest.param(
            event("incident.resolved", agent={"type": "inbound_integration_reference", "summary": "pronoia"}),
            [],
            id="what pronoia sent itself",
        ),
        pytest.param(event("pagey.ping", agent=None), [], id="a test of the subscription"),
    ],
)
async def test_events_become_actions_of_people(
    client: TestClient[Any, Any], desk: Desk, body: bytes, asked: list[tuple[str, ...]]
) -> None:
    assert await post(client, body) == 200
    assert desk.asked == asked


BODY = event("incident.acknowledged")


@pytest.mark.parametrize(
    ("signature", "status"),
    [
        pytest.param(signatures(BODY, "hush"), 200, id="signed"),
        pytest.param(signatures(BODY, "of the other service"), 200, id="by another service of ours"),
        pytest.param(signatures(BODY, "new", "hush"), 200, id="while the secret is replaced"),
        pytest.param("v2=00, " + signatures(BODY, "hush"), 200, id="beside another version"),
        pytest.param("", 401, id="unsigned"),
        pytest.param(signatures(BODY, "guessed"), 401, id="another secret"),
        pytest.param(signatures(BODY, ""), 401, id="no secret"),
        pytest.param(signatures(BODY + b" ", "hush"), 401, id="another body"),
        pytest.param(signatures(BODY, "hush").removeprefix("v1="), 401, id="no version"),
        pytest.param("v1=\u00e9", 401, id="no hexadecimal"),
    ],
)
async def test_only_what_is_signed_is_believed(
    client: TestClient[Any, Any], desk: Desk, signature: str, status: int
) -> None:
    assert await post(client, BODY, signature) == status
    assert len(desk.asked) == (status == 200)


async def test_events_that_come_again_or_late_change_nothing(
    client: TestClient[Any, Any], desk: Desk
) -> None:
    for kind, at in (("reopened", "12:05:00"), ("reopened", "12:05:00"), ("acknowledged", "12:00:00")):
        assert await post(client, event(f"incident.{kind}", at=at)) == 200
    assert await post(client, event("incident.acknowledged", at="12:06:00")) == 200
    assert [action for _, action, *_ in desk.asked] == ["unacknowledge", "acknowledge"]


@pytest.mark.parametrize(
    ("error", "status", "n_again"),
    [
        pytest.param(StoreError("locked"), 503, 1, id="not stored: sent again, and done then"),
        pytest.param(KeyError("i1"), 200, 0, id="an incident of long ago"),
        pytest.param(ActionError("is resolved"), 200, 0, id="too late"),
    ],
)
async def test_what_cannot_be_done(
    client: TestClient[Any, Any], desk: Desk, error: Exception, status: int, n_again: int
) -> None:
    desk.error = error
    assert await post(client, BODY) == status
    desk.error = None
    assert await post(client, BODY) == 200
    assert len(desk.asked) == n_again


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"event": {"event_type": "incident.resolved"}}', id="without a time"),
        pytest.param(event("incident.resolved").replace(b"169Z", b"169"), id="a time of no zone"),
        pytest.param(event("incident.resolved", key=7), id="a number for a key"),  # type: ignore[arg-type]
        pytest.param(b'{"event": "\xff"}', id="no text"),
    ],
)
async def test_what_is_no_event_is_refused(client: TestClient[Any, Any], desk: Desk, body: bytes) -> None:
    assert await post(client, body) == 400
    assert desk.asked == []


async def test_what_is_too_long_is_refused(client: TestClient[Any, Any]) -> None:
    body = io.BytesIO(b" " * (1024 * 1024 + 1) + BODY)
    headers = {"X-PagerDuty-Signature": signatures(body.getvalue(), "hush")}
    assert (await client.post(EVENTS_PATH, data=body, headers=headers)).status == 413


def test_one_secret_is_stated_once(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        PagerDutyConfig(
            routing_key=SecretStr("k"), webhook_secret=SecretStr("x"), webhook_secret_file=tmp_path / "x"
        )
