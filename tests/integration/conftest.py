"""Fixtures of the integration tests: servers that are surely gone afterwards."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import Prometheus, Pronoia, Server, stopping

WAVE = "100 + 10 * sin(vector(time() / 600))"
"""A series that any Prometheus has, at any time, without a scrape."""


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """`keep(server)`: the server, which is killed when the test ends."""
    with ExitStack() as stack:

        def register(server: Server) -> Server:
            stack.enter_context(stopping(server))
            return server

        yield register


@pytest.fixture
def prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """A running Prometheus without targets."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    server.start()
    return server


@pytest.fixture
def make_pronoia(tmp_path: Path, keep: Callable[..., Any]) -> Callable[..., Pronoia]:
    """`make_pronoia(document, **Pronoia's)`: a sidecar with that configuration, not yet started."""

    def make(document: dict[str, Any], *arguments: str, **kwargs: Any) -> Pronoia:
        directory = tmp_path / "pronoia"
        directory.mkdir(exist_ok=True)
        config = directory / "pronoia.yaml"
        config.write_text(json.dumps(document))
        server: Pronoia = keep(
            Pronoia(directory, "--config", str(config), "--log-format", "json", *arguments, **kwargs)
        )
        return server

    return make


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A tmpfs, 64 KiB or as many as the test's parameter says; needs root, as in CI and containers."""
    directory = tmp_path / "small"
    directory.mkdir()
    size = getattr(request, "param", 64)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def wave_config(url: str, directory: Path, **sections: Any) -> dict[str, Any]:
    """A configuration that watches the wave each second at `url`."""
    return {
        "prometheus": {"url": url, "timeout": "2s", "retries": 0, "breaker_cooldown": "1s"},
        "queries": [{"name": "wave", "expr": WAVE, "step": "1s", "history": "10m", "offset": "0s"}],
        "store": {"directory": str(directory / "data"), "snapshot_interval": "1s"},
        **sections,
    }
