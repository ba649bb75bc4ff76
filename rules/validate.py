"""Checks of a rule file before anything loads it: promtool, or the embedded parser where there is none."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from rules.document import as_yaml
from rules.read import read_text
from sidecar.errors import RuleError, RuleReason
from sidecar.promql.nesting import parse as parse_promql
from sidecar.promql.quoted import LEGAL_LABEL
from sidecar.promql.syntax import Syntax

TIMEOUT_SECONDS = 20.0

ONLY_PROMTOOL = "names in quotes are checked by the promtool of Prometheus 3 and by no older one"


async def check(text: str, *, promtool: str = "promtool") -> dict[str, str]:
    """What was checked of a rule file or of PrometheusRule objects and how it went, by tool.

    Raises: RuleError (check failed) with the tool's words.
    """
    text = as_rule_file(text)
    found = await asyncio.to_thread(shutil.which, promtool)
    if found is None:
        n_rules = parse(text)
        if quotes_names(text):
            raise RuleError(RuleReason.CHECK_FAILED, f"{promtool} is not on PATH, and {ONLY_PROMTOOL}")
        return {
            "parser": f"{n_rules} expressions parse",
            "promtool": f"{promtool} is not on PATH: templates and durations were not checked",
        }
    try:
        return {"promtool": await _promtool(found, text)}
    except RuleError as error:
        if error.reason != RuleReason.CHECK_FAILED.value or not quotes_names(text):
            raise
        raise RuleError(RuleReason.CHECK_FAILED, f"{error}; {ONLY_PROMTOOL}") from error


def as_rule_file(text: str) -> str:
    """The text of a rule file with the groups of PrometheusRule objects; a rule file's own text as it is.

    Raises: RuleError (check failed) for what is neither.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
        if not any("kind" in document for document in documents):
            return text
        objects = [item for document in documents for item in document.get("items", [document])]
        return as_yaml({"groups": [group for each in objects for group in each["spec"]["groups"]]})
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise RuleError(RuleReason.CHECK_FAILED, " ".join(str(error).split())[:500]) from error


def parse(text: str) -> int:
    """How many expressions the file holds, every one of them PromQL.

    Raises: RuleError (check failed).
    """
    try:
        groups = yaml.safe_load(text)["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        for rule in rules:
            parse_promql(rule["expr"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RuleError(RuleReason.CHECK_FAILED, " ".join(str(error).split())[:500]) from error
    return len(rules)


def quotes_names(text: str) -> bool:
    """Whether a rule file has names of metrics or labels that are in quotes, or would have to be."""
    try:
        return any(
            Syntax.parse(rule.expr).quotes_names or not all(map(LEGAL_LABEL.fullmatch, rule.labels))
            for rule in read_text(text)
        )
    except (RuleError, ValueError):
        return False  # Said by the check itself.


async def run_tests(text: str, tests: str, *, rule_file: str, promtool: str = "promtool") -> str:
    """The outcome of a rule file's own unit tests (`promtool test rules`), in words.

    Raises: RuleError (check failed) with promtool's words.
    """
    found = await asyncio.to_thread(shutil.which, promtool)
    if found is None:
        return f"{promtool} is not on PATH: not run"
    await _run(
        found, ["test", "rules", "own.test.yaml"], {rule_file: as_rule_file(text), "own.test.yaml": tests}
    )
    return "passed"


async def _promtool(program: str, text: str) -> str:
    words = await _run(program, ["check", "rules", "check.rules.yaml"], {"check.rules.yaml": text})
    return words.removeprefix("Checking").replace("check.rules.yaml", "").strip()[:200]


async def _run(program: str, arguments: list[str], files: Mapping[str, str]) -> str:
    """What promtool says of the files, in a folder of their own.

    Raises: RuleError where it objects, gives no answer, or there is no room for the files.
    """
    try:
        return await _in_a_folder(program, arguments, files)
    except OSError as error:
        words = f"promtool could not be run: {error}; is there room in {tempfile.gettempdir()}?"
        raise RuleError(RuleReason.NOT_WRITABLE, words) from error


async def _in_a_folder(program: str, arguments: list[str], files: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="pronoia-check-") as directory:
        for name, text in files.items():
            (Path(directory) / name).write_text(text, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise RuleError(
                RuleReason.CHECK_FAILED, f"promtool gave no answer in {TIMEOUT_SECONDS:g} s"
            ) from error
        words = " ".join(output.decode(errors="replace").split())
        if process.returncode != 0:
            raise RuleError(RuleReason.CHECK_FAILED, f"promtool: {words[:500]}")
        return words
