"""What `pronoia doctor` finds in a Prometheus' settings: rules not loaded, scores not scraped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import yaml

from sidecar.cli.troubles import Trouble
from sidecar.config.model import Config

SYNTHETIC = "/synthetic"
WRITTEN = "pronoia-x.rules.yaml"
"""A name as those that pronoia writes."""


def examine_settings(config: Config, where: str, told: str, flags: Mapping[str, str]) -> Iterator[Trouble]:
    """What stands between pronoia and a Prometheus that runs by this configuration (YAML) and these flags."""
    try:
        settings = yaml.safe_load(told)
    except yaml.YAMLError:
        return
    if not isinstance(settings, dict):
        return
    if config.rules.directory is not None:
        yield from _rules(config.rules.directory, where, settings, flags)
    # One that reads another's series, as the chart's ruler does, scrapes nothing itself.
    if not settings.get("remote_read"):
        yield from _scrapes(where, settings)


def _rules(
    directory: object, where: str, settings: Mapping[str, Any], flags: Mapping[str, str]
) -> Iterator[Trouble]:
    if flags.get("web.enable-lifecycle") == "false":
        what = "does not load rules when it is asked to, so none that pronoia writes gets in place"
        yield Trouble("error", where, what, "start it with --web.enable-lifecycle")
    # Only names are compared: it may see the folder at another path, as in a pod of its own.
    names = [PurePosixPath(str(each)).name for each in settings.get("rule_files") or ()]
    if not any(fnmatchcase(WRITTEN, name) for name in names):
        what = f"none of its rule_files is for what pronoia writes into {directory}"
        yield Trouble("error", where, what, f"add {directory}/*.rules.yaml to its rule_files")


def _scrapes(where: str, settings: Mapping[str, Any]) -> Iterator[Trouble]:
    jobs = [
        job
        for job in settings.get("scrape_configs") or ()
        if str(job.get("metrics_path", "")).rstrip("/").endswith(SYNTHETIC)
    ]
    if not jobs:
        what = f"none of its jobs scrapes {SYNTHETIC}, so it has no scores and forecasts"
        yield Trouble("warning", where, what, "add the job that the README shows, with honor_labels: true")
    for job in jobs:
        if not job.get("honor_labels"):
            what = f"the job {job.get('job_name')} renames labels of {SYNTHETIC}: job becomes exported_job"
            yield Trouble("warning", where, what, "give that job honor_labels: true")
