"""The examples of the page on response are configurations that load, and templates that render."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cli.incident_actions import ACTIONS as COMMANDS
from sidecar.config.load import load_text
from tests.unit.webhooks.respond.incidents import incident
from webhooks.notify.message import document
from webhooks.notify.template import render
from webhooks.respond.lifecycle import ACTIONS

PAGE = (Path(__file__).parents[4] / "docs" / "response.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ENVIRONMENT = {"TELEGRAM_URL": "tgram://token/chat", "SHOP_CHAT_URL": "https://chat.example/hook"}


def named(document: dict[str, Any]) -> set[str]:
    """Targets that people and teams of an example name."""
    steps = [step for team in document.get("teams", []) for step in team["steps"]]
    return {name for one in (*document.get("people", []), *steps) for name in one.get("targets", [])}


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("block", BLOCKS)
def test_an_example_loads_and_its_templates_render(block: str) -> None:
    example = yaml.safe_load(block)
    targets = [{"name": name, "url": "http://x"} for name in sorted(named(example))]
    if targets:
        example["notify"] = {"targets": targets}
    config = load_text(yaml.safe_dump(example), env=ENVIRONMENT)
    message = document("opened", incident(shared_labels={"alertname": "A"}), key="k")
    for target in config.notify.targets:
        for template in (target.template.title, target.template.text):
            assert template is None or render(template, message)


def test_every_action_has_a_command_and_stands_on_the_page() -> None:
    reached = {action for action, *_ in COMMANDS.values()}
    assert set(ACTIONS) <= reached
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", PAGE), command
