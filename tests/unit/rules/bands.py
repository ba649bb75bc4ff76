"""Learned bands made by hand, and a server that loads what it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from rules.document import RuleFile, render
from rules.learn import learn
from sidecar.config.model import QueryConfig, RulesConfig
from sidecar.errors import PullError, PullReason
from sidecar.prometheus.answers import Rule
from sidecar.series import FloatArray, LabelSet, LearnedBand

QUERY = QueryConfig(name="error_ratio", expr="error_ratio", step=60, direction="above", rule_for=0)
CONFIG = RulesConfig(directory=Path("/nowhere"), min_history=3600, evaluation_interval=60, margin=1.0)


def band(
    centre: FloatArray, half_width: float | FloatArray, labels: list[dict[str, str]], n_samples: int = 20_000
) -> LearnedBand:
    """A band of that half-width around a centre of shape (N, 168)."""
    return LearnedBand(
        "error_ratio",
        "error_ratio",
        tuple(LabelSet(label) for label in labels),
        centre,
        centre - half_width,
        centre + half_width,
        np.full(len(labels), n_samples),
    )


def hours(kind: str) -> FloatArray:
    """Centres by hour of week, shape (168,)."""
    hour = np.arange(168)
    if kind == "flat":
        return np.full(168, 10.0)
    if kind == "daily":
        return 10 + 5 * np.sin(2 * np.pi * (hour % 24) / 24)
    return 10 + 5 * np.sin(2 * np.pi * (hour % 24) / 24) + 4.0 * (hour // 24 == 0)


def golden(kind: str) -> RuleFile:
    """The rule file of one series with that kind of week."""
    query = QUERY.model_copy(update={"name": f"golden_{kind}", "expr": "error_ratio"})
    learned = band(hours(kind)[None, :], 1.0, [{"__name__": "error_ratio", "service": "cdn"}])
    return render(learn(learned, query, CONFIG), CONFIG)


class LoadingServer:
    """Loads every rule file of a directory on reload, as Prometheus would; faults on demand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refuse_reload: str | None = None
        self.blind = False
        self.errors: dict[str, str] = {}
        self.n_reloads = 0
        self._loaded: list[Rule] = []

    async def reload(self) -> None:
        self.n_reloads += 1
        if self.refuse_reload:
            raise PullError(PullReason.SERVER_ERROR, self.refuse_reload)
        self._loaded = []
        for file in sorted(self.directory.glob("*.rules.yaml")):
            for group in yaml.safe_load(file.read_text())["groups"]:
                for rule in group["rules"]:
                    self._loaded.append(self._rule(rule, group["name"], str(file)))

    async def rules(self) -> list[Rule]:
        return [] if self.blind else list(self._loaded)

    def _rule(self, rule: dict[str, object], group: str, file: str) -> Rule:
        name = str(rule.get("alert") or rule.get("record"))
        annotations, labels = rule.get("annotations") or {}, rule.get("labels") or {}
        assert isinstance(annotations, dict)
        assert isinstance(labels, dict)
        return Rule(
            name=name,
            expr=str(rule["expr"]),
            kind="alerting" if "alert" in rule else "recording",
            group=group,
            file=file,
            health="err" if group in self.errors else "ok",
            last_error=self.errors.get(group, ""),
            state="inactive",
            duration_seconds=0,
            labels={str(k): str(v) for k, v in labels.items()},
            annotations={str(k): str(v) for k, v in annotations.items()},
        )
