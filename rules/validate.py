"""Checks of a rule file before anything loads it: promtool, or the embedded parser where there is none."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import promql_parser
import yaml

from sidecar.errors import RuleError, RuleReason

TIMEOUT_SECONDS = 20.0


async def check(text: str, *, promtool: str = "promtool") -> dict[str, str]:
    """What was checked and how it went, by tool.

    Raises: RuleError (check failed) with the tool's words.
    """
    found = await asyncio.to_thread(shutil.which, promtool)
    if found is None:
        n_rules = parse(text)
        return {
            "parser": f"{n_rules} expressions parse",
            "promtool": f"{promtool} is not on PATH: templates and durations were not checked",
        }
    return {"promtool": await _promtool(found, text)}


def parse(text: str) -> int:
    """How many expressions the file holds, every one of them PromQL.

    Raises: RuleError (check failed).
    """
    try:
        groups = yaml.safe_load(text)["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        for rule in rules:
            promql_parser.parse(rule["expr"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RuleError(RuleReason.CHECK_FAILED, " ".join(str(error).split())[:500]) from error
    return len(rules)


async def _promtool(program: str, text: str) -> str:
    with tempfile.TemporaryDirectory(prefix="pronoia-check-") as directory:
        file = Path(directory) / "check.rules.yaml"
        file.write_text(text, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            program,
            "check",
            "rules",
            str(file),
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
        words = " ".join(output.decode(errors="replace").replace(str(file), "").split())
        if process.returncode != 0:
            raise RuleError(RuleReason.CHECK_FAILED, f"promtool: {words[:500]}")
        return words.removeprefix("Checking").strip()[:200]
