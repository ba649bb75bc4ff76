"""What the process imports before it serves: nothing that costs a second."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numba", "pandas", "scipy", "sklearn", "statsmodels", "matplotlib", "torch", "sqlite_utils")


def test_the_process_is_imported_without_heavy_libraries() -> None:
    code = f"import sys, sidecar.app.process; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
