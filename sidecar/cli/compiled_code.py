"""Where a command keeps what numba compiles: where numba would, else in a folder of its own run."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import sidecar

VARIABLE = "NUMBA_CACHE_DIR"


def have_compiled_code_kept() -> None:
    """State a folder where numba, before it is imported, would find none, as for a user without a home.

    It refuses to work then. The folder is nobody else's and goes with the process: compiled code is
    run as it is read, so none is taken from where others may write.
    """
    if VARIABLE in os.environ or os.access(sidecar.__path__[0], os.W_OK) or _home_is_writable():
        return
    import shutil
    import tempfile

    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="pronoia-numba-")
    atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)


def _home_is_writable() -> bool:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if not cache.is_absolute():
        return False
    there = next(path for path in (cache, *cache.parents) if os.path.lexists(path))
    return os.access(there, os.W_OK | os.X_OK)
