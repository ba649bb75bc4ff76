"""promtool's surroundings: what is told where it cannot be run."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from rules.validate import check
from sidecar.errors import RuleError, RuleReason

RULES = "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n"


async def test_without_room_for_its_files_the_fault_is_the_disk_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: str) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(RuleError, match=r"No space left on device; is there room in ") as caught:
        await check(RULES)
    assert caught.value.reason == RuleReason.NOT_WRITABLE
