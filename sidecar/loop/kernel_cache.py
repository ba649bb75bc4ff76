"""Compiled kernels on disk: what cannot be kept there, or read again, is compiled and used all the same.

numba raises where the disk is full, although it has compiled by then, and where a power cut has left a
file of its cache without content, since it writes none of them durably: nothing would be scored then.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from numba.core.caching import Cache
from prometheus_client import CollectorRegistry, Counter

from sidecar.telemetry import get_logger

_load, _save = Cache.load_overload, Cache.save_overload


def watch_over_here() -> None:
    """Survive them in a process that nobody scrapes."""
    KernelCache(CollectorRegistry()).watch_over()


class KernelCache:
    """Stands between numba and its cache once `watch_over` was called, and counts its troubles."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._log = get_logger("kernel-cache")
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._troubles = Counter(
            "pronoia_kernel_cache_errors_total",
            "Compiled kernels that could not be kept on disk, or read from there; they are compiled anew.",
            ["operation"],
            registry=registry,
        )
        for operation in ("load", "save"):
            self._troubles.labels(operation)

    def watch_over(self) -> None:
        """Survive its troubles from now on, in this process."""

        def load_overload(cache: Any, signature: Any, target: Any) -> Any:
            try:
                return _load(cache, signature, target)
            except Exception as error:
                # The edge of unpickling, which may raise anything.
                self._tell("load", "compiled code cannot be read, compiling anew", cache, error)
                with suppress(OSError):
                    cache.flush()
                return None

        def save_overload(cache: Any, signature: Any, compiled: Any) -> None:
            try:
                _save(cache, signature, compiled)
            except Exception as error:
                # The same: saving reads the index first.
                self._tell("save", "compiled code not kept, the next start compiles anew", cache, error)

        Cache.load_overload, Cache.save_overload = load_overload, save_overload

    def _tell(self, operation: str, message: str, cache: Any, error: Exception) -> None:
        """Count each, tell of the first: there are hundreds of kernels."""
        with self._lock:
            self._troubles.labels(operation).inc()
            if operation not in self._told:
                self._told.add(operation)
                self._log.warning(message, path=str(cache.cache_path), err=str(error))
