"""A Prometheus of one's own, for as long as a replay lasts: made history in, nothing kept."""

from __future__ import annotations

import asyncio
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.cli.demo.backfill import BackfillError
from sidecar.cli.demo.children import Child, choose_port, stop_all
from sidecar.cli.demo.install import advice, find_all, missing
from sidecar.cli.left_alone import in_thread
from sidecar.errors import SidecarError

ONE_BLOCK = "1458h"
"""promtool reads the whole text once for each block; few long blocks make that few readings."""

RETENTION = "100y"
"""Series of a past decade are not to be dropped."""


@asynccontextmanager
async def temporary_prometheus(
    pieces: Iterable[str], *, lookback_seconds: float = 300.0
) -> AsyncIterator[str]:
    """URL of a Prometheus that holds the samples, for as long as the block lasts.

    `pieces`: OpenMetrics text with timestamps. `lookback_seconds`: how long a sample is the newest.
    Raises: SidecarError where the programs are not installed or do not start.
    """
    import aiohttp

    programs = find_all()
    absent = [program for program in missing() if program.name in ("prometheus", "promtool")]
    if absent:
        raise SidecarError(advice(absent))
    with tempfile.TemporaryDirectory(prefix="pronoia-replay-") as name:
        folder = Path(name)
        await _write_blocks(pieces, folder, programs["promtool"])
        server = _server(folder, programs["prometheus"], lookback_seconds)
        server.start()
        try:
            async with aiohttp.ClientSession() as session:
                await server.wait_healthy(session)
            yield server.url
        finally:
            stop_all([server])


async def _write_blocks(pieces: Iterable[str], folder: Path, promtool: str) -> None:
    page = folder / "history.openmetrics"
    await in_thread(_write, pieces, page)
    command = (promtool, "tsdb", "create-blocks-from", f"--max-block-duration={ONE_BLOCK}", "--quiet",
               "openmetrics", str(page), str(folder / "tsdb"))  # fmt: skip
    program = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    try:
        said, _ = await program.communicate()
    finally:
        if program.returncode is None:  # Nobody waits for it any more.
            program.kill()
            await program.wait()
    page.unlink()
    if program.returncode != 0:
        raise BackfillError(f"promtool wrote no history: {said.decode(errors='replace').strip()[-300:]}")


def _write(pieces: Iterable[str], page: Path) -> None:
    with page.open("w", encoding="utf-8") as sink:
        sink.writelines(pieces)


def _server(folder: Path, program: str, lookback_seconds: float) -> Child:
    port = choose_port(0)
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1m}\n", encoding="ascii")
    argv = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--query.lookback-delta={round(lookback_seconds)}s",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    return Child("prometheus", argv, log=folder / "log", url=f"http://127.0.0.1:{port}", health="/-/ready")
