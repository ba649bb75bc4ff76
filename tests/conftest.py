"""What all tests share: libraries that fit models use one thread, and a test's logging ends with it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from sidecar.cores import one_core_for_algebra

one_core_for_algebra()
# Tests run beside each other: OpenMP's threads that wait for a busy core spin, and a fit of
# milliseconds took seconds. The sidecar's own fits run on one core too (`sidecar.fitting`).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts us in the background has Ctrl-C ignored, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ON_REAL_SERVERS = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait for servers are spread among those that compute, so that no core is idle.

    Those on real servers are run once more where they fail; the summary says which. Unit tests never are.
    """
    kinds: tuple[dict[Path, None], dict[Path, None]] = {}, {}
    for item in items:
        waits = item.path.is_relative_to(ON_REAL_SERVERS)
        kinds[waits][item.path] = None
        if waits:
            item.add_marker(pytest.mark.flaky(reruns=1))
    place = {path: at / len(paths) for paths in kinds for at, path in enumerate(paths)}
    items.sort(key=lambda item: place[item.path])


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
