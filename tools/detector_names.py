"""Writes `sidecar/config/detector_names.py`: the names of the registry, for the configuration.

The configuration stands below the engine and must not load it, yet has to refuse a name that is
none, and its page and the chart's schema list them. Run as `python -m tools.detector_names` after
a change of the registry, before `-m tools.configuration_page` and `-m tools.chart_schema`;
`tests/unit/test_detector_pages.py` fails while the file is stale.
"""

from __future__ import annotations

from pathlib import Path

from sidecar.engine.registry import DETECTORS

NAMES = Path(__file__).resolve().parent.parent / "sidecar" / "config" / "detector_names.py"


def render() -> str:
    """The whole module, in the order of the registry."""
    names = "".join(f'    "{name}",\n' for name in DETECTORS)
    return (
        '"""Names of the detectors that a query may choose from; written by tools/detector_names.py."""\n\n'
        "from __future__ import annotations\n\n"
        "from typing import Literal\n\n"
        f"DetectorName = Literal[\n{names}]\n"
    )


if __name__ == "__main__":
    NAMES.write_text(render())
    print(f"wrote {NAMES}")
