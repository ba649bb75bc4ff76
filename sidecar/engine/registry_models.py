"""Saved models as versions: what each learnt from, whether it may be used, which of two is better."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.durable import UNREADABLE, why_unreadable
from sidecar.engine.model import QueryModel
from sidecar.engine.pieces import PIECE_POINTS, fit
from sidecar.engine.protocols import WorksBeside
from sidecar.engine.snapshot import load, save
from sidecar.errors import ModelError
from sidecar.series import SeriesBatch

KEPT_VERSIONS = 5
LEAST_POINTS = 500
"""Fewer points seen after the fit decide nothing."""

BETTER_ERROR = 0.98
"""A challenger must err by so much less; the rest is luck."""

MEMBERS_SECONDS = 20.0
"""So long what a challenger's detector has put aside is learnt before it is saved; the rest comes live."""

MOST_ALARMS = 1.1
"""And may not flag more than so many times what the champion flags, one point being allowed always."""


@dataclass(frozen=True)
class Lineage:
    """Where a saved model comes from; times int64 ms."""

    path: Path
    query: str
    role: str
    """live, challenger, champion at the fit, next (from the next start or reload on), or v1, v2, …"""
    detector: str
    meaning: str
    """Hash of the configuration that the state depends on."""
    libraries: dict[str, str]
    pronoia: str
    """The version that saved it."""
    n_series: int
    n_points: int
    learnt_from_ms: int | None
    learnt_until_ms: int | None
    bytes: int


class ModelFiles:
    """The files of one folder of models, by query and role."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def live(self, query: str) -> Path:
        """What the running sidecar saves and restores."""
        return self.directory / f"{query}.model"

    def of_role(self, query: str, role: str) -> Path:
        """The file of another role: `challenger`, `fit` (the champion at that time), `next`, `v3`."""
        return self.directory / f"{query}.{role}.version"

    def trial(self, query: str) -> Path:
        """How champion and challenger have done beside each other, live."""
        return self.directory / f"{query}.trial"

    def versions(self, query: str) -> list[Path]:
        """What was live before, the newest last."""
        found = []
        for path in self.directory.glob(f"{query}.v*.version"):
            match = re.fullmatch(r"v(\d+)", path.name.removeprefix(f"{query}.").removesuffix(".version"))
            if match:
                found.append((int(match[1]), path))
        return [path for _, path in sorted(found)]

    def everything(self) -> list[Lineage]:
        """Every file's lineage; damaged ones are left out."""
        found = []
        for path in sorted((*self.directory.glob("*.model"), *self.directory.glob("*.version"))):
            try:
                found.append(lineage(path))
            except ModelError:
                continue
        return found

    def put_next(self, query: str, source: Path) -> None:
        """Let this file be the model from the next start or reload on."""
        target = self.of_role(query, "next")
        shutil.copyfile(source, target.with_suffix(".tmp"))
        target.with_suffix(".tmp").replace(target)

    def promote(self, query: str) -> None:
        """Let the challenger be the model from the next start or reload on; it is on trial no longer.

        Raises: FileNotFoundError where there is none.
        """
        self.of_role(query, "challenger").replace(self.of_role(query, "next"))

    def take_next(self, query: str) -> bool:
        """Put what waits in place of the live model, which becomes a version; False where nothing waits."""
        waiting = self.of_role(query, "next")
        if not waiting.exists():
            return False
        versions = self.versions(query)
        if self.live(query).exists():
            last = re.search(r"\.v(\d+)\.", versions[-1].name) if versions else None
            number = int(last[1]) + 1 if last else 1
            self.live(query).replace(self.of_role(query, f"v{number}"))
            versions = self.versions(query)
        waiting.replace(self.live(query))
        for old in versions[:-KEPT_VERSIONS]:
            old.unlink()
        return True


def lineage(path: Path) -> Lineage:
    """Where the model in this file comes from, without loading its state.

    Raises: ModelError where it is no saved model.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            header: dict[str, Any] = msgspec.json.decode(file["header"].tobytes())
            n_points = int(file["seen_points"].sum())
        name = path.name.removeprefix(header["query"] + ".")
        role = {"model": "live", "fit.version": "champion at the fit"}.get(
            name, name.removesuffix(".version")
        )
        return Lineage(
            path=path,
            query=header["query"],
            role=role,
            detector=header["detector"],
            meaning=header["meaning"],
            libraries=header["libraries"],
            pronoia=header.get("pronoia", "unknown"),
            n_series=len(header["labels"]),
            n_points=n_points,
            learnt_from_ms=header.get("first_timestamp_ms"),
            learnt_until_ms=header["last_timestamp_ms"],
            bytes=path.stat().st_size,
        )
    except (*UNREADABLE, TypeError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a saved model: {why_unreadable(error)}") from error


def refusal(path: Path, query: QueryConfig) -> str | None:
    """Why the file cannot be used for the query as it is configured; None where it can."""
    try:
        load(path, query)
    except ModelError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Standing:
    """How a model did on points that were new to it."""

    n_points: int
    mean_error: float
    """Mean distance from the expected, in units of the series' own mean change from point to point."""
    flagged: int
    outside: float
    """Share of points outside the band."""


