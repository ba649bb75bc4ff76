"""The demo's folder and files: only its own folder is emptied, and every file is right."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from sidecar.cli.demo.children import choose_port
from sidecar.cli.demo.courses import RELEASE
from sidecar.cli.demo.servers import MARK, FolderError, Ports, prepare_folder, write_files
from sidecar.config.load import load_file

PORTS = Ports(9090, 9093, 9469, 9480, 9100)


def test_a_folder_of_a_past_demo_is_emptied(tmp_path: Path) -> None:
    folder = prepare_folder(tmp_path / "demo")
    (folder / "tsdb" / "block").write_text("old")
    (folder / "old.txt").write_text("old")
    prepare_folder(tmp_path / "demo")
    assert list((folder / "tsdb").iterdir()) == []
    assert not (folder / "old.txt").exists()


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match="not empty and not a demo's"):
        prepare_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_folder(tmp_path / "demo")
    monkeypatch.setattr("sidecar.cli.demo.servers._is_demo", lambda pid: pid == os.getpid())
    with pytest.raises(FolderError, match="still runs"):
        prepare_folder(tmp_path / "demo")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        prepare_folder(tmp_path / "demo")
    assert not (tmp_path / MARK).exists()


def test_the_servers_take_their_files(tmp_path: Path) -> None:
    folder = prepare_folder(tmp_path / "demo")
    write_files(folder, PORTS, "promtool", 1_790_000_000.0)
    for command in (
        ["promtool", "check", "config", str(folder / "prometheus.yml")],
        ["promtool", "check", "rules", str(folder / "platform.rules.yaml")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    config = load_file(folder / "pronoia.yaml", env={})
    assert len(config.queries) >= 8
    assert any(query.rule for query in config.queries)
    (album,) = config.events
    assert album.start.timestamp() == 1_790_000_000.0 + RELEASE.begins_seconds
    assert album.duration == RELEASE.duration_seconds
    hook = yaml.safe_load((folder / "alertmanager.yml").read_text())["receivers"][0]["webhook_configs"][0]
    assert hook == {"url": "http://127.0.0.1:9469/webhooks/alertmanager", "send_resolved": True}


def test_a_taken_port_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port(port) != port
    assert choose_port(port) == port
