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


@pytest.mark.parametrize("commands", [[], [["apt-get"]]], ids=["no apt", "apt fails"])
def test_what_only_the_tests_need_is_named(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(install, "missing", list)
    monkeypatch.setattr(install, "missing_for_tests", lambda: ["victoria-metrics", "openssl"])
    monkeypatch.setattr(install, "plan", lambda packages, root: commands)
    assert not install.install(say=said.append, run=lambda command: 100, root=True, for_tests=True)
    assert said[-1] == "pronoia's tests need: victoria-metrics, openssl (the names of Debian's packages)."


def test_what_apt_installed_in_vain_is_missing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "missing", list)
    monkeypatch.setattr(install, "missing_for_tests", lambda: ["openssl"])
    monkeypatch.setattr(install, "plan", lambda packages, root: [["apt-get"]])
    assert not install.install(say=lambda words: None, run=lambda command: 0, root=True, for_tests=True)


LOCKED_TWICE = """#!/bin/sh
echo x >> "$0.calls"
[ "$LC_ALL" = C ] || { echo "E: nicht auf Deutsch" >&2; exit 100; }
if [ "$(wc -l < "$0.calls")" -le 2 ]; then
    echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)" >&2
    echo "E: Unable to lock directory /var/lib/apt/lists/" >&2
    exit 100
fi
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    program = tmp_path / "apt-get"
    program.write_text(LOCKED_TWICE)
    program.chmod(0o755)
    return program


def install_with(apt: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, list[str]]:
    said: list[str] = []
    # There once apt has run a third time.
    calls = apt.with_name("apt-get.calls")
    there = lambda: calls.exists() and len(calls.read_text().split()) > 2  # noqa: E731
    monkeypatch.setattr(install, "missing", lambda: [] if there() else [PROGRAMS[0]])
    monkeypatch.setattr(install, "plan", lambda packages, root: [[str(apt)]])
    monkeypatch.setattr(install, "RETRY_SECONDS", 0.0)
    return install.install(say=said.append, root=True), said


def test_apt_is_waited_for_while_another_process_has_its_lock(
    apt: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done, said = install_with(apt, monkeypatch)
    assert done
    assert [words for words in said if "waiting for it" in words] == [
        "Another process is installing or upgrading packages; waiting for it: Could not get lock "
        "/var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
    ]
    assert capfd.readouterr().err == ""


def test_apt_is_not_waited_for_without_end(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "PATIENCE_SECONDS", -1.0)
    done, said = install_with(apt, monkeypatch)
    assert not done
    assert "still holds apt's lock" in "\n".join(said)


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
