"""Where people keep rules: read, written while nobody else changed them, left to tools that own them."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rules.adapt.place import Place, group_of, is_adapted
from rules.adapt.place_file import FilePlace
from rules.adapt.place_object import ObjectPlace
from rules.adapt.place_ruler import RulerPlace
from rules.adapt.places import own_rules, place_finder, place_name
from rules.adapt.placing import Placing
from rules.adapt.text import rewrite_text
from rules.alone import alone
from rules.kubernetes import RuleObjects
from rules.read import read_text
from rules.ruler import RulerApi
from sidecar.config.model import RulesConfig
from sidecar.errors import RuleError
from sidecar.prometheus.answers import Rule
from tests.integration.kubernetes_api import KubernetesApi, account, serving
from tests.unit.rules.bands import LoadingServer
from tests.unit.rules.test_publish_ruler import Ruler, serving_ruler

TEXT = """groups:
  - name: own
    rules:
      - alert: LoadHigh
        expr: load > 5  # a guess
        labels: {team: a}
"""


def object_of(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name, "labels": {"release": "kps"}, **facts},
        "spec": yaml.safe_load(TEXT),
    }


class Bench:
    """A place of one kind with TEXT's rules in it, and what somebody else would do to it."""

    def __init__(self, place: Place, config: RulesConfig, edit: Any) -> None:
        self.place, self.config, self.edit = place, config, edit


