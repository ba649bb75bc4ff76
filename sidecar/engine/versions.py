"""Versions of what computes the state of models."""

from __future__ import annotations

from importlib.metadata import version


def libraries() -> dict[str, str]:
    """Versions of what computes the state; their patch releases do not change what it means."""
    return {name: ".".join(version(name).split(".")[:2]) for name in ("numpy", "numba")}
