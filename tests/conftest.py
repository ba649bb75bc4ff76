"""What all tests share: libraries that fit models use one thread, and a test's logging ends with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from sidecar.cores import one_core_for_algebra

one_core_for_algebra()
# Tests run beside each other: OpenMP's threads that wait for a busy core spin, and a fit of
# milliseconds took seconds. The sidecar's own fits run on one core too (`sidecar.fitting`).
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands configure the process' logs, and by that which lines later tests would see."""
    configured, structured = structlog.is_configured(), structlog.get_config()
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    if configured:
        structlog.configure(**structured)
    else:
        structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers
