"""`pronoia models`: what is not there is said in its own words, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration of one query, and its folder of models, which is empty."""
    (tmp_path / "models").mkdir()
    config = tmp_path / "pronoia.yaml"
    config.write_text(f"store: {{directory: '{tmp_path}'}}\nqueries: [{{name: load, expr: node_load1}}]\n")
    return config


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validate",), "no models of a configured query in "),
        (("retrain", "load"), "no models of load in "),
        (("contest", "load"), "load has no challenger; pronoia models retrain load learns one"),
        (("promote", "load"), "load has no challenger; pronoia models retrain load learns one"),
        (("promote", "load", "--force"), "load has no challenger; pronoia models retrain load learns one"),
        (("compare", "load"), "load has no challenger; pronoia models retrain load learns one"),
    ],
)
def test_a_model_that_is_not_there(configured: Path, arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(main, ["models", *arguments, "--config", str(configured)])
    assert result.exit_code == 1
    assert words in result.output


def test_a_challenger_that_nobody_has_tried_yet_is_not_asked_for_again(configured: Path) -> None:
    (configured.parent / "models" / "load.challenger.version").touch()
    result = CliRunner().invoke(main, ["models", "compare", "load", "--config", str(configured)])
    assert result.exit_code == 1
    assert "a running pronoia puts it on trial at its next step" in result.output
    assert "retrain" not in result.output
