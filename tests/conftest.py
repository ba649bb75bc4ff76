"""What all tests share: libraries that fit models use one thread."""

from __future__ import annotations

import os

from sidecar.cores import one_core_for_algebra

one_core_for_algebra()
# Tests run beside each other: OpenMP's threads that wait for a busy core spin, and a fit of
# milliseconds took seconds. The sidecar's own fits run on one core too (`sidecar.fitting`).
os.environ.setdefault("OMP_NUM_THREADS", "1")
