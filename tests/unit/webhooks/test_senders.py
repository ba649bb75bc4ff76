"""Receivers of their own: whose alerts they are, who may send; and Alertmanager's event recorder."""

from __future__ import annotations

import contextlib
import hmac
import json
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from sidecar.api.tls import server_context
from sidecar.config.http import ServerTlsConfig
from sidecar.config.webhook import ReceiverConfig, WebhookAuth, WebhookConfig
from sidecar.errors import PayloadError
from tests.unit.webhooks.deliveries import EPOCH, SECOND, T0, T1, alert, body
from tests.unit.webhooks.test_receiver import served
from webhooks.intake import receiver, recorder
from webhooks.intake.gate import allowed, signed
from webhooks.intake.receiver import EVENTS_PATH, PATH, Receiver
from webhooks.intake.recorder import parse_events
from webhooks.quieten.flapping import FlapWatch


async def test_each_receiver_has_its_tenant_and_its_credentials(tmp_path: Path) -> None:
    receivers = (
        ReceiverConfig(name="blue", tenant="team-blue", auth=WebhookAuth(bearer_token=SecretStr("b"))),
        ReceiverConfig(name="green", tenant="team-green"),
    )
    async with served(tmp_path, receivers=receivers) as s:
        root = s.url
        for name, token, status in (
            ("blue", "x", 401),
            ("blue", "b", 200),
            ("green", "", 200),
            ("red", "", 404),
        ):
            s.url = f"{root}/{name}"
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert (await s.post(body(alert()), **headers))[0] == status, (name, token)
        s.url = root
        assert (await s.post(body(alert())))[0] == 200
        tenants = {episode.tenant for episode in await s.store.open_episodes()}
        assert tenants == {"team-blue", "team-green", "default"}, "one alert, three tenants, three episodes"


def test_names_of_receivers_are_unique() -> None:
    with pytest.raises(ValueError, match="used twice"):
        WebhookConfig(receivers=(ReceiverConfig(name="a"), ReceiverConfig(name="a")))


def make_certificates(directory: Path) -> None:
    """An authority, a server, and two clients of it, by openssl."""

    def run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    # What Python 3.13 asks of an authority.
    may_sign = ("-addext", "keyUsage=critical,keyCertSign")
    subject = ("-days", "2", "-subj", "/CN=authority")
    run("req", "-x509", *key, *subject, *may_sign, "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("localhost", "alertmanager", "stranger"):
        (directory / "san").write_text(
            f"subjectAltName=DNS:{name},IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"
        )
        run("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "san", "-out", f"{name}.pem"),
        )


@pytest.mark.parametrize(
    ("client", "status"), [("alertmanager", 200), ("stranger", 401), (None, 401)], ids=str
)
async def test_a_receiver_may_ask_for_a_client_certificate(
    tmp_path: Path, client: str | None, status: int
) -> None:
    make_certificates(tmp_path)
    auth = WebhookAuth(client_names=("alertmanager",))
    async with served(tmp_path / "data") as s:
        app = web.Application()
        Receiver(s.loop.intake, WebhookConfig(auth=auth), registry=CollectorRegistry()).add_routes(app.router)
        runner = web.AppRunner(app)
        await runner.setup()
        tls = ServerTlsConfig(
            cert_file=tmp_path / "localhost.pem",
            key_file=tmp_path / "localhost.key",
            client_ca_file=tmp_path / "ca.pem",
        )
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(tls)).start()
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        if client is not None:
            trust.load_cert_chain(tmp_path / f"{client}.pem", tmp_path / f"{client}.key")
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"https://127.0.0.1:{runner.addresses[0][1]}/webhooks/alertmanager"
            async with session.post(url, data=body(alert())) as response:
                assert response.status == status
        await runner.cleanup()


