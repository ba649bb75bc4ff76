"""What docs/helm.md and docs/alertmanager.md tell users to paste is accepted by the program that reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import load_text
from tests.integration.servers import binary
from tests.unit.chart.helm_chart import CHART, ROOT, helm

pytestmark = pytest.mark.integration


def blocks(page: str) -> list[dict[str, Any]]:
    """The YAML blocks of a page of docs/."""
    text = (ROOT / "docs" / page).read_text()
    return [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", text, flags=re.S)]


def accepted(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_the_receivers(tmp_path: Path) -> None:
    amtool = shutil.which("amtool")
    assert amtool, "amtool comes with Alertmanager: apt-get install prometheus-alertmanager"
    found = [each for each in blocks("alertmanager.md") if "receivers" in each]
    assert len(found) == 2
    for number, each in enumerate(found):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump({"route": {"receiver": each["receivers"][0]["name"]}, **each}))
        accepted([amtool, "check-config", str(path)])


def test_prometheus_accepts_the_scrape_jobs_and_rule_files(tmp_path: Path) -> None:
    found = [each for each in blocks("alertmanager.md") if "scrape_configs" in each or "rule_files" in each]
    assert len(found) == 2
    for number, each in enumerate(found):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump(each))
        accepted([binary("promtool"), "check", "config", "--syntax-only", str(path)])


def test_pronoia_accepts_its_own_part() -> None:
    ours = [load_text(yaml.safe_dump(each)) for each in blocks("alertmanager.md") if "webhook" in each]
    assert any(config.webhook.auth.bearer_token_file is not None for config in ours)


def test_the_chart_accepts_the_values(tmp_path: Path) -> None:
    found = blocks("helm.md")
    assert found
    for number, each in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(each))
        done = helm("template", "demo", str(CHART), "-f", str(path))
        assert done.returncode == 0, done.stderr


def test_the_values_that_are_named_exist() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs" / "helm.md").read_text(), flags=re.M)
    names = [
        name for row in rows for name in re.findall(r"`([A-Za-z.]+)`", row) if name.split(".")[0] in values
    ]
    assert len(names) >= 8
    for name in names:
        node = values
        for part in name.split("."):
            assert part in node, name
            node = node[part]


@pytest.mark.parametrize("page", ["helm.md", "alertmanager.md"])
def test_links_inside_the_repository_lead_somewhere(page: str) -> None:
    folder = ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (folder / page).read_text()):
        if not target.startswith("http"):
            assert (folder / target).exists(), target
    for name in re.findall(r"`(examples/[a-z-]+\.yaml)`", (folder / page).read_text()):
        assert (CHART / name).exists(), name
