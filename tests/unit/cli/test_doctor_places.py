"""`pronoia doctor` meets stated files and folders as the process would."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.cli.doctor_places import examine_places
from sidecar.config.load import load_text
from sidecar.store.connection import FILE
from sidecar.store.maintenance import migrate
from sidecar.store.schema import LATEST


def found(text: str) -> list[str]:
    return [f"{one.level} {one.where}: {one.what}" for one in examine_places(load_text(text))]


def test_nothing_is_wrong_with_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert found("") == []


def test_files_that_are_not_there_are_named_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    text = f"""
store: {{directory: {tmp_path}/data}}
prometheus: {{http: {{bearer_token_file: {tmp_path}/there}}}}
alertmanagers:
- {{url: "http://a", http: {{basic_auth: {{username: b, password_file: {tmp_path}/gone}}}}}}
webhook: {{auth: {{bearer_token_file: {tmp_path}/away}}}}
"""
    assert sorted(found(text)) == [
        f"error alertmanagers[0].http.basic_auth.password_file: {tmp_path}/gone is not there",
        f"error webhook.auth.bearer_token_file: {tmp_path}/away is not there",
    ]


def test_folders_that_cannot_be_written_and_a_missing_promtool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.access
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and allowed(path, mode))
    text = f"""
store: {{directory: {closed}/data}}
rules: {{directory: {tmp_path}/rules, promtool: {tmp_path}/no-promtool}}
"""
    assert found(text) == [
        f"error store.directory: {closed}/data cannot be written by this user",
        f"warning rules.promtool: {tmp_path}/no-promtool is not on PATH, "
        "so templates and durations of rules are not checked",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"no database" * 100, "file is not a database", id="another file"),
        pytest.param(None, "pronoia.db: ", id="a folder"),
    ],
)
def test_a_database_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is None:
        (tmp_path / FILE).mkdir()
    else:
        (tmp_path / FILE).write_bytes(content)
    (fault,) = found(f"store: {{directory: {tmp_path}}}")
    assert fault.startswith("error store: ")
    assert words in fault


def test_a_database_of_a_newer_pronoia(tmp_path: Path) -> None:
    migrate(tmp_path / FILE)
    assert found(f"store: {{directory: {tmp_path}}}") == []
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute(f"pragma user_version = {LATEST + 1}")
    (fault,) = found(f"store: {{directory: {tmp_path}}}")
    assert fault.endswith(f"has schema version {LATEST + 1}, this pronoia knows {LATEST}")
