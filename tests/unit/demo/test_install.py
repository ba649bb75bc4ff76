"""What is missing is found, said aloud and installed by the right commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.cli.demo import install
from sidecar.cli.demo.install import PROGRAMS, find, plan


def has(*names: str) -> Callable[[str], str | None]:
    return lambda name: name if name in names else None


@pytest.mark.parametrize(
    ("root", "tools", "first"),
    [
        pytest.param(True, ("apt-get",), ["apt-get", "update"], id="root needs no sudo"),
        pytest.param(False, ("apt-get", "sudo"), ["sudo", "env"], id="others use sudo"),
        pytest.param(False, ("apt-get",), None, id="no sudo, nothing to do"),
        pytest.param(True, ("sudo", "brew"), None, id="no apt, nothing to do"),
    ],
)
def test_plan(root: bool, tools: tuple[str, ...], first: list[str] | None) -> None:
    commands = plan(["prometheus"], root=root, has=has(*tools))
    assert (commands[0][:2] if commands else None) == first
    if commands:
        assert commands[-1][-1] == "prometheus"
        assert "--no-install-recommends" in commands[-1]


def test_a_program_is_named_by_environment_first(tmp_path: Path) -> None:
    own = tmp_path / "my-prometheus"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert find(PROGRAMS[0], {"PRONOIA_PROMETHEUS": str(own), "PATH": ""}) == str(own)
    assert find(PROGRAMS[0], {"PRONOIA_PROMETHEUS": str(tmp_path / "gone"), "PATH": ""}) is None


def test_installing_is_said_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(install, "missing", lambda: [] if "apt" in happened else list(PROGRAMS[:2]))
    monkeypatch.setattr(install, "plan", lambda packages, root: [["apt-get", *packages]])

    def run(command: list[str]) -> int:
        happened.append("apt")
        assert command == ["apt-get", "prometheus"]
        return 0

    assert install.install(say=happened.append, run=run, root=False)
    assert "sudo" in happened[0]
    assert happened.index("  $ apt-get prometheus") < happened.index("apt")


def test_a_failed_installation_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(install, "missing", lambda: [PROGRAMS[0]])
    monkeypatch.setattr(install, "plan", lambda packages, root: [["apt-get"]])
    assert not install.install(say=said.append, run=lambda command: 100, root=True)
    assert "https://prometheus.io/download" in "\n".join(said)


def test_it_runs_without_any_dependency(tmp_path: Path) -> None:
    # -S leaves site-packages out: only the standard library and this checkout.
    root = Path(install.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "sidecar.cli.demo.install", "--check"],
        cwd=root,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 1)