def recorded(kind: str, one: dict[str, Any], *, pairs: bool, **fields: Any) -> dict[str, Any]:
    """An event as protobuf's JSON has it, its labels as pairs or as a mapping."""

    def labels(found: dict[str, str]) -> dict[str, Any]:
        return {"labels": [{"key": k, "value": v} for k, v in found.items()]} if pairs else found

    snapshot = {
        "fingerprint": str(int(one["fingerprint"], 16)),
        "labels": labels(one["labels"]),
        "annotations": labels(one["annotations"]),
        "startsAt": one["startsAt"],
        **fields,
    }
    data = {"alert": {"hash": "1", "details": snapshot} if kind == "alertResolved" else snapshot}
    return {"@timestamp": T0, "instance": "am", "data": {kind: data}}


def fired(**labels: str) -> dict[str, Any]:
    return {**alert("Down", **labels), "fingerprint": "00c0ffee00c0ffee"}


@pytest.mark.parametrize("pairs", [True, False], ids=["labels as pairs", "labels as a mapping"])
async def test_the_event_recorder_ends_what_is_known_and_begins_nothing(tmp_path: Path, pairs: bool) -> None:
    async with served(tmp_path) as s:
        webhook, events = s.url, s.url.replace("/webhooks/alertmanager", EVENTS_PATH)
        await s.post(body(fired()))
        other = {**fired(i="2"), "fingerprint": "00000000000000aa"}
        s.url = events
        both = [
            recorded("alertResolved", fired(), pairs=pairs, endsAt=T1, resolved=True),
            recorded("alertResolved", other, pairs=pairs, endsAt=T1),
            recorded("alertCreated", other, pairs=pairs),
            {"data": {"silence_muted_alert": {}}},
            {"data": {"alertCreated": {"alert": 7}}},
        ]
        status, answer = await s.post(json.dumps(both).encode())
        assert (status, json.loads(answer)) == (200, {"status": "ok", "events": 5, "ended": 1})
        assert await s.store.open_episodes() == []
        rows = (await s.store.status())["rows"]
        assert rows["episodes"] == 1
        for kind, n in (("alert_resolved", 2), ("silence_muted_alert", 1), ("unknown", 1)):
            assert s.count("pronoia_webhook_recorder_events_total", kind=kind) == n
        s.url = webhook


AS_DEFINED = rb"""[
 {"@timestamp": "2026-01-01T00:10:01.5Z", "instance": "am-0", "data": {"alertResolved": {
   "alert": {"hash": "9571092184735962", "details": {
     "fingerprint": "18446744073709551615", "name": "Down",
     "labels": {"labels": [{"key": "alertname", "value": "Down"}, {"key": "empty"}]},
     "annotations": {}, "startsAt": "2026-01-01T00:00:00.000000001Z", "endsAt": "2026-01-01T00:10:00Z",
     "resolved": true}},
   "groupInfo": {"groupKey": "{}:{}", "groupLabels": {}, "groupId": "ab", "receiverName": "pronoia",
     "matchers": [{"type": "TYPE_EQUAL", "name": "a", "pattern": "b", "rendered": "a=\"b\""}]}}}},
 {"@timestamp": "2026-01-01T00:10:02Z", "instance": "am-0", "clusterPosition": 1, "data": {"notification": {
   "alerts": [{"hash": "1"}], "mutedAlerts": [{"hash": "1"}], "repeatInterval": "14400s", "flushId": "7",
   "reason": "NOTIFY_REASON_ALL_ALERTS_RESOLVED", "integration": {"name": "webhook"}}}},
 {"@timestamp": "2026-01-01T00:10:03Z", "data": {"alertmanagerShutdownEvent": {}}}
]"""
"""By eventrecorder.proto of 0.33 in protobuf's JSON: 64-bit numbers are texts, empty values are left out."""


def test_events_are_read_as_their_definition_prints_them() -> None:
    found = parse_events(AS_DEFINED)
    assert found.kinds == {"alert_resolved": 1, "notification": 1, "shutdown": 1}
    (event,) = found.resolved
    assert (event.fingerprint, event.labels["alertname"], event.firing) == ("f" * 16, "Down", False)
    assert (event.starts_at_ns - EPOCH, (event.ends_at_ns or 0) - EPOCH) == (1, 600 * SECOND)


