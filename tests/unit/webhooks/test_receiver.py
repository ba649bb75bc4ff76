"""The endpoint's answers make Alertmanager do the right thing; 2xx only when durable."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.config.http import BasicAuth
from sidecar.config.model import StoreConfig
from sidecar.config.webhook import WebhookAuth, WebhookConfig
from sidecar.errors import StoreError, StoreFull
from sidecar.events import Event, EventBus
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.deliveries import T1, alert, body
from webhooks.correlate.why import sentences, why
from webhooks.intake.commits import QueueFull
from webhooks.intake.payload import parse
from webhooks.intake.receiver import PATH, Receiver
from webhooks.pipeline import AlertsLoop


class Served:
    """A receiver on loopback over a real store."""

    def __init__(self, url: str, store: SqliteStore, loop: AlertsLoop, registry: CollectorRegistry) -> None:
        self.url, self.store, self.loop, self.registry = url, store, loop, registry
        self.session: aiohttp.ClientSession

    async def post(self, data: bytes, **headers: str) -> tuple[int, str]:
        async with self.session.post(self.url, data=data, headers=headers) as response:
            return response.status, await response.text()

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def served(tmp_path: Path, **settings: Any) -> AsyncIterator[Served]:
    registry = CollectorRegistry()
    config = WebhookConfig(**{"incident_hold": 0.0, **settings})
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=registry)
    loop = AlertsLoop(store, bus=EventBus(), config=config, registry=registry)
    await loop.open()
    app = web.Application(client_max_size=config.max_body_bytes)
    Receiver(loop.intake, config, registry=registry).add_routes(app.router)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one = Served(f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}", store, loop, registry)
    async with aiohttp.ClientSession() as one.session:
        try:
            yield one
        finally:
            await runner.cleanup()
            await loop.stop()
            await store.close()


async def test_checklist_1_only_post_and_only_up_to_the_cap(tmp_path: Path) -> None:
    """3.7.1: other methods 405, content type does not matter, 413 only above the cap."""
    async with served(tmp_path, max_body_bytes=2048) as s:
        async with s.session.get(s.url) as response:
            assert response.status == 405
        assert (await s.post(body(alert()), **{"Content-Type": "text/plain"}))[0] == 200
        status, words = await s.post(body(alert(note="x" * 3000)))
        assert status == 413
        assert "2048 bytes" in words

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(4):
                yield b" " * 1024

        async with s.session.post(s.url, data=chunks()) as response:
            assert response.status == 413, "without a length, too"


PACKED = gzip.compress(body(alert()))


@pytest.mark.parametrize(
    ("packed", "encoding", "status", "words"),
    [
        pytest.param(PACKED, "gzip", 200, "ok", id="gzip"),
        pytest.param(
            gzip.compress(body(alert())[:99]) + gzip.compress(body(alert())[99:]),
            "gzip",
            200,
            "ok",
            id="in two pieces",
        ),
        pytest.param(
            gzip.compress(b"") * 2000, "gzip", 400, "more than 1000 pieces", id="in too many pieces"
        ),
        pytest.param(body(alert()), "identity", 200, "ok", id="not packed"),
        pytest.param(gzip.compress(b" " * 1_000_000), "gzip", 413, "above 65536 bytes", id="a bomb"),
        pytest.param(b"not gzip", "gzip", 400, "no gzip", id="no gzip"),
        pytest.param(PACKED[:-9], "gzip", 400, "cut short", id="cut short"),
        pytest.param(PACKED, "br", 400, "'br'", id="packed otherwise"),
    ],
)
async def test_what_cannot_be_unpacked_is_not_asked_for_again(
    tmp_path: Path, packed: bytes, encoding: str, status: int, words: str
) -> None:
    async with served(tmp_path, max_body_bytes=65536) as s:
        answered, said = await s.post(packed, **{"Content-Encoding": encoding})
        assert (answered, words in said) == (status, True)
        assert s.count("pronoia_webhook_requests_total", code=str(status)) == 1


async def test_checklist_4_one_transaction_and_then_200(tmp_path: Path) -> None:
    """3.7.4: delivery, alerts and dead letters are stored when 200 is answered."""
    async with served(tmp_path) as s:
        status, words = await s.post(body(alert("Good"), {**alert("Bad"), "startsAt": "?"}))
        assert status == 200
        assert json.loads(words) == {"status": "ok", "alerts": 1, "dead_letters": 1}
        rows = (await s.store.status())["rows"]
        assert (rows["deliveries"], rows["episodes"], rows["dead_letters"]) == (1, 1, 1)
        assert s.count("pronoia_webhook_dead_letters_total") == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"{", 400, id="no JSON"),
        pytest.param(b'{"text": "a templated payload"}', 400, id="templated"),
        pytest.param(body(), 200, id="an empty group is fine"),
    ],
)
async def test_checklist_5_and_11_refusals_are_short_and_echo_nothing(
    tmp_path: Path, data: bytes, status: int
) -> None:
    """3.7.5, 3.7.11: 400 for what no retry mends; one line under 200 bytes."""
    async with served(tmp_path) as s:
        found, words = await s.post(data)
        assert found == status
        assert len(words.encode()) < 200
        assert "\n" not in words
        assert "templated" not in words
        assert s.count("pronoia_webhook_requests_total", code=str(status)) == 1


async def test_checklist_5_a_store_in_trouble_is_503_and_then_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3.7.5: 503 for what a retry mends; the retry is then folded as if it were the first."""
    async with served(tmp_path) as s:
        whole = s.store.commit_deliveries

        async def full(*_: object) -> None:
            raise StoreFull("no room to write: database or disk is full")

        monkeypatch.setattr(s.store, "commit_deliveries", full)
        status, words = await s.post(body(alert()))
        assert status == 503
        assert "store_full" in words
        monkeypatch.setattr(s.store, "commit_deliveries", whole)
        assert (await s.post(body(alert())))[0] == 200
        assert len(await s.store.open_episodes()) == 1


