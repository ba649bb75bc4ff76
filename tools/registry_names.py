"""Writes the names of the registries of detectors and of stores, for `sidecar/config/*_names.py`.

The configuration stands below what is registered and must not load it, yet has to refuse a name
that is none, and its page and the chart's schema list them. Run as `python -m tools.registry_names`
after a change of a registry, before `-m tools.configuration_page` and `-m tools.chart_schema`;
`tests/unit/test_detector_pages.py` and `tests/contract/test_stores.py` fail while a file is stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sidecar.engine.registry import DETECTORS
from sidecar.store.registry import STORES

CONFIG = Path(__file__).resolve().parent.parent / "sidecar" / "config"


def detector_names() -> dict[Path, str]:
    """The file of the detectors' names, and what it is to hold, in the order of the registry."""
    return _module("detector", "detectors that a query may choose from", DETECTORS)


def store_names() -> dict[Path, str]:
    """The same of the stores."""
    return _module("store", "stores that a configuration may choose", STORES)


def _module(kind: str, what: str, names: Iterable[str]) -> dict[Path, str]:
    quoted = [f'"{name}"' for name in names]
    listed = "".join(f"\n    {name}," for name in quoted) + "\n" if len(quoted) > 1 else "".join(quoted)
    return {
        CONFIG / f"{kind}_names.py": (
            f'"""Names of the {what}; written by tools/registry_names.py."""\n\n'
            "from __future__ import annotations\n\n"
            "from typing import Literal\n\n"
            f"{kind.capitalize()}Name = Literal[{listed}]\n"
        )
    }


if __name__ == "__main__":
    for path, text in (detector_names() | store_names()).items():
        path.write_text(text)
        print(f"wrote {path}")
