"""What a killed process left half-written is removed, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.store.leftovers import remove_leftovers


def test_half_written_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    dead = [models / ".http.model.4194305.tmp", tmp_path / f".timeline-waiting.json.{os.getpid()}.tmp"]
    kept = [
        models / f".http.model.{os.getppid()}.tmp",  # Its writer is at work.
        models / ".of-somebody-else.tmp",
        models / "a.4194305.tmp.model",
        models / "http.model",
    ]
    for file in (*dead, *kept):
        file.write_bytes(b"12345")
    assert remove_leftovers(tmp_path) == 10
    assert sorted(tmp_path.rglob("*.*")) == sorted(kept)


def test_what_cannot_be_removed_does_not_hold_up_a_start(tmp_path: Path) -> None:
    (tmp_path / ".a.4194305.tmp").mkdir()
    assert remove_leftovers(tmp_path) == 0
    assert remove_leftovers(tmp_path / "absent") == 0