async def test_checklist_5_too_many_waiting_is_503_never_429(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, queue_deliveries=2) as s:
        release = asyncio.Event()
        whole = s.store.commit_deliveries

        async def slow(*arguments: Any) -> None:
            await release.wait()
            await whole(*arguments)

        monkeypatch.setattr(s.store, "commit_deliveries", slow)
        posts = [asyncio.create_task(s.post(body(alert(i=str(i))))) for i in range(8)]
        done, _ = await asyncio.wait(posts, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 5:
            done, _ = await asyncio.wait(posts, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result()[0] for task in done} == {503}
        release.set()
        answers = [status for status, _ in await asyncio.gather(*posts)]
        assert set(answers) == {200, 503}
        assert len(await s.store.open_episodes()) == answers.count(200)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer sesame", 200),
        ("Bearer wrong", 401),
        ("bearer sesame", 401),
        ("", 401),
    ],
)
async def test_checklist_5_bearer_tokens(tmp_path: Path, header: str, status: int) -> None:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    async with served(tmp_path / "data", auth=WebhookAuth(bearer_token_file=token)) as s:
        assert (await s.post(body(alert()), Authorization=header))[0] == status
        assert len(await s.store.open_episodes()) == (status == 200)


async def test_checklist_5_what_can_never_be_stored_is_not_503_and_harms_no_other(tmp_path: Path) -> None:
    """3.7.5: a payload that no retry mends must not be retried, nor fail the batch it is in."""
    async with served(tmp_path) as s:
        poison = body(alert("Far", starts="9999-12-31T23:59:59Z"), truncatedAlerts=2**63)
        bodies = [poison if i == 3 else body(alert(f"A{i}")) for i in range(6)]
        answers = await asyncio.gather(*[s.post(one) for one in bodies])
        assert [status for status, _ in answers] == [200] * 6
        assert len(await s.store.open_episodes()) == 5


