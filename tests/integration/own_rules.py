"""A Prometheus with ten days of history, rules of people's own in it, and the command line beside it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from click.testing import CliRunner, Result

from sidecar.cli.main import main
from tests.integration.servers import Prometheus, binary, get_json, wait_until

OWN = """# What the team agreed on in spring.
groups:
  - name: own
    rules:
      - alert: LoadHigh
        expr: load > 10.5  # a guess
        labels: {severity: warning, team: a}
      - alert: Untouched
        expr: load > 10.5
        labels: {severity: info, pronoia: ignore}
"""
DAYS = 10


class Own:
    """The server, its one rule file, and incidents that are known: a bad hour, and one that goes on now.

    `end`: when its history was written, in seconds; what is planned and what is applied go by the same days.
    """

    def __init__(self, server: Prometheus, folder: Path, incidents: Path, end: int) -> None:
        self.server, self.folder, self.incidents, self.end = server, folder, incidents, end
        self.file = server.rules / "own.yaml"

    def run(self, *arguments: str, history: bool = False) -> Result:
        where = ["--prometheus", self.server.url, "--data", str(self.folder / "data")]
        if history:
            where += ["--rules", str(self.file), "--incidents", str(self.incidents), "--start", f"{DAYS}d"]
            where += ["--end", str(self.end)]
        return CliRunner().invoke(main, ["rules", *arguments, *where], catch_exceptions=False)

    def active_since(self) -> str | None:
        alerts = get_json(self.server.url + "/api/v1/alerts")["data"]["alerts"]
        firing = [a for a in alerts if a["labels"]["alertname"] == "LoadHigh" and a["state"] == "firing"]
        return firing[0]["activeAt"] if firing else None


def make_own(tmp_path: Path, keep: Callable[..., Any], text: str = OWN) -> Own:
    """Started, with the rules loaded and LoadHigh firing."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    end = int(time.time()) // 60 * 60
    times = np.arange(end - DAYS * 86_400, end + 1, 60)
    values = 10 + np.random.default_rng(5).normal(0, 0.4, times.size)
    values[6000:6030] = 40.0
    values[-2:] = 40.0  # It fires now, too.
    lines = [
        f'load{{service="a"}} {value:.4g} {at}' for value, at in zip(values, times.tolist(), strict=True)
    ]
    page = tmp_path / "history.om"
    page.write_text("# TYPE load gauge\n" + "\n".join(lines) + "\n# EOF\n")
    one_block = ["--max-block-duration=1458h", "--quiet"]
    subprocess.run(
        [binary("promtool"), "tsdb", "create-blocks-from", *one_block, "openmetrics", page, server.data],
        check=True,
    )
    windows = [
        {"name": "the bad hour", "start": int(times[6000]), "end": int(times[6030]), "alerts": ["LoadHigh"]},
        {"name": "now", "start": int(times[-2]), "end": int(times[-2]) + 3600},
    ]
    incidents = tmp_path / "incidents.yaml"
    incidents.write_text(yaml.safe_dump(windows))
    (server.rules / "own.yaml").write_text(text)
    server.start()
    found = Own(server, tmp_path, incidents, end)
    wait_until(found.active_since, what="the alert fires")
    return found
