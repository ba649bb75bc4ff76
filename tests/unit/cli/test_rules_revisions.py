"""`pronoia rules log|show|reject` and the like: what they say where there is nothing, or not one alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import rules_revisions
from sidecar.cli.main import main
from sidecar.cli.stored import with_store
from sidecar.config.model import Config
from sidecar.records import RuleRevision
from sidecar.store.sqlite import SqliteStore


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["rules", *arguments, "--data", str(data)])


def revision(content_hash: str, state: str, *alerts: str) -> RuleRevision:
    return RuleRevision(
        revision_id=f"id-{content_hash}",
        group="file:/rules/own.yaml",
        created_at_ns=1,
        content="groups: []",
        content_hash=content_hash,
        evidence={"rules": [{"name": alert} for alert in alerts], "approver": "ada"} if alerts else {},
        checks={},
        state=state,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def fill(store: SqliteStore) -> None:
        await store.put_revision(revision("abc1", "proposed"), revision("abd2", "live", *"ABCD"))

    with_store(Config.model_validate({"store": {"directory": str(tmp_path)}}), fill, make=True)
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [("log",), ("list",), ("show", "a"), ("diff", "a"), ("drift",), ("rollback", "a")]
)
def test_where_there_is_no_database_none_is_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments)
    assert done.exit_code == 2
    assert f"no database at {tmp_path}" in done.output
    assert not list(tmp_path.iterdir())


def test_a_log_says_that_there_are_older_ones(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "older" not in run(data, "log").output
    monkeypatch.setattr(rules_revisions, "SHOWN", 1)
    done = run(data, "log")
    assert len(done.stdout.splitlines()) == 1
    assert "the newest 1; there are older ones" in done.stderr


def test_only_what_waits_is_refused(data: Path) -> None:
    done = run(data, "reject", "abd")
    assert done.exit_code == 1
    assert "abd2 is live and does not wait" in done.output
    assert run(data, "reject", "abc").exit_code == 0
    assert run(data, "reject", "abc").exit_code == 1, "it is refused already"


@pytest.mark.parametrize("command", ["show", "diff", "approve", "reject"])
def test_a_beginning_of_several_names_none(data: Path, command: str) -> None:
    done = run(data, command, "ab")
    assert done.exit_code == 1
    assert "'ab' begins " in done.output
    assert "abc1" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("--state", "canary"), 0, "no revision is canary", id="none of the state"),
        pytest.param(("--group", "pronoia-x"), 0, "no revision of pronoia-x\n", id="none of the group"),
        pytest.param(("--state", "waiting"), 2, "'proposed'", id="no state"),
        pytest.param(("--state", "live"), 0, "abd2  A, B, C and 1 more  by ada\n", id="one"),
    ],
)
def test_a_log_of_nothing_says_of_what(data: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(data, "log", *arguments)
    assert done.exit_code == code
    assert words in done.output


def test_a_place_s_name_is_asked_for_in_full_and_said(data: Path) -> None:
    done = run(data, "rollback", "own.yaml")
    assert done.exit_code == 1
    assert "did you mean file:/rules/own.yaml?" in done.output