async def test_checklist_5_a_header_that_is_no_text_is_401(tmp_path: Path) -> None:
    async with served(tmp_path, auth=WebhookAuth(bearer_token=SecretStr("sesame"))) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(s.url.split(":")[2].split("/")[0]))
        writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n" % PATH.encode())
        writer.write(b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401")


async def test_one_enormous_delivery_is_taken_but_not_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded by alerts as well as by deliveries."""
    monkeypatch.setattr("webhooks.intake.commits.MAX_WAITING_ALERTS", 3)
    async with served(tmp_path) as s:
        # Both are queued before the intake has its turn.
        large = [parse(body(*(alert(f"{n}{i}") for i in range(5))), received_at_ns=0) for n in "ab"]
        answers = await asyncio.gather(*map(s.loop.intake.accept, large), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), QueueFull]
        assert (await s.post(body(alert())))[0] == 200


async def test_intake_survives_what_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as s:
        memory = s.loop.intake.memory
        whole = memory.fold

        def broken(*_: object, **__: object) -> None:
            monkeypatch.setattr(memory, "fold", whole)
            raise RuntimeError("strange")

        monkeypatch.setattr(memory, "fold", broken)
        assert (await s.post(body(alert())))[0] == 503
        assert (await s.post(body(alert())))[0] == 200


async def test_membership_is_stored_after_a_failure_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.pipeline.RETRY_SECONDS", 0.01)
    async with served(tmp_path) as s:
        whole = s.store.put_incidents

        async def locked(*_: object) -> None:
            monkeypatch.setattr(s.store, "put_incidents", whole)
            raise StoreError("database is locked")

        monkeypatch.setattr(s.store, "put_incidents", locked)
        await s.post(body(alert()))
        await _until(lambda: s.count("pronoia_alerts_loop_failures_total") == 1)
        await _until(lambda: bool(s.loop.placing.known))
        (incident,) = await s.store.incidents()
        found = await s.store.incident(incident.incident_id)
        assert found is not None
        assert len(found[1]) == 1


async def test_checklist_5_passwords(tmp_path: Path) -> None:
    auth = WebhookAuth(basic_auth=BasicAuth(username="am", password=SecretStr("pw")))
    async with served(tmp_path, auth=auth) as s:
        assert (await s.post(body(alert()), Authorization="Basic YW06cHc="))[0] == 200
        assert (await s.post(body(alert()), Authorization="Basic YW06eHg="))[0] == 401


async def test_checklist_5_signatures(tmp_path: Path) -> None:
    auth = WebhookAuth(hmac_secret=SecretStr("hush"))
    good = hmac.new(b"hush", body(alert()), "sha256").hexdigest()
    async with served(tmp_path, auth=auth) as s:
        assert (await s.post(body(alert()), **{"X-Signature-256": f"sha256={good}"}))[0] == 200
        assert (await s.post(body(alert()), **{"X-Signature-256": good}))[0] == 200
        assert (await s.post(body(alert("Other")), **{"X-Signature-256": good}))[0] == 401
        assert (await s.post(body(alert())))[0] == 401
        assert len(await s.store.open_episodes()) == 1


def test_credentials_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="bearer_token and hmac_secret exclude each other"):
        WebhookAuth(bearer_token=SecretStr("a"), hmac_secret=SecretStr("b"))


async def test_alerts_become_one_incident_that_ends(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        told: list[Event] = []
        s.loop._bus.publish = told.append  # type: ignore[method-assign]
        await s.post(body(alert("EdgeDown", service="cdn"), alert("Buffering", service="player")))
        await _until(lambda: any(event.kind == "incident.opened" for event in told))
        await s.post(
            body(alert("EdgeDown", service="cdn", ends=T1), alert("Buffering", service="player", ends=T1))
        )
        await _until(lambda: any(event.kind == "incident.resolved" for event in told))
        (incident,) = await s.store.incidents()
        assert incident.state == "resolved"
        assert incident.n_episodes == 2
        assert incident.causes[0].service == "cdn"
        found = await s.store.incident(incident.incident_id)
        assert found is not None
        assert {episode.incident_id for episode in found[1]} == {incident.incident_id}


async def test_an_incident_that_turns_out_to_be_two_is_split_and_stays_so(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        told: list[Event] = []
        s.loop._bus.publish = told.append  # type: ignore[method-assign]
        await s.post(body(alert("DiskSlow", service="billing"), alert("Buffering", service="player")))
        await _until(lambda: any(event.facts.get("n_episodes") == 2 for event in told))
        # The one ended long ago, the other fires until now.
        await s.post(body(alert("DiskSlow", service="billing", ends=T1)))
        await _until(lambda: any(event.kind == "incident.split" for event in told))
        stored = {one.incident_id: one for one in await s.store.incidents()}
        (new,) = (one for one in stored.values() if one.split_from)
        assert {one.state for one in stored.values()} == {"open", "resolved"}
        assert "after the others ended" in new.split_reason or "before the others" in new.split_reason
        found = await s.store.incident(new.incident_id)
        assert found is not None
        assert [episode.incident_id for episode in found[1]] == [new.incident_id]
        (episode,) = found[1]
        assert f"out of {new.split_from}" in sentences(episode, new, why(episode))[0]
        rest = await s.store.incident(new.split_from or "")
        assert rest is not None
        assert [one.bonds for one in (episode, *rest[1])] == [{}, {}], "who is left alone was drawn by nobody"
        assert s.count("pronoia_incident_splits_total") == 1.0
    async with served(tmp_path) as s:
        again = {one.incident_id: one.split_from for one in await s.store.incidents()}
        assert again[new.incident_id] == new.split_from
        group = s.loop.placing.analyst.correlator.groups.get(new.incident_id)
        assert group is None or new.split_from in group.parted


async def test_a_restart_goes_on_with_the_open_incident(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.post(body(alert("EdgeDown", service="cdn")))
    async with served(tmp_path) as s:
        await s.post(body(alert("EdgeDown", service="cdn"), alert("EdgeSlow", service="cdn")))
        await s.post(
            body(alert("EdgeDown", service="cdn", ends=T1), alert("EdgeSlow", service="cdn", ends=T1))
        )
    async with served(tmp_path) as s:
        (incident,) = await s.store.incidents()
        assert (incident.n_episodes, incident.state) == (2, "resolved")


async def test_checklist_9_what_is_not_repeated_becomes_unknown_not_resolved(tmp_path: Path) -> None:
    """3.7.9: silence proves nothing."""
    async with served(tmp_path) as s:
        await s.post(body(alert()))
        await _until(lambda: not s.loop.placing.pending)
        (episode,) = s.loop.intake.memory.episodes.values()
        episode.last_seen_ns -= 13 * 3600 * 10**9
        await s.loop._sweep()
        assert episode.state == "firing", "we have not listened for so long"
        s.loop._listening_since_ns -= 13 * 3600 * 10**9
        s.loop.intake.memory.truncated_at_ns["default"] = episode.first_seen_ns
        await s.loop._sweep()
        assert episode.state == "firing", "3.7.8: alerts were left out meanwhile, absence says nothing"
        s.loop.intake.memory.truncated_at_ns.clear()
        await s.loop._sweep()
        assert episode.state == "unknown"
        await s.loop._work()
        (stored,) = await s.store.open_episodes()
        assert stored.state == "unknown"
        await s.post(body(alert()))
        assert episode.state == "firing", "and is known again once repeated"


async def _until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