def contest(
    champion: Path, challenger: Path, query: QueryConfig, seen_after: SeriesBatch
) -> dict[str, Standing]:
    """Both models judge, side by side, what came after both were fitted.

    Raises: ModelError where a file cannot be used, or was fitted on what it is asked to judge.
    """
    found = {}
    for role, path in (("champion", champion), ("challenger", challenger)):
        model = load(path, query)
        last = model.last_timestamp_ms
        if last is not None and seen_after.n_steps and int(seen_after.timestamps[0]) <= last:
            raise ModelError(f"{path}: has seen the data that it is to be judged on")
        found[role] = _standing(model, seen_after)
    return found


def _standing(model: QueryModel, batch: SeriesBatch) -> Standing:
    if batch.n_steps < 2:  # One point has no change from the one before.
        return Standing(0, float("nan"), 0, float("nan"))
    aligned, band, score = model.score(batch)
    with np.errstate(invalid="ignore", divide="ignore"):
        moves = np.abs(np.diff(aligned.values, axis=1))
        moved = np.isfinite(moves)  # Of a series that went away since there are none.
        change = np.where(moved, moves, 0.0).sum(axis=1, keepdims=True) / np.maximum(
            moved.sum(axis=1, keepdims=True), 1
        )
        error = np.abs(aligned.values - band.yhat) / np.where(change > 0, change, np.nan)
        outside = (aligned.values < band.lower) | (aligned.values > band.upper)
        known = np.isfinite(score.anomaly_score) & np.isfinite(error)
        flagged = known & (score.anomaly_score > 1)
    n = int(known.sum())
    return Standing(
        n,
        float(np.clip(error[known], 0.0, 100.0).mean()) if n else float("nan"),
        int(flagged.sum()),
        float(outside[known].mean()) if n else float("nan"),
    )


def verdict(standings: dict[str, Standing]) -> tuple[bool, str]:
    """Whether the challenger may take the champion's place, and why."""
    old, new = standings["champion"], standings["challenger"]
    if min(old.n_points, new.n_points) < LEAST_POINTS:
        return False, f"{new.n_points} points were seen since the fit, {LEAST_POINTS} are needed"
    ratio = new.mean_error / old.mean_error if old.mean_error else float("inf")
    if not ratio <= BETTER_ERROR:  # NaN, where nothing was said, is not better.
        return False, f"it errs {ratio:.3f} times as much; {BETTER_ERROR} or less is better"
    if new.flagged > max(MOST_ALARMS * old.flagged, old.flagged + 1):
        return False, f"it flags {new.flagged} points where the champion flags {old.flagged}"
    return True, f"it errs {ratio:.3f} times as much and flags {new.flagged} points instead of {old.flagged}"


def train(
    query: QueryConfig,
    history: SeriesBatch,
    files: ModelFiles,
    dress: Callable[[QueryModel], None] = lambda _: None,
    *,
    points: int = PIECE_POINTS,
) -> None:
    """Fit a challenger on history, and keep the champion as it was at that moment.

    `dress`: tells a model what the configuration knows around its series. `points`: so many at a time.

    Raises: ModelError where there is no champion to challenge; OSError.
    """
    live = files.live(query.name)
    champion = load(live, query)
    until = champion.last_timestamp_ms or 0
    n_known = int(np.searchsorted(history.timestamps, until, side="right"))
    part = SeriesBatch(
        history.query, history.labels, history.timestamps[:n_known], history.values[:, :n_known]
    )
    challenger = QueryModel(query)
    dress(challenger)
    fit(challenger, part, points=points)
    if challenger.last_timestamp_ms is None:
        raise ModelError(f"{query.name}: there is no history up to the champion's last step")
    if isinstance(challenger.detector, WorksBeside):
        challenger.detector.work(MEMBERS_SECONDS)
    save(challenger, files.of_role(query.name, "challenger"))
    save(champion, files.of_role(query.name, "fit"))
