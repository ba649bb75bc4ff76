"""Compiled kernels are used where the disk is full or their files are damaged."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numba.core import caching
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.loop.kernel_cache import KernelCache


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    before = caching.Cache.load_overload, caching.Cache.save_overload
    made = CollectorRegistry()
    KernelCache(made).watch_over()
    yield made
    caching.Cache.load_overload, caching.Cache.save_overload = before


def kernel(directory: Path) -> Any:
    """As a process that has just begun imports it."""
    file = directory / "kernel.py"
    if not file.exists():
        file.write_text("from numba import njit\n\n@njit(cache=True)\ndef double(x):\n    return x + x\n")
    spec = importlib.util.spec_from_file_location("kernel", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def troubles(registry: CollectorRegistry, operation: str) -> float | None:
    return registry.get_sample_value("pronoia_kernel_cache_errors_total", {"operation": operation})


def test_on_a_full_disk_a_kernel_is_used_but_not_kept(
    tmp_path: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    double = kernel(tmp_path)
    with capture_logs() as logs:
        assert (double(2), double(2.5)) == (4, 5.0)
    (told,) = logs
    assert told["event"] == "compiled code not kept, the next start compiles anew"
    assert "No space left" in told["err"]
    assert troubles(registry, "save") == 2


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_what_a_power_cut_left_empty_is_compiled_anew_and_kept(
    tmp_path: Path, registry: CollectorRegistry, ending: str
) -> None:
    assert kernel(tmp_path)(2) == 4
    (file,) = tmp_path.rglob(f"*.{ending}")
    file.write_bytes(b"")
    assert kernel(tmp_path)(2) == 4
    assert troubles(registry, "load") == 1
    again = kernel(tmp_path)
    assert again(2) == 4
    assert again.stats.cache_hits, "kept, so that the next start has it"
    assert troubles(registry, "load") == 1
