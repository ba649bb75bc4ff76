"""History of the platform as TSDB blocks, written before Prometheus starts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from sidecar.cli.demo.platform import DAY, MINUTE, Platform, sample_name
from sidecar.errors import SidecarError

HISTORY_DAYS = 14.2  # A little more than two weeks, so that a two-week look-back meets no edge.

BLOCK = "162h"
"""promtool reads the whole text once for each block; few long blocks make that few readings."""


PATIENCE_SECONDS = 0.2
"""So often somebody is asked whether promtool is still waited for."""


class BackfillError(SidecarError):
    """The history did not become blocks."""

    reason = "backfill"


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was written, and how long it took."""

    n_series: int
    n_samples: int
    elapsed_seconds: float
    end_seconds: float


def write_history(
    platform: Platform,
    *,
    directory: Path,
    tsdb: Path,
    promtool: str,
    days: float = HISTORY_DAYS,
    scraped: str = "",
    given_up: Callable[[], bool] = lambda: False,
) -> Backfill:
    """Write `days` of one-minute history that ends now into the TSDB directory `tsdb`.

    `scraped`: labels of the target that Prometheus will scrape, whose `up` it would have written.

    The text (some 80 MB) lies in `directory` meanwhile. Prometheus then takes
    live samples from the last block's end on, so there is no overlap, and the
    hole is only as long as this and the start take: some seconds.

    `given_up` is asked all the while, for a thread cannot be stopped from outside.

    Raises: BackfillError with promtool's words, or where it was given up.
    """
    began = time.monotonic()
    end = np.floor(time.time())
    times = np.arange(end - np.floor(days * DAY / MINUTE) * MINUTE, end + 1, MINUTE)
    values = platform.values(times)
    page = directory / "history.openmetrics"
    n_series = int(np.isfinite(values).any(axis=1).sum())
    try:
        with page.open("w", encoding="ascii") as sink:
            for piece in chain(_up(scraped, times, values), openmetrics(platform, times, values)):
                if given_up():
                    raise BackfillError("the history was given up")
                sink.write(piece)
        _make_blocks(promtool, page, tsdb, given_up)
    finally:
        page.unlink(missing_ok=True)
    return Backfill(n_series, int(np.isfinite(values).sum()), time.monotonic() - began, float(end))


def _make_blocks(promtool: str, page: Path, tsdb: Path, given_up: Callable[[], bool]) -> None:
    """Have promtool turn the text into blocks. Raises: BackfillError."""
    command = [promtool, "tsdb", "create-blocks-from", f"--max-block-duration={BLOCK}", "--quiet",
               "openmetrics", str(page), str(tsdb)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                told, complaints = process.communicate(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                if given_up():
                    process.kill()
                    raise BackfillError("the history was given up") from None
            else:
                break
    if process.returncode != 0:
        words = (complaints or told).strip().splitlines()
        raise BackfillError(f"promtool wrote no history: {words[-1] if words else process.returncode}")


def _up(scraped: str, times: np.ndarray, values: np.ndarray) -> Iterator[str]:
    """What each scrape leaves of itself; nothing of the time in which nothing was scraped."""
    if scraped:
        stamps = times[np.isfinite(values).any(axis=0)].astype(np.int64)
        yield "# TYPE up gauge\n" + "".join([f"up{{{scraped}}} 1 {stamp}\n" for stamp in stamps.tolist()])


def openmetrics(platform: Platform, times: np.ndarray, values: np.ndarray) -> Iterator[str]:
    """The samples as OpenMetrics text with timestamps, in pieces of one series.

    >>> from sidecar.cli.demo.platform import Platform
    >>> pieces = openmetrics(Platform(0.0), np.array([-60.0]), Platform(0.0).values(np.array([-60.0])))
    >>> list(pieces)[-1]
    '# EOF\\n'
    """
    stamps = times.astype(np.int64).tolist()
    order = sorted(range(len(platform.tracks)), key=lambda n: platform.tracks[n].family.name)
    for family, rows in groupby(order, key=lambda n: platform.tracks[n].family):
        # In OpenMetrics a counter's family is named without the suffix of its samples.
        yield f"# TYPE {family.name.removesuffix('_total')} {family.type}\n"
        for n in rows:
            name = sample_name(platform.tracks[n])
            pattern = f"{name} %d %d\n" if platform.tracks[n].counter else f"{name} %.6g %d\n"
            row = values[n]
            seen = np.isfinite(row)
            pairs = zip(row[seen].tolist(), (stamps[i] for i in np.flatnonzero(seen)), strict=True)
            yield "".join([pattern % pair for pair in pairs])
    yield "# EOF\n"
