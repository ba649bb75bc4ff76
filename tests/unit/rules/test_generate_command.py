"""`pronoia rules generate`: what it writes, and what it says where there is nothing to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.app.rules import fixed_files
from sidecar.cli.main import main
from sidecar.config.model import Config

QUERIES = "queries: [{name: load, expr: node_load1}]\n"


def generate(tmp_path: Path, config: str, *arguments: str) -> Result:
    file = tmp_path / "pronoia.yaml"
    file.write_text(config)
    return CliRunner().invoke(main, ["rules", "generate", *arguments, "--config", str(file)])


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        pytest.param("", ("nosuch",), "there is no pack 'nosuch'", id="no such pack"),
        pytest.param("", ("slo",), "no objective is configured", id="no objective"),
        pytest.param("", ("--kind", "absence"), "no query is configured", id="no query"),
        pytest.param(QUERIES, ("--kind", "absence", "laod"), "no query is named laod", id="a name mistyped"),
        pytest.param(
            "",
            ("databases", "--without", "MysqlSlowQuery"),
            "no alert of these packs is named 'MysqlSlowQuery'; did you mean 'MysqlSlowQueries'?",
            id="an alert mistyped",
        ),
        pytest.param(
            "rules: {packs: [node], disabled_alerts: [MysqlSlowQueries]}",
            ("node",),
            "rules.disabled_alerts: no alert of these packs is named 'MysqlSlowQueries'; they have ",
            id="an alert of another pack",
        ),
    ],
)
def test_it_says_why_there_is_nothing_to_write(
    tmp_path: Path, config: str, arguments: tuple[str, ...], words: str
) -> None:
    done = generate(tmp_path, config, *arguments)
    assert done.exit_code == 2
    assert words in done.output


def test_files_are_whole_and_readable_by_prometheus(tmp_path: Path) -> None:
    done = generate(tmp_path, QUERIES, "node", "--out", str(tmp_path / "new" / "rules"))
    assert done.exit_code == 0, done.output
    written = [Path(line) for line in done.output.split()]
    assert [path.name for path in written] == ["pronoia-node.rules.yaml", "pronoia-node.test.yaml"]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o644}
    assert sorted(path.name for path in written[0].parent.iterdir()) == [path.name for path in written]


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        pytest.param("", ("--without", "MysqlSlowQueries"), id="by option"),
        pytest.param("rules: {packs: [databases], disabled_alerts: [MysqlSlowQueries]}", (), id="by key"),
    ],
)
def test_an_alert_of_a_pack_is_left_out_with_its_tests(
    tmp_path: Path, config: str, arguments: tuple[str, ...]
) -> None:
    done = generate(tmp_path, config, "databases", *arguments)
    assert done.exit_code == 0, done.output
    assert "Mysql" not in done.output
    assert done.output.count("RedisMemoryShort") == 3  # The alert, and two tests of it.


def test_check_config_tells_of_an_alert_that_no_pack_has(tmp_path: Path) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text("rules: {packs: [self], disabled_alerts: [PronoiaDwn]}")
    done = CliRunner().invoke(main, ["check-config", str(file)])
    assert done.exit_code == 1
    assert "did you mean 'PronoiaDown'?" in done.output


def test_the_sidecar_keeps_no_alert_that_is_disabled() -> None:
    packs: dict[str, object] = {"packs": ("databases", "self")}
    config = Config.model_validate({"rules": {**packs, "disabled_alerts": ("RedisMemoryShort",)}})
    databases, own = fixed_files(config)
    assert "RedisMemoryShort" not in databases.text
    assert own.text == fixed_files(Config.model_validate({"rules": packs}))[1].text


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = generate(tmp_path, QUERIES, "node", "--out", str(tmp_path / "taken" / "rules"))
    assert done.exit_code == 1
    assert "Not a directory" in done.output
