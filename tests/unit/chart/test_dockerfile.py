"""The Dockerfile, read: stages, user, health check. No container engine is asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.chart.helm_chart import ROOT

Instruction = tuple[str, str]


def parse(path: Path) -> list[Instruction]:
    """The instructions in order; comments dropped, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
    ]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return parse(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    last = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[last:]


def test_build_tools_stay_in_the_build_stage(
    instructions: list[Instruction], last_stage: list[Instruction]
) -> None:
    stages = [rest for word, rest in instructions if word == "FROM"]
    assert len(stages) == 3
    # The final stage runs nothing: it only receives.
    assert [word for word, _ in last_stage if word == "RUN"] == []


def test_images_are_arguments_with_pinned_tags(instructions: list[Instruction]) -> None:
    arguments = dict(rest.split("=", 1) for word, rest in instructions if word == "ARG")
    for name in ("PYTHON", "PROMETHEUS"):
        assert re.search(r":v?\d+\.\d+", arguments[name]), arguments[name]
    for word, rest in instructions:
        if word == "FROM":
            assert rest.split()[0] in ("${PYTHON}", "${PROMETHEUS}")


def test_runs_as_the_charts_user(last_stage: list[Instruction]) -> None:
    assert [rest for word, rest in last_stage if word == "USER"] == ["10001:10001"]
    words = [word for word, _ in last_stage]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "COPY")


def test_health_check_and_commands_need_no_shell(last_stage: list[Instruction]) -> None:
    found = dict(last_stage)
    _, _, command = found["HEALTHCHECK"].partition("CMD ")
    argv = json.loads(command)
    assert argv[:2] == ["python", "-c"]
    compile(argv[2], "HEALTHCHECK", "exec")
    assert "/-/healthy" in argv[2]
    assert json.loads(found["ENTRYPOINT"]) == ["pronoia"]
    assert json.loads(found["CMD"]) == ["run", "--data", "/var/lib/pronoia"]


def test_what_is_copied_exists_and_is_not_ignored(instructions: list[Instruction]) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == kept
    for name in copied:
        assert (ROOT / name).exists()
