"""The server programs that pronoia's demo and tests start: found, or installed through apt.

Standard library only, because it also runs before pronoia's own dependencies
are there: `python -m sidecar.cli.demo.install`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SUPERUSER_PATHS = ("/usr/sbin", "/sbin", "/usr/local/bin")
"""Debian keeps some programs where an ordinary user's PATH does not look."""

LOCKED = "Could not get lock"
"""apt's words where another process is at work; a fresh machine upgrades itself for minutes."""

PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """A server program, the names it goes by, its Debian package and its home page."""

    name: str
    names: tuple[str, ...]
    package: str
    home: str


PROGRAMS = (
    Program("prometheus", ("prometheus",), "prometheus", "https://prometheus.io/download/#prometheus"),
    Program("promtool", ("promtool",), "prometheus", "https://prometheus.io/download/#prometheus"),
    Program(
        "alertmanager",
        ("prometheus-alertmanager", "alertmanager"),
        "prometheus-alertmanager",
        "https://prometheus.io/download/#alertmanager",
    ),
    Program(
        "node_exporter",
        ("prometheus-node-exporter", "node_exporter"),
        "prometheus-node-exporter",
        "https://prometheus.io/download/#node_exporter",
    ),
)


def find(program: Program, environment: Mapping[str, str] = os.environ) -> str | None:
    """Path of the program: from PRONOIA_<NAME>, then PATH, then where Debian keeps servers."""
    named = environment.get(f"PRONOIA_{program.name.upper()}")
    search = os.pathsep.join((environment.get("PATH", os.defpath), *SUPERUSER_PATHS))
    for candidate in (named,) if named else program.names:
        found = shutil.which(candidate, path=search)
        if found:
            return found
    return None


def find_all() -> dict[str, str]:
    """Paths by name, of those that are there."""
    return {program.name: path for program in PROGRAMS if (path := find(program))}


def missing() -> list[Program]:
    """The programs that are not on this machine."""
    return [program for program in PROGRAMS if find(program) is None]


def missing_for_tests() -> list[str]:
    """Debian packages that only the tests need: a certificate to make, another server."""
    absent = []
    if shutil.which("victoria-metrics") is None or shutil.which("vmalert") is None:
        absent.append("victoria-metrics")
    if shutil.which("openssl") is None:
        absent.append("openssl")
    return absent


def advice(programs: Sequence[Program], for_tests: Sequence[str] = ()) -> str:
    """What to install, for a system on which we do not install by ourselves."""
    lines = []
    if programs:
        lines.append("pronoia's demo and tests need these programs on PATH:")
        lines += [f"  {program.name:<14} {program.home}" for program in programs]
        lines.append(
            "Install them (macOS: brew install prometheus alertmanager node_exporter), then try again."
        )
        names = ", ".join(f"PRONOIA_{program.name.upper()}" for program in programs)
        lines.append(f"Programs elsewhere are named by path in the environment: {names}.")
    if for_tests:
        lines.append(f"pronoia's tests need: {', '.join(for_tests)} (the names of Debian's packages).")
    return "\n".join(lines)


def plan(
    packages: Sequence[str], *, root: bool, has: Callable[[str], str | None] = shutil.which
) -> list[list[str]]:
    """The commands that install the packages; none where this is not ours to do.

    >>> plan(["prometheus"], root=True, has=lambda name: name)[-1][:3]
    ['apt-get', 'install', '-y']
    """
    if not has("apt-get") or not (root or has("sudo")):
        return []
    # `env` and not sudo's own assignment: a sudoers file may forbid setting variables.
    settings = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]
    apt = ["apt-get"] if root else ["sudo", *settings, "apt-get"]
    return [[*apt, "update", "-q"], [*apt, "install", "-y", "-q", "--no-install-recommends", *packages]]


def install(
    *,
    say: Callable[[str], None] = print,
    run: Callable[[list[str]], int] | None = None,
    root: bool | None = None,
    for_tests: bool = False,
) -> bool:
    """Install what is missing, saying so first. True when every program is there afterwards."""
    absent = missing()
    extra = missing_for_tests() if for_tests else []
    if not absent and not extra:
        return True
    packages = sorted({program.package for program in absent} | set(extra))
    root = os.geteuid() == 0 if root is None else root
    commands = plan(packages, root=root)
    if not commands:
        say(advice(absent, extra))
        return False
    who = "" if root else " with sudo (you may be asked for your password)"
    say(f"Installing {', '.join(packages)} through apt{who}:")
    execute = run or (lambda command: _execute(command, say))
    for command in commands:
        say("  $ " + " ".join(command))
        # A stale index often still serves, so only the installation itself decides.
        if execute(command) != 0 and command is commands[-1]:
            say("apt did not install them; see its words above.")
            say(advice(absent, extra))
            return False
    if os.path.isdir("/run/systemd/system"):
        say("Debian's packages also start these servers as services, on ports 9090, 9093 and 9100.")
        say("The demo leaves those alone and takes other ports; `systemctl disable --now prometheus")
        say("prometheus-alertmanager prometheus-node-exporter` stops them if you do not want them.")
    still, still_extra = missing(), missing_for_tests() if for_tests else []
    if still or still_extra:
        say(advice(still, still_extra))
    return not still and not still_extra


def _execute(command: list[str], say: Callable[[str], None]) -> int:
    """Exit code of the command, tried again for as long as another process holds one of apt's locks.

    apt's own DPkg::Lock::Timeout waits for dpkg's lock only, not for those of
    the lists and of the archives.
    """
    began, told = time.monotonic(), False
    while True:
        code, locked = _execute_once(command)
        if code == 0 or not locked:
            return code
        if time.monotonic() - began > PATIENCE_SECONDS:
            say(f"Another process still holds apt's lock after {PATIENCE_SECONDS / 60:.0f} minutes: {locked}")
            return code
        if not told:
            say(f"Another process is installing or upgrading packages; waiting for it: {locked}")
            told = True
        time.sleep(RETRY_SECONDS)


def _execute_once(command: list[str]) -> tuple[int, str]:
    """Exit code, and what apt said of a lock that another process holds ("" where none does)."""
    # Without LC_ALL apt would speak of the lock in the user's language.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    locked = ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if LOCKED in line:
                locked = line.removeprefix("E: ").strip()
            elif not locked:
                sys.stderr.write(line)
    return process.returncode, locked


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what is missing; exit code 0 when all is there, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.cli.demo.install", description=__doc__)
    parser.add_argument("--for-tests", action="store_true", help="also what only the tests need")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    options = parser.parse_args(arguments)
    if options.check:
        absent, extra = missing(), missing_for_tests() if options.for_tests else []
        if absent or extra:
            print(advice(absent, extra))
        return 1 if absent or extra else 0
    return 0 if install(for_tests=options.for_tests) else 1


if __name__ == "__main__":
    sys.exit(main())
