"""Documentation and code say the same names."""

from __future__ import annotations

import re
from pathlib import Path

from exporters import names

ROOT = Path(__file__).parents[2]
SOURCES = ("sidecar", "exporters", "webhooks", "rules")


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(pronoia_[a-z_]+)`", page, re.MULTILINE))
    code = "\n".join(file.read_text() for room in SOURCES for file in (ROOT / room).rglob("*.py"))
    declared = set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(pronoia_[a-z_]+)"', code))
    declared |= {family.name for family in names.FAMILIES} | {"pronoia_build_info"}
    assert documented == declared


def test_the_readme_points_at_pages_that_exist() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


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
