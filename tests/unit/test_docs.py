"""Documentation and code say the same names."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest
import yaml

from exporters import names
from sidecar.cli.main import main
from sidecar.config.load import load_text
from sidecar.config.model import Config
from sidecar.errors import ConfigError
from tools.configuration_page import keys

ROOT = Path(__file__).parents[2]
SOURCES = ("sidecar", "exporters", "webhooks", "rules")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/detectors").glob("*.md")),
]
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(pronoia_[a-z_]+)`", page, re.MULTILINE))
    code = "\n".join(file.read_text() for room in SOURCES for file in (ROOT / room).rglob("*.py"))
    declared = set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(pronoia_[a-z_]+)"', code))
    declared |= {family.name for family in names.FAMILIES} | {"pronoia_build_info"}
    assert documented == declared


def test_a_metrics_row_says_its_type_and_its_labels() -> None:
    rows = re.findall(
        r"^\| `(pronoia_\w+)` \| (\w+) \| (.*?) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    documented = {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows}
    declared = dict(declared_metrics())
    assert len(declared) > 100
    assert {name: documented[name] for name in declared} == declared


def declared_metrics() -> Iterator[tuple[str, tuple[str, set[str]]]]:
    """Type and labels of each metric whose name and labels are literals where it is made."""
    for file in (each for room in SOURCES for each in (ROOT / room).rglob("*.py")):
        text = file.read_text()
        if not re.search(r"(?:Counter|Gauge|Histogram)\(", text):
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(
                    ast.Name("Counter" | "Gauge" | "Histogram" as kind), [ast.Constant(name), _, *more]
                ):
                    if not more or isinstance(more[0], ast.List | ast.Tuple):
                        labels = [ast.literal_eval(each) for each in more[0].elts] if more else []
                        yield name, (kind.lower(), set(labels))


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: the headings, as forges write them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: page.stem)
def test_a_page_points_at_pages_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(((?!http)[^)\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_detector_and_every_metric_format_has_its_words() -> None:
    from exporters.formats import make_formats
    from sidecar.config.export import ExportConfig
    from sidecar.engine.registry import DETECTORS

    detection = (ROOT / "docs" / "detection.md").read_text()
    in_table = set(re.findall(r"^\| `([a-z_]+)` \|", detection, re.MULTILINE))
    assert in_table <= set(DETECTORS)
    assert set(DETECTORS) <= set(re.findall(r"`([a-z_]+)`", detection))
    migration = (ROOT / "docs" / "migration.md").read_text()
    formats = set(re.findall(r"^\| `([a-z_]+)`(?: \(default\))? \| `", migration, re.MULTILINE))
    formats -= {"detection_direction", "data_range"}  # Rows of the table of keys.
    assert len(make_formats(tuple(sorted(formats)), {})) == 3
    assert ExportConfig(metric_format=tuple(sorted(formats))).formats == tuple(sorted(formats))


def shown_commands(page: Path) -> Iterator[str]:
    """What a page shows to be typed after `pronoia`: between backticks, and as lines of console blocks."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for block in re.findall(r"^[ ]*```\w*\n(.*?)```", text, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^\s*(?:\$ )?pronoia ([a-z][a-z-]*.*?)(?:\s+#.*)?$", block, re.MULTILINE)
    yield from re.findall(r"`pronoia ([a-z][a-z-]*[^`]*)`", text)


def fault_of(words: list[str]) -> str:
    """Why the command line cannot be typed as it stands; a shortened one may leave arguments out."""
    command: click.Command | None = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if not re.fullmatch("[a-z-]+", words[0]):
            return ""  # One of many: `db backup|restore`.
        command, words = command.get_command(click.Context(main), words[0]), words[1:]
    if command is None:
        return "no such command"
    if isinstance(command, click.Group) or "--help" in words:
        return ""
    try:
        command.make_context("pronoia", list(words))
    except click.MissingParameter:
        return ""
    except click.BadParameter as error:
        return "" if "does not exist" in error.format_message() else error.format_message()
    except click.UsageError as error:
        return "" if "requires an argument" in error.format_message() else error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_a_page_shows_is_understood(page: Path) -> None:
    for shown in shown_commands(page):
        typed = takewhile(lambda word: word not in ("|", ">", "&&"), shlex.split(shown))
        assert fault_of([word for word in typed if word not in ("…", "...")]) == "", f"pronoia {shown}"


def test_a_page_that_shows_what_does_not_exist_is_noticed() -> None:
    assert fault_of(["run", "--confg", "x"])
    assert fault_of(["cofnig"])
    assert fault_of(["doctor", "surplus"])
    assert fault_of(["db", "backup"]) == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_key_that_a_page_names_exists(page: Path) -> None:
    sections = set(Config.model_fields)
    known = {re.sub(r"\[\]|\.\*", "", key.path) for key in keys(Config)} | sections
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: [^`]*)?`", page.read_text())
    of_the_chart = {"rules.mode", "rules.volume"} if page.stem == "helm" else set()
    assert {key for key in named if key.split(".")[0] in sections} - known <= of_the_chart


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_configuration_that_a_page_shows_has_keys_that_exist(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        document = yaml.safe_load(textwrap.dedent(block))
        if isinstance(document, dict) and set(document) <= set(Config.model_fields):
            assert faults_of(block) == [], block


def faults_of(block: str) -> list[str]:
    """What is wrong with an excerpt of a configuration, other than that it names what it leaves out."""
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "https://example.com")
    try:
        load_text(textwrap.dedent(block), env=environment)
    except ConfigError as error:
        return [str(problem) for problem in error.problems if "there is no target" not in str(problem)]
    return []
