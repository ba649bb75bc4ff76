"""What is generated passes promtool's check and its own unit tests; a few calls of promtool for all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rules.adapt.bounds import Static, Trend
from rules.document import as_yaml
from rules.generate.groups import rule_file
from rules.generate.kinds import absence, flatline, recorded, sibling
from rules.generate.packs import Pack, load_pack, pack_names
from rules.generate.promtool_tests import Case, promtool_file
from rules.generate.slo import slo_file
from rules.rewrite import plain_number
from sidecar.config.slo import PackName, SloConfig
from sidecar.errors import RuleError

PACKS = [load_pack(name) for name in pack_names()]
SLO = SloConfig(
    name="checkout",
    objective=0.999,
    errors='sum(rate(requests_total{code=~"5.."}[$window]))',
    total="sum(rate(requests_total[$window]))",
    min_rate=0.5,
    labels={"team": "shop"},
)


def promtool(*arguments: str, cwd: Path) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is not installed; run: apt-get install prometheus"
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_pack_passes_its_own_tests(tmp_path: Path) -> None:
    """For each case promtool evaluates a whole file: each alert has one of its own, with what is recorded."""
    files = []
    for pack in PACKS:
        (tmp_path / pack.file().file_name).write_text(pack.file().text)
        for alert in pack.alert_names:
            alone = pack.without(pack.alert_names - {alert})
            folder = tmp_path / pack.name / alert
            folder.mkdir(parents=True)
            (folder / alone.file().file_name).write_text(alone.file().text)
            (folder / "test.yaml").write_text(alone.tests())
            files.append(str(folder / "test.yaml"))
    promtool("check", "rules", *(pack.file().file_name for pack in PACKS), cwd=tmp_path)
    assert promtool("test", "rules", *files, cwd=tmp_path).count("SUCCESS") == len(files)


def test_the_packs_that_are_promised() -> None:
    promised = {"prometheus", "alertmanager", "node", "kubernetes", "http", "databases", "queues"}
    assert promised | {"music-streaming", "self"} == set(pack_names()) == set(get_args(PackName))
    with pytest.raises(RuleError, match="known: alertmanager"):
        load_pack("no-such")


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_every_alert_says_what_to_do(pack: Pack) -> None:
    names = [rule["alert"] for rule in pack.rules if "alert" in rule]
    assert len(set(names)) == len(names) == pack.n_alerts > 2
    for rule in yaml.safe_load(pack.file().text)["groups"][0]["rules"]:
        if "alert" in rule:
            assert rule["annotations"]["runbook"]
            assert rule["annotations"]["dashboard_url"].startswith(("https://", "/d/pronoia-"))
            assert rule["annotations"]["pronoia_revision"] == pack.file().revision
            assert rule["labels"]["severity"] in ("warning", "critical")


GROUP = {f'load{{pod="{n}"}}': f"{10 + n % 2}+0x200" for n in range(6)}


def alike(metric: str, value: str) -> dict[str, str]:
    return {f'{metric}{{pod="{n}"}}': f"{value}x200" for n in range(6)}


def test_kinds_and_slos_fire_when_they_must_and_only_then(tmp_path: Path) -> None:
    slo = slo_file(SLO)
    kinds = rule_file(
        "kinds",
        [
            {
                "name": "pronoia-kinds",
                "rules": [
                    absence("load", "load"),
                    absence("rate", "rate(asked_total[5m])"),
                    flatline("load", "load"),
                    sibling("load", "load"),
                    sibling("rest", "rest", min_deviation=0.5, min_relative_deviation=0.1),
                    recorded("load", "sum(load)"),
                ],
            }
        ],
        "a test",
    )
    for file in (slo, kinds):
        (tmp_path / file.file_name).write_text(file.text)
    bad = 'requests_total{code="500"}'
    good = 'requests_total{code="200"}'
    moving = "1+1x1440"
    cases = [
        Case("CheckoutErrorBudgetBurns1h", {bad: "0+60x200", good: "0+600x200"}, 1),
        Case("CheckoutErrorBudgetBurns1h", {bad: "0+0x200", good: "0+600x200"}, 0),
        Case("CheckoutErrorBudgetBurns1h", {bad: "0+1x200", good: "0+3x200"}, 0),  # Too few to judge.
        Case("LoadGone", {'load{pod="a"}': "1x100 _x200", 'load{pod="b"}': "1x300"}, 1, "2h"),
        Case("LoadGone", {'load{pod="a"}': "1x300"}, 0, "2h"),
        Case("RateGone", {"asked_total": "0+60x100 _x200"}, 1, "2h"),
        Case("LoadFrozen", {"load": f"{moving} 1441x300"}, 1, "28h"),
        Case("LoadFrozen", {"load": "1+1x1800"}, 0, "28h"),
        Case("LoadUnlikeItsSiblings", {**GROUP, 'load{pod="x"}': "90x200"}, 1),
        Case("LoadUnlikeItsSiblings", GROUP, 0),
        Case("LoadUnlikeItsSiblings", {'load{pod="1"}': "1x200", 'load{pod="x"}': "90x200"}, 0),
        Case("LoadUnlikeItsSiblings", {**alike("load", "10"), 'load{pod="x"}': "10.1x200"}, 1),
        Case("RestUnlikeItsSiblings", {**alike("rest", "10"), 'rest{pod="x"}': "10.9x200"}, 0),
        Case("RestUnlikeItsSiblings", {**alike("rest", "0.1"), 'rest{pod="x"}': "0.5x200"}, 0),
        Case("RestUnlikeItsSiblings", {**alike("rest", "-10"), 'rest{pod="x"}': "-8.9x200"}, 1),
    ]
    (tmp_path / "test.yaml").write_text(promtool_file([slo.file_name, kinds.file_name], cases))
    promtool("check", "rules", slo.file_name, kinds.file_name, cwd=tmp_path)
    promtool("test", "rules", "test.yaml", cwd=tmp_path)


def test_burn_rates_are_the_workbooks() -> None:
    document = yaml.safe_load(slo_file(SLO).text)
    alerts = {rule["alert"]: rule for rule in document["groups"][1]["rules"]}
    assert "> 0.0144" in alerts["CheckoutErrorBudgetBurns1h"]["expr"]
    assert "> 0.006\n" in alerts["CheckoutErrorBudgetBurns6h"]["expr"]
    assert "> 0.003\n" in alerts["CheckoutErrorBudgetBurns1d"]["expr"]
    assert "> 0.001\n" in alerts["CheckoutErrorBudgetBurns3d"]["expr"]
    assert alerts["CheckoutErrorBudgetBurns1h"]["labels"]["team"] == "shop"


@pytest.mark.parametrize(
    "errors", [pytest.param("rate(a[5m])", id="no window"), pytest.param("rate(a[$window]", id="no PromQL")]
)
def test_an_slo_that_cannot_be(errors: str) -> None:
    with pytest.raises(ValidationError, match=r"\$window|PromQL"):
        SloConfig(name="a", objective=0.9, errors=errors, total="rate(a[$window])")


LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


def test_any_number_and_any_text_render_to_rules_that_promtool_takes(tmp_path: Path) -> None:
    rules: list[dict[str, object]] = []

    @settings(max_examples=120, database=None)
    @given(
        value=st.floats(allow_nan=False, allow_infinity=False),
        slope=st.floats(-1e3, 1e3),
        text=LABEL_VALUES,
    )
    def collect(value: float, slope: float, text: str) -> None:
        assert float(plain_number(value)) == value
        for bound in (Static(value), Trend(value, slope, 1.7e9, 1.8e9)):
            expr = bound.rewritten('load{pod=~"a\\\\d+"} > 4')
            escaped = text.replace("{{", "(").replace("}}", ")")
            rules.append({"alert": f"A{len(rules)}", "expr": expr, "annotations": {"summary": escaped}})

    collect()
    (tmp_path / "any.yaml").write_text(as_yaml({"groups": [{"name": "any", "rules": rules}]}))
    promtool("check", "rules", "any.yaml", cwd=tmp_path)
