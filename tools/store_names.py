"""Writes `sidecar/config/store_names.py`: the names of the stores' registry, for the configuration.

The configuration stands below the stores and must not load them, yet has to refuse a name that is
none, and its page and the chart's schema list them. Run as `python -m tools.store_names` after a
change of the registry, before `-m tools.configuration_page` and `-m tools.chart_schema`;
`tests/contract/test_stores.py` fails while the file is stale.
"""

from __future__ import annotations

from pathlib import Path

from sidecar.store.registry import STORES

NAMES = Path(__file__).resolve().parent.parent / "sidecar" / "config" / "store_names.py"


def render() -> str:
    """The whole module, in the order of the registry."""
    names = ", ".join(f'"{name}"' for name in STORES)
    return (
        '"""Names of the stores that a configuration may choose; written by tools/store_names.py."""\n\n'
        "from __future__ import annotations\n\n"
        "from typing import Literal\n\n"
        f"StoreName = Literal[{names}]\n"
    )


if __name__ == "__main__":
    NAMES.write_text(render())
    print(f"wrote {NAMES}")
