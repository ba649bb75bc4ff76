"""Renders the chart with a real Helm and takes its output apart."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tools.helm import find_helm

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "pronoia"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
NAMESPACE = "observability"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of Helm, whatever its exit code."""
    return subprocess.run([str(find_helm()), *arguments], capture_output=True, text=True, timeout=60)


@cache
def render(*arguments: str, values: Path | None = None) -> tuple[dict[str, Any], ...]:
    """The objects of `helm template`, in order; AssertionError with Helm's words when it refuses."""
    done = helm(
        "template",
        "demo",
        str(CHART),
        "--namespace",
        NAMESPACE,
        *(("-f", str(values)) if values else ()),
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)


def of_kind(objects: tuple[dict[str, Any], ...], kind: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [each for each in objects if each["kind"] == kind]


def only(objects: tuple[dict[str, Any], ...], kind: str) -> dict[str, Any]:
    """The one of its kind."""
    (found,) = of_kind(objects, kind)
    return found


def ci(name: str) -> Path:
    """A values file of the chart's ci folder."""
    return CHART / "ci" / f"{name}-values.yaml"
