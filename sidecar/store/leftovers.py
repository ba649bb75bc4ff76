"""Removes what killed processes have left half-written in the data folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sidecar.durable import TEMPORARY

_LEFT = re.compile(rf"\..+\.(\d+){re.escape(TEMPORARY)}")
"""The name that `durable.replace_file` gives a file beside another, with the process that writes it."""


def remove_leftovers(directory: Path) -> int:
    """Delete temporary files whose writer is gone; how many bytes that gave back.

    Each may be as large as a model, and a process that is killed again and again for want of memory
    would leave one a time. Call it while the folder is owned and nothing is written yet.
    """
    freed = 0
    for file in directory.rglob(f".*{TEMPORARY}"):
        found = _LEFT.fullmatch(file.name)
        if found is None or _is_at_work(int(found[1])):
            continue
        try:
            n_bytes = file.stat().st_size
            file.unlink()
        except OSError:
            continue  # Another's, or gone meanwhile: a start must not fail over it.
        freed += n_bytes
    return freed


def _is_at_work(process: int) -> bool:
    """Whether another process of that number lives: a command may be writing a model just now."""
    if process == os.getpid():
        return False  # One of its number before it: in a container each is the first.
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
