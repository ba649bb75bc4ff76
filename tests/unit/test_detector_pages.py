"""Pages, registry and configuration know the same detectors, and the pages' cases come true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from sidecar.config.council import Member
from sidecar.config.fields import format_duration
from sidecar.config.model import QueryConfig
from sidecar.engine.registry import DETECTORS
from tools.detector_cases import CASES, came_true, cases, judged
from tools.detector_pages import bytes_a_series
from tools.registry_names import detector_names

PAGES = Path(__file__).parents[2] / "docs" / "detectors"
SECTIONS = ["What it sees", "Why", "Right and wrong", "Options", "Cost", "When to switch it off"]
MOST_BYTES = 40 * 1024


def test_pages_registry_configuration_and_cases_have_the_same_names() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    for path, text in detector_names().items():
        assert path.read_text() == text, "run: python -m tools.registry_names"
    assert set(get_args(Member)) < set(DETECTORS), "sidecar/config/council.py and the registry"
    assert pages == set(DETECTORS), "docs/detectors and the registry"
    assert set(CASES) == set(DETECTORS), "tools/detector_cases.py and the registry"


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_page_has_all_its_parts(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    assert text.startswith(f"# `{name}`\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", text)
    assert 0 < (PAGES / picture).stat().st_size <= MOST_BYTES
    options = text.partition("## Options")[2].partition("## Cost")[0]
    named = set(re.findall(r"`([a-z_]+)`", options)) - {"above", "below"}
    assert named, "options of a query that matter to it"
    assert named <= set(QueryConfig.model_fields)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_the_right_case_is_found_and_the_wrong_one_goes_wrong(name: str) -> None:
    if name == "autoencoder":
        pytest.importorskip("torch", reason="it is trained with torch")
    right, wrong = cases(name)
    assert (right.outcome, wrong.outcome) == ("found", "missed")
    for case in (right, wrong):
        assert came_true(case, judged(name, case)), f"{case.what} is not {case.outcome}"


def _table(heading: str) -> list[list[str]]:
    part = (PAGES / "README.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_table_of_costs_has_every_detector_and_the_true_sizes() -> None:
    rows = {name: int(size.replace(",", "")) for name, _, size in _table("Cost")}
    sizes = {f"[`{name}`]({name}.md)": bytes_a_series(name) for name in DETECTORS}
    assert rows == pytest.approx(sizes, rel=0.02)


def test_the_options_are_all_keys_of_a_query_with_their_defaults() -> None:
    told = {
        key: default for keys, default, _ in _table("Options") for key in re.findall(r"`([a-z_]+)`", keys)
    }
    assert set(told) == set(QueryConfig.model_fields)
    for key, default in told.items():
        value = QueryConfig.model_fields[key].default
        if isinstance(value, float | int | str) and not isinstance(value, bool):
            assert default in (f"`{value}`", f"`{value:g}`" if isinstance(value, float) else "", _span(value))


def _span(value: object) -> str:
    return f"`{format_duration(value)}`" if isinstance(value, float) else ""