@pytest.fixture(params=["file", "object", "ruler"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "file":
        path = tmp_path / "own.rules.yaml"
        path.write_text(TEXT)
        yield Bench(FilePlace(path), RulesConfig(), lambda: path.write_text(TEXT.replace("> 5", "> 7")))
    elif request.param == "object":
        api = KubernetesApi()
        for name in ("other", "own", "third"):
            api.seed("monitoring", object_of(name))
        folder = account(tmp_path)
        async with serving(api) as url:
            config = RulesConfig.model_validate(
                {
                    "publish": "prometheus_rule",
                    "prometheus_rule": {
                        "api_url": url,
                        "namespace": "monitoring",
                        "token_file": folder / "token",
                    },
                }
            )
            objects = RuleObjects(config.prometheus_rule)

            def edit() -> None:
                api.seed(
                    "monitoring", object_of("own") | {"spec": yaml.safe_load(TEXT.replace("> 5", "> 7"))}
                )

            yield Bench(ObjectPlace("own", objects, "pronoia"), config, edit)
    else:
        there = Ruler()
        there.namespaces["own"] = {"own": yaml.safe_load(TEXT)["groups"][0]}
        async with serving_ruler(there) as stated:
            config = RulesConfig(publish="ruler", ruler=stated)

            def edit() -> None:
                there.namespaces["own"]["own"] = yaml.safe_load(TEXT.replace("> 5", "> 7"))["groups"][0]

            yield Bench(RulerPlace("own", RulerApi(stated)), config, edit)


async def rewritten(place: Place) -> tuple[str, str]:
    """The text, and the same with another threshold."""
    before = await place.read()
    assert before is not None
    (old,) = read_text(before)
    new = read_text(before.replace("> 5", "> 6"))[0]
    return before, rewrite_text(before, [(old, new)])


async def test_written_read_back_and_put_back(bench: Bench) -> None:
    before, after = await rewritten(bench.place)
    await bench.place.write(after, expected=before)
    assert bench.place.same(await bench.place.read(), after)
    assert not bench.place.same(before, after)
    await bench.place.write(before, expected=after)
    assert bench.place.same(await bench.place.read(), before)


async def test_what_somebody_else_wrote_is_kept(bench: Bench) -> None:
    before, after = await rewritten(bench.place)
    bench.edit()
    with pytest.raises(RuleError, match="edited since") as caught:
        await bench.place.write(after, expected=before)
    assert caught.value.reason == "hand_edited"
    assert "> 7" in str(await bench.place.read())


async def test_a_shadow_stands_beside_it_and_goes_again(bench: Bench) -> None:
    shadow = bench.place.shadow()
    assert shadow.group != bench.place.group
    assert await shadow.read() is None
    await shadow.write(TEXT, expected=None)
    assert "LoadHigh" in str(await shadow.read())
    await shadow.write(None, expected=await shadow.read())
    assert await shadow.read() is None
    assert await bench.place.read() is not None


async def test_the_store_knows_the_place_by_its_name(bench: Bench) -> None:
    again = place_finder(bench.config)(bench.place.group)
    assert is_adapted(bench.place.group)
    assert again.group == bench.place.group
    assert await again.read() == await bench.place.read()


async def test_peoples_rules_are_found_with_their_place(bench: Bench) -> None:
    if isinstance(bench.place, FilePlace):
        server = LoadingServer(bench.place.path.parent)
        await server.reload()
    else:
        server = LoadingServer(Path("/nowhere"))
    found = await own_rules(bench.config, server)
    assert bench.place.group in {place_name(rule) for rule in found}
    assert {rule.name for rule in found} == {"LoadHigh"}


async def test_a_file_that_somebody_is_writing_does_not_hide_the_rules_of_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.rules.yaml").write_text(TEXT.replace("LoadHigh", name.capitalize()))
    server = LoadingServer(tmp_path)
    await server.reload()
    (tmp_path / "two.rules.yaml").write_text("groups: [")
    found = await own_rules(RulesConfig(), server)
    assert [rule.name for rule in found] == ["One", "Two"]


@pytest.mark.parametrize(
    "spec", [{}, {"groups": [{"name": "odd", "rules": [{"expr": "up"}]}]}], ids=["empty", "a nameless rule"]
)
async def test_an_object_that_says_nothing_or_nonsense_does_not_hide_the_rules_of_others(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    api = KubernetesApi()
    api.seed("monitoring", object_of("odd") | {"spec": spec})
    api.seed("monitoring", object_of("own"))
    async with serving(api) as url:
        own = {"api_url": url, "namespace": "monitoring", "token_file": account(tmp_path) / "token"}
        config = RulesConfig.model_validate({"publish": "prometheus_rule", "prometheus_rule": own})
        found = await own_rules(config, LoadingServer(Path("/nowhere")))
    assert [rule.file for rule in found] == ["object:monitoring/own"]


@pytest.mark.parametrize(
    ("facts", "keeper"),
    [
        pytest.param({"annotations": {"meta.helm.sh/release-name": "x"}}, "Helm", id="helm"),
        pytest.param({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD", id="argo"),
        pytest.param({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "Flux", id="flux"),
        pytest.param({"ownerReferences": [{"kind": "Thanos", "name": "t"}]}, "Thanos", id="an operator"),
        pytest.param({"managedFields": [{"manager": "argocd-controller"}]}, "Argo CD", id="argo by labels"),
    ],
)
async def test_an_object_that_a_tool_keeps_is_left_to_it(
    facts: dict[str, Any], keeper: str, tmp_path: Path
) -> None:
    api = KubernetesApi()
    api.seed("monitoring", object_of("own", **facts))
    async with serving(api) as url:
        config = RulesConfig.model_validate(
            {
                "publish": "prometheus_rule",
                "prometheus_rule": {
                    "api_url": url,
                    "namespace": "monitoring",
                    "token_file": account(tmp_path) / "token",
                },
            }
        )
        place = ObjectPlace("own", RuleObjects(config.prometheus_rule), "pronoia")
        before, after = await rewritten(place)
        with pytest.raises(RuleError, match=f"kept by {keeper}") as caught:
            await place.write(after, expected=before)
        with pytest.raises(RuleError, match=rf"monitoring/own is kept by {keeper}"):
            await place.shadow().write(after, expected=None)
        assert [name for _, name in api.objects] == ["own"]
    assert caught.value.reason == "not_ours"


def test_two_pronoias_never_write_into_one_folder_at_once(tmp_path: Path) -> None:
    with alone(tmp_path):
        with pytest.raises(RuleError, match="another pronoia"), alone(tmp_path):
            raise AssertionError("entered twice")
        with alone(tmp_path / "elsewhere"):
            pass
    with alone(tmp_path):
        pass


def test_a_lock_that_another_user_made_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo pronoia rules rollback` beside a pronoia that runs as a user of its own."""
    with alone(tmp_path):
        pass
    (lock,) = tmp_path.iterdir()
    assert lock.stat().st_mode & stat.S_IROTH
    opened = os.open

    def as_another(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", as_another)
    with alone(tmp_path), pytest.raises(RuleError, match="another pronoia"), alone(tmp_path):
        raise AssertionError("not alone")


def test_a_file_is_known_by_its_whole_path(tmp_path: Path) -> None:
    assert group_of(tmp_path / "a" / ".." / "b.yaml") == f"file:{tmp_path}/b.yaml"


async def test_what_somebody_else_wrote_at_the_same_moment_is_kept_and_not_taken_for_ours(
    bench: Bench,
) -> None:
    """Two that read the same may both write; a ruler says nothing, and shows both for a moment."""
    before, after = await rewritten(bench.place)
    (wanted,) = read_text(after)

    class Server(LoadingServer):
        async def rules(self) -> list[Rule]:
            bench.edit()
            return [
                Rule(
                    name=wanted.name,
                    expr=wanted.expr,
                    kind=wanted.kind,
                    group=wanted.group,
                    file="",
                    health="ok",
                    last_error="",
                    state="inactive",
                    duration_seconds=0,
                    labels=dict(wanted.labels),
                    annotations={},
                )
            ]

    placing = Placing(Server(Path("/nowhere")), verify_timeout_seconds=1.0, monotonic=time.monotonic)
    with pytest.raises(RuleError, match="at the same moment") as caught:
        await placing.replace(bench.place, before, after, [wanted])
    assert caught.value.reason == "hand_edited"
    assert "> 7" in str(await bench.place.read())
