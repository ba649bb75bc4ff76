"""The client against a local server that misbehaves in every documented way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tenacity import wait_none

from sidecar.config.http import BasicAuth, HttpConfig, TlsConfig
from sidecar.config.model import SourceConfig
from sidecar.errors import PullError, TooManySeries
from sidecar.prometheus import session
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet
from tests.unit.prometheus.served import GOOD, ask, client
from tests.unit.webhooks.test_senders import make_certificates


@pytest.mark.parametrize(
    ("status", "text", "reason", "retryable"),
    [
        pytest.param(400, '{"status":"error","error":"parse error"}', "bad_query", False, id="400"),
        pytest.param(401, "no", "unauthorized", False, id="401"),
        pytest.param(403, "no", "unauthorized", False, id="403"),
        pytest.param(404, "no", "bad_query", False, id="404"),
        pytest.param(422, '{"status":"error","error":"exec"}', "bad_query", False, id="422"),
        pytest.param(302, "", "bad_query", False, id="redirect"),
        pytest.param(429, "slow down", "server_error", True, id="429"),
        pytest.param(500, "boom", "server_error", True, id="500"),
        pytest.param(503, "busy", "server_error", True, id="503"),
        pytest.param(200, "<html>login</html>", "bad_response", False, id="html instead of JSON"),
        pytest.param(200, '{"status":"success","data":{"resu', "bad_response", False, id="cut short"),
    ],
)
async def test_answers_become_errors_with_reasons(
    status: int, text: str, reason: str, retryable: bool
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text)

    async with client(handler) as (opened, _):
        with pytest.raises(PullError) as caught:
            await ask(opened)
    assert caught.value.reason == reason
    assert caught.value.retryable is retryable
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            '{"status":"error","errorType":"bad_data","error":"1:8: parse\\nerror \\u001b[1m"}',
            "400 bad_data: 1:8: parse error [1m",
            id="Prometheus'",
        ),
        pytest.param('{"error":"no"}', "400 no", id="without a type"),
        pytest.param('{"message": "no"}', '400 {"message": "no"}', id="another API's"),
        pytest.param("no\nno", "400 no no", id="text"),
        pytest.param("400 bad request\n", "400 bad request", id="text that has the status already"),
    ],
)
async def test_a_refusal_is_in_the_server_s_words_on_a_line(text: str, words: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=400, text=text)

    async with client(handler) as (opened, _):
        with pytest.raises(PullError) as caught:
            await ask(opened)
    assert str(caught.value).endswith(f"/api/v1/query: {words}")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        pytest.param(401, {}, "/api/v1/query: 401 no; credentials are given as http.basic_auth", id="401"),
        pytest.param(
            302,
            {"Location": "https://bob:x@login.example/a?token=secret"},
            "/api/v1/query: 302 redirects to https://***@login.example/a, which is not followed",
            id="a redirect",
        ),
        pytest.param(302, {"Location": "//["}, "302 redirects to", id="a redirect to no address"),
        pytest.param(
            200, {"Content-Type": "text/html"}, "/api/v1/query: answers as a web page", id="a login's page"
        ),
    ],
)
async def test_a_refusal_says_what_to_look_at(status: int, headers: dict[str, str], words: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=b"no", headers={"Content-Type": "text/plain", **headers})

    async with client(handler) as (opened, _):
        with pytest.raises(PullError) as caught:
            await ask(opened)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_retries_until_the_server_is_well_and_counts_them() -> None:
    answers = [500, 503, 200]

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD, status=answers.pop(0))

    async with client(handler, retries=3) as (opened, registry):
        batch = await ask(opened)
    assert batch.values.tolist() == [[1.0]]
    assert batch.labels == (LabelSet({"a": "b"}),)
    assert registry.get_sample_value("pronoia_pull_retries_total") == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(status: int) -> None:
    now, asked = [0.0], 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        headers = {"Retry-After": "60"}
        return web.Response(status=status, headers=headers) if now[0] < 60 else web.json_response(GOOD)

    async with client(handler, monotonic=lambda: now[0], retries=3) as (opened, registry):
        for reason in ("server_error", "circuit_open"):
            with pytest.raises(PullError) as caught:
                await ask(opened)
            assert caught.value.reason == reason
        assert asked == 1
        now[0] = 61.0
        assert (await ask(opened)).n_series == 1
        assert registry.get_sample_value("pronoia_pull_retries_total") == 0


@pytest.mark.parametrize("header", ["0", "-1", "soon", "99999999999", "1.5"])
async def test_what_a_server_says_of_coming_back_is_bounded(header: str) -> None:
    now = [0.0]

    async def handler(_: web.Request) -> web.StreamResponse:
        return (
            web.Response(status=503, headers={"Retry-After": header})
            if not now[0]
            else web.json_response(GOOD)
        )

    async with client(handler, monotonic=lambda: now[0]) as (opened, _):
        with pytest.raises(PullError):
            await ask(opened)
        now[0] = 301.0
        assert (await ask(opened)).n_series == 1


async def test_a_server_that_hangs_is_a_timeout() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        raise AssertionError

    async with client(handler, timeout=0.2) as (opened, registry):
        with pytest.raises(PullError, match=r"no answer within 0\.2 s"):
            await ask(opened)
        assert registry.get_sample_value("pronoia_pull_errors_total", {"reason": "timeout"}) == 1


async def test_tls_files_that_come_later_are_used_then(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    config = SourceConfig(
        url="https://127.0.0.1:1", retries=0, timeout=1, http=HttpConfig(tls=TlsConfig(ca_file=ca))
    )
    async with PrometheusClient(config, metrics=PullMetrics(CollectorRegistry())) as opened:
        with pytest.raises(PullError, match=r"TLS files cannot be used \(.*ca\.pem\): .*No such file"):
            await ask(opened)
        ca.write_text("no certificate")
        with pytest.raises(PullError, match=r"TLS files cannot be used .*: .*no certificate"):
            await ask(opened)
        make_certificates(tmp_path)
        with pytest.raises(PullError, match="connection refused"):
            await ask(opened)


async def test_nobody_there_is_unreachable_and_the_breaker_opens() -> None:
    config = SourceConfig(url="http://127.0.0.1:1", retries=0, timeout=1, breaker_failures=2)
    registry = CollectorRegistry()
    async with PrometheusClient(config, metrics=PullMetrics(registry)) as opened:
        for reason in ("unreachable", "unreachable", "circuit_open"):
            with pytest.raises(PullError) as caught:
                await ask(opened)
            assert caught.value.reason == reason
            assert "http://127.0.0.1:1/api/v1/" in str(caught.value), (
                "what failed is said, also while it rests"
            )
            assert caught.value.retryable, "a rule whose check met this is not at fault"
        assert registry.get_sample_value("pronoia_pull_circuit_open", {"server": "http://127.0.0.1:1"}) == 1
    assert registry.get_sample_value("pronoia_pull_circuit_open", {"server": "http://127.0.0.1:1"}) is None


async def test_a_bad_query_does_not_open_the_breaker_and_shows_that_the_server_is_well() -> None:
    answers = [400, 400, 503, 400, 503, 400]

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=answers.pop(0), text="parse error")

    async with client(handler, breaker_failures=2) as (opened, _):
        told = []
        for _ in range(6):
            with pytest.raises(PullError) as caught:
                await ask(opened)
            told.append(caught.value.reason)
    bad, down = "bad_query", "server_error"
    assert told == [bad, bad, down, bad, down, bad], "no two failures in a row"


async def test_a_server_that_stays_unwell_is_asked_as_often_as_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "wait_exponential_jitter", lambda **_: wait_none())
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=503)

    async with client(handler, retries=2) as (opened, _):
        with pytest.raises(PullError):
            await ask(opened)
        assert len(asked) == 1 + 2
        assert not await opened.healthy()
        assert len(asked) == 4, "how it is now is asked once"


async def test_nobody_is_followed_elsewhere_with_credentials() -> None:
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with client(handler, http=HttpConfig(bearer_token=SecretStr("t"))) as (opened, _):
        with pytest.raises(PullError):
            await ask(opened)
    assert seen == ["/api/v1/query"]


async def test_credentials_tenant_and_headers_are_sent(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        return web.json_response(GOOD)

    token = tmp_path / "token"
    token.write_text("one\n")
    http = HttpConfig(bearer_token_file=token, headers={"X-Team": "audio"})
    async with client(handler, http=http, tenant="team-a") as (opened, _):
        await ask(opened)
        token.write_text("two\n")
        await ask(opened)
    assert [headers["Authorization"] for headers in seen] == ["Bearer one", "Bearer two"], (
        "files are read anew"
    )
    assert seen[0]["X-Scope-OrgID"] == "team-a"
    assert seen[0]["X-Team"] == "audio"
    assert seen[0]["Accept-Encoding"] == "identity", "a near server is not asked to compress"

    basic = HttpConfig(basic_auth=BasicAuth(username="u", password=SecretStr("p")))
    async with client(handler, http=basic, compression="gzip") as (opened, _):
        await ask(opened)
    assert seen[-1]["Authorization"] == "Basic dTpw"
    assert seen[-1]["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        pytest.param(b"\xff\xfe", "not UTF-8 text", id="no text"),
        pytest.param(b"one\ntwo\n", "control character", id="two lines"),
    ],
)
async def test_a_token_that_cannot_be_sent_is_an_error_with_a_reason(
    tmp_path: Path, token: bytes, words: str
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD)

    file = tmp_path / "token"
    file.write_bytes(token)
    async with client(handler, http=HttpConfig(bearer_token_file=file)) as (opened, registry):
        with pytest.raises(PullError, match=words) as caught:
            await ask(opened)
        assert "two" not in str(caught.value)
        assert registry.get_sample_value("pronoia_pull_errors_total", {"reason": "unauthorized"}) == 1
        file.write_text("good")
        await ask(opened)


@pytest.mark.parametrize("date", ["Thu, 01 Jan 99999 00:00:00 GMT", "Thu, 99 Foo", "0", "tomorrow"])
async def test_a_date_that_is_none_is_passed_over(date: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD, headers={"Date": date})

    async with client(handler) as (opened, _):
        assert (await ask(opened)).n_series == 1


async def test_a_proxy_that_allows_only_get_is_asked_with_get() -> None:
    methods: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        methods.append(request.method)
        if request.method == "POST":
            raise web.HTTPMethodNotAllowed("POST", ["GET"])
        return web.json_response(GOOD)

    async with client(handler) as (opened, _):
        await ask(opened)
        await ask(opened)
    assert methods == ["POST", "GET", "GET"]


async def test_queries_at_once_are_bounded() -> None:
    running = most = 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return web.json_response(GOOD)

    async with client(handler, max_concurrent_queries=2) as (opened, _):
        await asyncio.gather(*(ask(opened) for _ in range(8)))
    assert most == 2


async def test_the_servers_clock_is_told() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD, headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})

    told: list[float] = []
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = SourceConfig(url=f"http://127.0.0.1:{runner.addresses[0][1]}", retries=0)
    async with PrometheusClient(
        config, metrics=PullMetrics(CollectorRegistry()), on_server_time=told.append
    ) as opened:
        await ask(opened)
    await runner.cleanup()
    assert told == [1767225600.5]


async def test_passwords_in_urls_reach_no_message() -> None:
    config = SourceConfig(url="http://bob:secret@127.0.0.1:1", retries=0, timeout=1)
    async with PrometheusClient(config, metrics=PullMetrics(CollectorRegistry())) as opened:
        with pytest.raises(PullError) as caught:
            await ask(opened)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("data", ["null", "7", '[{"a":1}]'], ids=["nothing", "a number", "other types"])
@pytest.mark.parametrize("verb", ["rules", "targets", "metadata", "build_info"])
async def test_answers_of_other_types_are_pull_errors_and_counted(verb: str, data: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=f'{{"status":"success","data":{data}}}')

    async with client(handler) as (opened, registry):
        with pytest.raises(PullError) as caught:
            await getattr(opened, verb)()
        assert caught.value.reason == "bad_response"
        assert registry.get_sample_value("pronoia_pull_errors_total", {"reason": "bad_response"}) == 1


async def test_series_beyond_the_bound_are_counted_as_an_error() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD)

    async with client(handler) as (opened, registry):
        with pytest.raises(TooManySeries):
            await opened.instant("up", at_ms=60_000, name="q", max_series=0)
        assert registry.get_sample_value("pronoia_pull_errors_total", {"reason": "too_many_series"}) == 1


async def test_health_is_what_the_server_says() -> None:
    answers = [200, 503]

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=answers.pop(0))

    async with client(handler) as (opened, _):
        assert await opened.healthy()
        assert not await opened.healthy()


async def test_rules_are_asked_for_without_their_alerts() -> None:
    """Nobody reads them there, and in a storm fifty thousand are 20 MB, every few minutes."""
    asked: list[str] = []
    rule = {
        "name": "Down",
        "query": "up == 0",
        "type": "alerting",
        "state": "firing",
        "alerts": [{"labels": 7}],
    }

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.rel_url.query_string)
        return web.json_response({"status": "success", "data": {"groups": [{"name": "g", "rules": [rule]}]}})

    async with client(answer) as (opened, _):
        (found,) = await opened.rules()
    assert asked == ["exclude_alerts=true"]
    assert (found.name, found.state) == ("Down", "firing"), "an older server sends them all the same"
