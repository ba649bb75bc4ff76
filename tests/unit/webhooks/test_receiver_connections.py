"""Whoever posts to a slightly other address, sends nothing more, or hangs up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.webhooks.deliveries import alert, body
from tests.unit.webhooks.test_receiver import served
from webhooks.intake import receiver
from webhooks.intake.receiver import EVENTS_PATH, PATH, ROUTES


async def test_a_slash_at_the_end_of_the_address_loses_no_alert(tmp_path: Path) -> None:
    """Alertmanager takes a 404 for final."""
    async with served(tmp_path) as s:
        async with s.session.post(s.url + "/", data=body(alert())) as response:
            assert response.status == 200
        async with s.session.post(s.url + "-events/", data=b"{}") as response:
            assert response.status != 404
    assert {PATH + "/", EVENTS_PATH + "/"} <= ROUTES, (
        "they ask for the webhook's credentials as the others do"
    )


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_body_that_does_not_arrive_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hangs_up: bool
) -> None:
    monkeypatch.setattr(receiver, "BODY_SECONDS", 20.0 if hangs_up else 0.05)
    async with served(tmp_path) as s:
        port = int(s.url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode())
        async with asyncio.timeout(20):
            if not hangs_up:
                assert b" 503 " in await reader.readline()
            await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()
            while s.count("pronoia_webhook_requests_total", code="503") < 1:
                await asyncio.sleep(0.01)
    assert not caplog.records, "who hangs up is no fault of ours"
