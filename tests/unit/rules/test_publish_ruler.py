"""A ruler's namespace: written, read back, put back. The ruler is a stand-in with the documented answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from rules.document import RuleFile
from rules.generate.groups import rule_file
from rules.publish_ruler import RulerPublisher
from rules.publisher import Found
from rules.ruler import Groups, RulerApi
from sidecar.config.ruler import RulerConfig
from sidecar.errors import PullError, PullReason, RuleError, RuleReason
from sidecar.prometheus.answers import Rule


class Ruler:
    """Namespaces in memory, and what a server that evaluates them would show."""

    def __init__(self) -> None:
        self.namespaces: dict[str, dict[str, dict[str, object]]] = {}
        self.tenants: set[str | None] = set()
        self.refuses = False
        self.refused_name: str | None = None
        self.fails_reading = self.loses_answers = False
        self.health = "ok"

    async def read(self, request: web.Request) -> web.Response:
        self.tenants.add(request.headers.get("X-Scope-OrgID"))
        if self.fails_reading:
            return web.Response(status=500, text="bucket rules: 404 no such key")
        name = request.match_info["namespace"]
        if not self.namespaces.get(name):
            return web.Response(status=404, text="no rule groups found")
        return web.Response(text=yaml.safe_dump({name: list(self.namespaces[name].values())}))

    async def all(self, request: web.Request) -> web.Response:
        return web.Response(
            text=yaml.safe_dump({name: list(groups.values()) for name, groups in self.namespaces.items()})
        )

    async def write(self, request: web.Request) -> web.Response:
        if self.refuses:
            return web.Response(status=400, text="invalid rules configuration")
        group = yaml.safe_load(await request.text())
        if group["name"] == self.refused_name:
            return web.Response(status=400, text="too many groups")
        self.namespaces.setdefault(request.match_info["namespace"], {})[group["name"]] = group
        return web.Response(status=202, text="{}")

    async def delete(self, request: web.Request) -> web.Response:
        there = self.namespaces[request.match_info["namespace"]].pop(request.match_info["group"], None)
        if self.loses_answers:
            return web.Response(status=504 if there else 404, text="gateway timeout")
        return web.Response(status=202, text="{}")

    async def rules(self) -> list[Rule]:
        return [
            Rule(
                name=str(rule["alert"]),
                expr=str(rule["expr"]),
                kind="alerting",
                group=str(group["name"]),
                file=namespace,
                health=self.health,
                last_error="it errs" if self.health == "err" else "",
                state="",
                duration_seconds=0,
                labels={},
                annotations=rule["annotations"],
            )
            for namespace, groups in self.namespaces.items()
            for group in groups.values()
            for rule in group["rules"]  # type: ignore[attr-defined]
        ]


@asynccontextmanager
async def serving_ruler(there: Ruler) -> AsyncIterator[RulerConfig]:
    """The configuration of a ruler that answers while the block runs."""
    app = web.Application()
    app.router.add_get("/api", there.all)
    app.router.add_get("/api/{namespace}", there.read)
    app.router.add_post("/api/{namespace}", there.write)
    app.router.add_delete("/api/{namespace}/{group}", there.delete)
    async with TestServer(app) as server:
        yield RulerConfig(url=str(server.make_url("/api")), tenant="shop")


@pytest.fixture
async def ruler() -> AsyncIterator[tuple[Ruler, RulerPublisher]]:
    there = Ruler()
    async with serving_ruler(there) as config:
        yield there, RulerPublisher(RulerApi(config), there, verify_timeout_seconds=2.0)


def file(threshold: int, *groups: str) -> RuleFile:
    rule = {"alert": "A", "expr": f"a > {threshold}", "labels": {}, "annotations": {}}
    return rule_file("load", [{"name": name, "rules": [rule]} for name in groups], "a test")


async def test_published_read_back_and_removed(ruler: tuple[Ruler, RulerPublisher]) -> None:
    there, publisher = ruler
    first, second = file(1, "pronoia-load", "extra"), file(2, "pronoia-load")
    assert await publisher.found("pronoia-load", first.text) is Found.ABSENT
    await publisher.publish(first)
    assert await publisher.found("pronoia-load", first.text) is Found.SAME
    await publisher.publish(second)
    assert list(there.namespaces["pronoia-load"]) == ["pronoia-load"], "a group that left is deleted"
    assert await publisher.found("pronoia-load", first.text) is Found.OTHER
    await publisher.restore("pronoia-load", first.text)
    assert await publisher.found("pronoia-load", first.text) is Found.SAME
    await publisher.restore("pronoia-load", None)
    assert await publisher.found("pronoia-load", first.text) is Found.ABSENT
    assert there.tenants == {"shop"}


async def test_one_that_errs_gives_way_to_the_one_before(ruler: tuple[Ruler, RulerPublisher]) -> None:
    there, publisher = ruler
    good = file(1, "pronoia-load")
    await publisher.publish(good)
    there.health = "err"
    with pytest.raises(RuleError, match="it errs"):
        await publisher.publish(file(2, "pronoia-load"))
    assert await publisher.found("pronoia-load", good.text) is Found.SAME


async def test_a_way_back_that_is_barred_says_both(
    ruler: tuple[Ruler, RulerPublisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, publisher = ruler
    await publisher.publish(file(1, "pronoia-load"))
    rules = there.rules

    async def erring() -> list[Rule]:
        there.health, there.refuses = "err", True
        return await rules()

    monkeypatch.setattr(there, "rules", erring)
    bad = file(2, "pronoia-load")
    with pytest.raises(RuleError, match=r"it errs; and what was there before cannot be put back: .*invalid"):
        await publisher.publish(bad)


async def test_a_bad_text_left_by_a_broken_roll_back_is_not_what_comes_back(
    ruler: tuple[Ruler, RulerPublisher],
) -> None:
    there, publisher = ruler
    there.health, bad = "err", file(2, "pronoia-load")
    await publisher.restore("pronoia-load", bad.text)
    with pytest.raises(RuleError, match="it errs"):
        await publisher.publish(bad)
    assert await publisher.found("pronoia-load", bad.text) is Found.ABSENT


async def test_what_the_ruler_refuses_is_said(ruler: tuple[Ruler, RulerPublisher]) -> None:
    there, publisher = ruler
    await publisher.publish(file(1, "pronoia-load"))
    there.refuses = True
    with pytest.raises(RuleError, match="invalid rules configuration"):
        await publisher.publish(file(2, "pronoia-load"))


async def test_a_ruler_that_fails_has_not_said_that_nothing_is_there() -> None:
    there = Ruler()
    async with serving_ruler(there) as config:
        api = RulerApi(config)
        await api.put("own", yaml.safe_load(file(1, "first").text)["groups"])
        there.fails_reading = True
        with pytest.raises(RuleError, match="no such key"):
            await api.read("own")


async def test_a_group_whose_deletion_was_not_answered_is_gone_all_the_same() -> None:
    there = Ruler()
    async with serving_ruler(there) as config:
        api = RulerApi(config)
        await api.put("own", yaml.safe_load(file(1, "first", "second").text)["groups"])
        there.loses_answers = True
        await api.put("own", yaml.safe_load(file(2, "first").text)["groups"])
        assert [group["name"] for group in await api.read("own")] == ["first"]


async def test_a_namespace_that_is_taken_in_part_is_as_it_was() -> None:
    there = Ruler()
    there.refused_name = "extra"
    async with serving_ruler(there) as config:
        api = RulerApi(config)
        await api.put("own", yaml.safe_load(file(1, "first").text)["groups"])
        before = await api.read("own")
        with pytest.raises(RuleError, match="too many groups"):
            await api.put("own", yaml.safe_load(file(2, "first", "extra").text)["groups"])
        assert await api.read("own") == before


async def test_a_namespace_that_stays_changed_in_part_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Ruler()
    there.refused_name = "extra"
    async with serving_ruler(there) as config:
        api = RulerApi(config)
        fetch = api._fetch

        async def no_deletion(method: str, path: str, body: bytes | None = None) -> bytes:
            if method == "DELETE":
                raise PullError(PullReason.SERVER_ERROR, "503")
            return await fetch(method, path, body)

        monkeypatch.setattr(api, "_fetch", no_deletion)
        with pytest.raises(RuleError, match=r"too many groups.*/own may be changed in part: 503"):
            await api.put("own", yaml.safe_load(file(2, "first", "extra").text)["groups"])


async def test_a_namespace_that_cannot_be_read_amid_a_change_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Ruler()
    async with serving_ruler(there) as config:
        api = RulerApi(config)
        await api.put("own", yaml.safe_load(file(1, "first").text)["groups"])
        before, read, n = await api.read("own"), api.read, 0

        async def failing(namespace: str) -> Groups:
            nonlocal n
            n += 1
            if n == 2:
                raise RuleError(RuleReason.UNREACHABLE, "ruler: no answer")
            return await read(namespace)

        monkeypatch.setattr(api, "read", failing)
        with pytest.raises(RuleError, match="no answer"):
            await api.put("own", yaml.safe_load(file(2, "first").text)["groups"])
        assert await read("own") == before