def test_what_never_reached_a_webhook_counts_toward_flapping() -> None:
    watch = FlapWatch()
    for minute in range(5):
        one = {**fired(), "startsAt": f"2026-01-01T00:{10 * minute:02d}:00Z"}
        events = parse_events(json.dumps(recorded("alertCreated", one, pairs=True)).encode())
        for event in (*events.created, *events.created):
            watch.count("default", event, now=EPOCH / SECOND + 3600.0)
    assert watch.flapping == {("default", "00c0ffee00c0ffee")}


def test_a_body_of_millions_of_parts_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 MB of empty events held the event loop for half a minute, and took over a gigabyte."""
    monkeypatch.setattr(recorder, "MAX_PARTS", 20)
    assert parse_events(b"[" + b",".join([b'{"data":{}}'] * 21) + b"]").kinds == {}
    with pytest.raises(PayloadError, match="more than 20 parts"):
        parse_events(b"[" + b",".join([b'{"data":{}}'] * 22) + b"]")


@pytest.mark.parametrize("n", [1, 2000])
async def test_many_events_are_read_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    here: list[bool] = []

    def noted(data: bytes) -> recorder.Recorded:
        here.append(threading.current_thread() is threading.main_thread())
        return parse_events(data)

    monkeypatch.setattr(receiver, "parse_events", noted)
    async with served(tmp_path) as s:
        s.url = s.url.replace(PATH, EVENTS_PATH)
        status, said = await s.post(json.dumps([{"data": {"notification": {}}}] * n).encode())
    assert (status, json.loads(said)["events"]) == (200, n)
    assert here == [n == 1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "alertCreated", "alert", "labels", "x"]), inner, max_size=3
        )
    ),
)


@given(st.binary(max_size=60) | JSON.map(lambda found: json.dumps(found).encode()))
def test_no_events_raise_anything_but_payload_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        parse_events(data)


@pytest.mark.parametrize("kind", ["bearer_token", "hmac_secret"])
@pytest.mark.parametrize("way", ["", "_file"])
def test_an_empty_secret_lets_nobody_in(tmp_path: Path, kind: str, way: str) -> None:
    """An unset variable, a file that was emptied: with an empty secret anybody could sign."""
    (tmp_path / "secret").write_text("\n")
    auth = WebhookAuth.model_validate({f"{kind}{way}": tmp_path / "secret" if way else ""})
    signature = hmac.new(b"", b"body", "sha256").hexdigest()
    with pytest.raises(OSError, match="empty"):
        _ = allowed(auth, "Bearer", None) and signed(auth, signature, b"body")


@pytest.mark.parametrize("kind", ["bearer_token_file", "hmac_secret_file"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"  \n", None], ids=["no text", "empty", "no file"])
async def test_a_secret_that_cannot_be_read_is_said_once_and_nothing_is_lost(
    tmp_path: Path, kind: str, content: bytes | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    headers = {"Authorization": "Bearer s"} if kind == "bearer_token_file" else {}
    with capture_logs() as said:
        async with served(tmp_path, auth=WebhookAuth(**{kind: file})) as s:
            for _ in range(2):
                assert (await s.post(body(alert()), **headers))[0] == 503, "Alertmanager sends it again"
            file.write_text("s\n")
            signature = hmac.new(b"s", body(alert()), "sha256").hexdigest()
            headers = headers or {WebhookAuth().hmac_header: f"sha256={signature}"}
            assert (await s.post(body(alert()), **headers))[0] == 200
            counted = s.registry.get_sample_value("pronoia_webhook_requests_total", {"code": "503"})
    assert counted == 2
    events = [(one["event"], one["log_level"]) for one in said if one.get("component") == "receiver"]
    assert events == [
        ("secret cannot be read, its senders are refused", "error"),
        ("secret can be read again", "info"),
    ]
