"""Where a command keeps what numba compiles: where numba would, beside the data, or in a folder of its run.

Each is to be called before numba is imported, which refuses to work where it finds no place at all, as for
a service's user without a home.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import sidecar

VARIABLE = "NUMBA_CACHE_DIR"


def keep_compiled_code_beside(data: Path) -> None:
    """State a place beside the data where it may not be kept beside the code."""
    if not _stated_or_beside_the_code():
        os.environ[VARIABLE] = str((data / ".numba").absolute())


def have_compiled_code_kept() -> None:
    """State a folder where numba would find none.

    It is nobody else's and goes with the process: compiled code is run as it is read, so none is taken
    from where others may write.
    """
    if _stated_or_beside_the_code() or _home_is_writable():
        return
    import shutil
    import tempfile

    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="pronoia-numba-")
    atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)


def _stated_or_beside_the_code() -> bool:
    return VARIABLE in os.environ or os.access(sidecar.__path__[0], os.W_OK)


def _home_is_writable() -> bool:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if not cache.is_absolute():
        return False
    there = next(path for path in (cache, *cache.parents) if os.path.lexists(path))
    return os.access(there, os.W_OK | os.X_OK)
