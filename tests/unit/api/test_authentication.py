"""Who may use the API: users, rights, routes that prove their senders, and pages of other sites."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import ValidationError

from sidecar.api.authentication import authentication
from sidecar.config.access import AccessConfig, ServerConfig
from webhooks.respond.http import ACTOR

USERS: tuple[dict[str, Any], ...] = (
    {"name": "wall", "bearer_token": "screen", "may": "read"},
    {"name": "ada", "password": "café:1", "may": "act"},
    {"name": "deploy", "bearer_token": "root", "may": "manage"},
)
ROUTES = (
    ("GET", "/api/v1/incidents"),
    ("POST", "/api/v1/incidents/{id}/{action}"),
    ("POST", "/-/reload"),
    ("GET", "/-/healthy"),
    ("GET", "/metrics"),
    ("POST", "/webhooks/alertmanager"),
)
Ask = Callable[..., Any]


@asynccontextmanager
async def serving(**access: Any) -> AsyncIterator[Ask]:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text=request.get(ACTOR, "nobody"))

    guard = authentication(AccessConfig(**access), own_proof=frozenset({"/webhooks/alertmanager"}))
    app = web.Application(middlewares=[guard])
    for method, path in ROUTES:
        app.router.add_route(method, path, who)
    async with TestClient(TestServer(app)) as client:

        async def ask(method: str, path: str, shown: str = "", **headers: str) -> tuple[int, str]:
            if shown:
                headers["Authorization"] = shown
            response = await client.request(method, path, headers=headers)
            return response.status, await response.text()

        yield ask


Serving = Callable[..., AbstractAsyncContextManager[Ask]]


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("shown", "read", "act", "manage"),
    [
        pytest.param("", 401, 401, 401, id="nobody"),
        pytest.param("Bearer screen", 200, 403, 403, id="who may read"),
        pytest.param(basic("ada", "café:1"), 200, 200, 403, id="who may act"),
        pytest.param("Bearer root", 200, 200, 200, id="who may manage"),
        pytest.param("bearer root", 200, 200, 200, id="schemes have no case"),
        pytest.param(basic("ada", "cafe:1"), 401, 401, 401, id="wrong password"),
        pytest.param(basic("deploy", "root"), 401, 401, 401, id="a token is no password"),
        pytest.param("Bearer café:1", 401, 401, 401, id="a password is no token"),
        pytest.param("Basic !!!", 401, 401, 401, id="no base64"),
        pytest.param("Basic " + b64encode(b"\xff\xfe").decode(), 401, 401, 401, id="no text"),
        pytest.param("Bearer ", 401, 401, 401, id="an empty token"),
    ],
)
async def test_what_a_user_may(shown: str, read: int, act: int, manage: int) -> None:
    async with serving(users=USERS) as ask:
        assert (await ask("GET", "/api/v1/incidents", shown))[0] == read
        assert (await ask("POST", "/api/v1/incidents/i1/acknowledge", shown))[0] == act
        assert (await ask("POST", "/-/reload", shown))[0] == manage


async def test_what_a_user_does_bears_the_users_name() -> None:
    async with serving(users=USERS) as ask:
        found = await ask("POST", "/api/v1/incidents/i1/acknowledge", basic("ada", "café:1"))
    assert found == (200, "ada")


async def test_probes_scrapes_and_webhooks_ask_for_nothing() -> None:
    async with serving(users=USERS) as ask:
        for method, path in ROUTES[3:]:
            assert await ask(method, path) == (200, "nobody"), path


async def test_scrapes_can_be_closed() -> None:
    async with serving(users=USERS, open_metrics=False) as ask:
        assert (await ask("GET", "/metrics"))[0] == 401
        assert (await ask("GET", "/metrics", "Bearer screen"))[0] == 200


async def test_without_users_everybody_may_everything() -> None:
    async with serving() as ask:
        assert (await ask("POST", "/-/reload"))[0] == 200


async def test_the_anonymous_may_be_let_read() -> None:
    async with serving(users=USERS, anonymous="read") as ask:
        assert (await ask("GET", "/api/v1/incidents"))[0] == 200
        assert (await ask("POST", "/api/v1/incidents/i1/acknowledge"))[0] == 401


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_pages_of_other_sites_may_not_spend_a_readers_rights(site: str, status: int) -> None:
    headers = {"Sec-Fetch-Site": site}
    async with serving() as ask:
        assert (await ask("POST", "/-/reload", "", **headers))[0] == status
        assert (await ask("GET", "/api/v1/incidents", "", **headers))[0] == 200
        # Where a webhook asks for no credentials, to be in its network is one.
        assert (await ask("POST", "/webhooks/alertmanager", "", **headers))[0] == status


async def test_a_credentials_file_is_read_anew_and_its_loss_is_no_open_door(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    async with serving(users=({"name": "a", "bearer_token_file": file},)) as ask:
        assert (await ask("GET", "/api/v1/incidents", "Bearer first"))[0] == 200
        file.write_text("second\n")
        assert (await ask("GET", "/api/v1/incidents", "Bearer first"))[0] == 401
        assert (await ask("GET", "/api/v1/incidents", "Bearer second"))[0] == 200
        file.unlink()
        assert (await ask("GET", "/api/v1/incidents", "Bearer second"))[0] == 503


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("bearer_token_file", "Bearer "), ("password_file", "Basic YTo=")],
    ids=["token", "a:"],
)
async def test_a_credentials_file_that_is_not_filled_yet_lets_nobody_in(
    tmp_path: Path, kind: str, shown: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("\n")
    async with serving(users=({"name": "a", kind: file},)) as ask:
        assert (await ask("GET", "/api/v1/incidents", shown))[0] == 401


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({"users": [{"name": "a"}]}, "exactly one of password"),
        ({"users": [{"name": "a", "password": "p", "bearer_token": "t"}]}, "exactly one of password"),
        ({"users": [{"name": "a:b", "password": "p"}]}, "users.0.name"),
        ({"users": [{"name": "a", "password": "p"}, {"name": "a", "password": "q"}]}, "'a' is there twice"),
        ({"users": [{"name": "a", "password": "p", "may": "all"}]}, "users.0.may"),
        ({"users": [{"name": "a", "password": ""}]}, "let everybody in"),
        ({"users": [{"name": "a", "bearer_token": " "}]}, "let everybody in"),
    ],
    ids=["no credential", "two credentials", "a colon", "twice", "unknown right", "empty", "a blank"],
)
def test_what_cannot_be_meant_is_refused(access: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AccessConfig.model_validate(access)


@pytest.mark.parametrize(
    ("server", "is_open"),
    [
        ({}, True),
        ({"listen": "127.0.0.1:9469"}, False),
        ({"access": {"anonymous": "read"}}, False),
        ({"access": {"users": USERS[:1]}}, False),
        ({"access": {"users": USERS[:1], "anonymous": "act"}}, True),
    ],
    ids=["default", "loopback", "read only", "users", "users for nothing"],
)
def test_an_open_port_is_known(server: dict[str, Any], is_open: bool) -> None:
    assert ServerConfig.model_validate(server).open_to_all is is_open
