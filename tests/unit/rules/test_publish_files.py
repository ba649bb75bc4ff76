"""Generated files in a folder: back at once where a reload fails, and written by one replica at a time."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from pathlib import Path

import pytest

from rules.document import RuleFile
from rules.generate.slo import slo_file
from rules.publish import Publisher, write_atomically
from rules.publisher import Found
from sidecar.config.slo import SloConfig
from sidecar.durable import TEMPORARY
from sidecar.errors import PullError, PullReason, RuleError
from tests.unit.rules.bands import LoadingServer, golden


def publisher(folder: Path, server: LoadingServer) -> Publisher:
    return Publisher(folder, server, reload=True, verify_timeout_seconds=5.0)


def other(file: RuleFile) -> RuleFile:
    """The same group in another revision."""
    text = file.text.replace(file.revision, "other")
    return RuleFile(file.group, file.file_name, "other", text)


async def test_a_reload_that_is_refused_has_the_file_back_within_a_second(tmp_path: Path) -> None:
    server = LoadingServer(tmp_path)
    first = golden("flat")
    await publisher(tmp_path, server).publish(first)
    server.refuse_reload = "a neighbour's file is broken"
    began = time.monotonic()
    with pytest.raises(RuleError, match="reload refused"):
        await publisher(tmp_path, server).publish(other(first))
    assert time.monotonic() - began < 1.0
    assert (tmp_path / first.file_name).read_text() == first.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pronoia.lock", first.file_name]


async def test_of_two_replicas_one_writes_and_the_other_waits_its_turn(tmp_path: Path) -> None:
    first = golden("flat")
    server = LoadingServer(tmp_path)
    server.blind = True  # So that the one that writes waits for Prometheus with the lock in its hand.
    writing = asyncio.create_task(publisher(tmp_path, server).publish(first))
    while not (tmp_path / first.file_name).exists():
        await asyncio.sleep(0.01)
    with pytest.raises(RuleError, match="another pronoia") as caught:
        await publisher(tmp_path, server).publish(other(first))
    assert caught.value.reason == "conflict"
    assert (tmp_path / first.file_name).read_text() == first.text
    server.blind = False
    await writing
    await publisher(tmp_path, server).publish(other(first))
    assert (tmp_path / first.file_name).read_text() == other(first).text


async def test_a_bad_file_left_by_a_broken_roll_back_is_not_what_comes_back(tmp_path: Path) -> None:
    server, bad = LoadingServer(tmp_path), golden("flat")
    server.errors = {bad.group: "many-to-many matching not allowed"}
    (tmp_path / bad.file_name).write_text(bad.text)
    with pytest.raises(RuleError, match="many-to-many"):
        await publisher(tmp_path, server).publish(bad)
    assert not (tmp_path / bad.file_name).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_goes_on_being_its_owners(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("groups: []\n")
    os.chown(own, 1234, 4321)
    own.chmod(0o640)
    write_atomically(own, "groups: []  # written anew\n")
    there = own.stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 4321, 0o640)


@pytest.mark.parametrize(
    ("mode", "group_is_ours", "taken"),
    [
        pytest.param(0o644, False, True, id="all may read it"),
        pytest.param(0o640, True, True, id="our group may read it"),
        pytest.param(0o640, False, False, id="a group of others may read it"),
        pytest.param(0o600, True, False, id="its owner alone may read it"),
    ],
)
def test_a_file_that_prometheus_could_not_read_any_more_is_left_as_it_is(
    mode: int, group_is_ours: bool, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("groups: []\n")
    own.chmod(mode)
    theirs, real = (os.geteuid() + 1, os.getegid() + (not group_is_ours)), Path.stat

    def stat_of_theirs(path: Path, **how: bool) -> os.stat_result:
        found = list(real(path, **how))
        found[4:6] = theirs
        return os.stat_result(found)

    def refused(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "stat", stat_of_theirs)
    monkeypatch.setattr(os, "fchown", refused)
    if taken:
        write_atomically(own, "groups: []  # written anew\n")
    else:
        with pytest.raises(OSError, match="could not read it"):
            write_atomically(own, "groups: []  # written anew\n")
    assert ("written anew" in own.read_text()) is taken


async def test_a_reload_that_takes_longer_than_a_request_may_is_waited_for(tmp_path: Path) -> None:
    class Late(LoadingServer):
        async def reload(self) -> None:
            await super().reload()
            raise PullError(PullReason.TIMEOUT, "no answer within 10 s", retryable=True)

    first = golden("flat")
    await publisher(tmp_path, Late(tmp_path)).publish(first)
    assert (tmp_path / first.file_name).read_text() == first.text


async def test_a_group_that_others_of_the_file_go_by_must_be_healthy_as_well(tmp_path: Path) -> None:
    slo = slo_file(
        SloConfig(name="load", objective=0.99, errors="rate(bad[$window])", total="rate(all[$window])")
    )
    server = LoadingServer(tmp_path)
    server.errors = {"pronoia-slo-load-ratios": "many-to-many matching not allowed"}
    with pytest.raises(RuleError, match="many-to-many") as caught:
        await publisher(tmp_path, server).publish(slo)
    assert caught.value.reason == "unhealthy"
    assert not (tmp_path / slo.file_name).exists()
    assert await server.rules() == []  # Nor does the server go on with what it had loaded.


async def test_what_is_restored_is_what_the_server_goes_by(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    server, first = LoadingServer(folder), golden("flat")
    files = publisher(folder, server)
    await files.publish(first)
    loaded = await server.rules()
    await files.publish(other(first))
    assert await files.found(first.group, first.text) == Found.OTHER
    await files.restore(first.group, first.text)
    assert await files.found(first.group, first.text) == Found.SAME
    assert await server.rules() == loaded
    await files.restore(first.group, None)
    assert await files.found(first.group, first.text) == Found.ABSENT
    assert await server.rules() == []


async def test_a_file_that_cannot_be_read_is_left_as_it_is(tmp_path: Path) -> None:
    server, first = LoadingServer(tmp_path), golden("flat")
    files, odd = publisher(tmp_path, server), b"# caf\xe9\n"
    await files.publish(first)
    files.path(first.group).write_bytes(odd)
    with pytest.raises(RuleError, match="cannot be read"):
        await files.found(first.group, first.text)
    with pytest.raises(RuleError, match="cannot be read"):
        await files.publish(other(first))
    assert files.path(first.group).read_bytes() == odd


async def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    files, first = publisher(tmp_path, LoadingServer(tmp_path)), golden("flat")
    await files.publish(first)
    (tmp_path / f".{first.file_name}.77{TEMPORARY}").write_text("groups: [")
    await files.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pronoia.lock", first.file_name]
