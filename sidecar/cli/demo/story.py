"""The demo's story: what was observed, told once each, with where to see it for oneself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sidecar.cli.demo.platform import FAILING_EDGE

WIDTH = 110
DISK_RULE = "DiskAlmostFull"
BEATS = (
    *("history", "up", "learned", "scored", "ahead", "rule"),
    *("injected", "anomaly", "fires", "delivered", "incident", "resolved"),
)
"""The story's beats in the order in which they usually come; each is told at most once."""

COMPLETE_EPISODES = 3
"""An incident of so many alerts has reached from the edge to the upstream."""

PATIENCE_SECONDS = 60.0
"""After so long an incident is told as it is, though it may still grow."""


EVENT_PATIENCE_SECONDS = 3.0
"""An event that does not come so long after its effect was seen is taken for missed."""


class Page(Protocol):
    """Where the story is printed."""

    def beat(self, elapsed_seconds: float, text: str, see: str) -> None:
        """Two lines: what happened, and where to see it."""
        ...


@dataclass(frozen=True, slots=True)
class Places:
    """URLs of the demo's servers and the folder of generated rules."""

    prometheus: str
    alertmanager: str
    pronoia: str
    platform: str
    rules: Path


class Story:
    """Takes observations in any order and tells each beat when it is first seen to be true."""

    def __init__(
        self, page: Page, places: Places, *, n_queries: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._page, self._places, self._n_queries, self._now = page, places, n_queries, now
        self._began = now()
        self.told: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._ready_at: float | None = None
        self._fitted: dict[str, Mapping[str, Any]] = {}
        self._published: str | None = None
        self._checked = ""
        self._incident: str | None = None
        self._opened_at = 0.0

    @property
    def complete(self) -> bool:
        """True once the incident is resolved: there is nothing more to tell."""
        return "resolved" in self.told

    async def reached(self, beat: str) -> None:
        """Return once the beat is told."""
        if beat not in self.told:
            await self._waiting.setdefault(beat, asyncio.Event()).wait()

    def tell(self, beat: str, text: str, see: str) -> None:
        """Tell a beat, unless it was told."""
        if beat not in self.told:
            self.told[beat] = self._now() - self._began
            self._page.beat(self.told[beat], text, see)
            if beat in self._waiting:
                self._waiting[beat].set()

    def backfilled(self, n_series: int, n_samples: int, days: float, seconds: float) -> None:
        """Blocks were written and Prometheus serves them."""
        see = f"{self._places.prometheus}/graph?g0.expr=stream_sessions_active&g0.range_input=2w&g0.tab=0"
        what = f"{n_series} series of a music-streaming platform, {days:.0f} days, {n_samples:,} samples"
        self.tell("history", f"history back-filled in {seconds:.1f} s: {what}", see)

    def up(self) -> None:
        """pronoia answers its health page."""
        self.tell(
            "up", "pronoia is up beside Prometheus and Alertmanager; its page:", self._places.pronoia + "/"
        )

    def ready(self) -> None:
        """pronoia answers that it is ready: something was scored, even if its event was missed."""
        if self._ready_at is None:
            self._ready_at = self._now()
        elif self._now() - self._ready_at > EVENT_PATIENCE_SECONDS:
            seconds = self._ready_at - self._began
            text = f"first scores, {seconds:.0f} s after the command"
            self.tell(
                "scored", text, f"curl -s {self._places.pronoia}/synthetic | grep pronoia_anomaly_score"
            )

    def injected(self, seconds: float) -> None:
        """The demo itself has broken the edge."""
        share = "a third of its requests"
        self.tell(
            "injected",
            f"the demo breaks something: CDN edge {FAILING_EDGE} fails {share} for the next {seconds:.0f} s",
            f"curl -s {self._places.platform}/metrics | grep 'cdn_requests_total.*{FAILING_EDGE}'",
        )

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """One event of pronoia's live stream; unknown kinds and missing facts are passed over."""
        if kind == "query.fitted":
            self._fitted[str(facts.get("query"))] = facts
            if len(self._fitted) >= self._n_queries:
                self._learned()
        elif kind == "query.scored":
            self.tell(
                "scored",
                f"first scores, {self._now() - self._began:.0f} s after the command: "
                f"{facts.get('query')}, {facts.get('n_series')} series",
                f"curl -s {self._places.pronoia}/synthetic | grep pronoia_anomaly_score",
            )
        elif kind == "rules.checked":
            self._checked = _checker(facts)
        elif kind == "rules.published":
            self._published = str(facts.get("file") or facts.get("group") or "")
            self._checked = _checker(facts) or self._checked
        elif kind == "anomaly.started" and "injected" in self.told:
            self._anomaly(facts)
        elif kind == "alerts.received" and "injected" in self.told:
            self._delivered(facts)

    def _learned(self) -> None:
        n_series = sum(int(facts.get("n_series") or 0) for facts in self._fitted.values())
        n_samples = sum(int(facts.get("n_samples") or 0) for facts in self._fitted.values())
        seconds = self._now() - self._began - self.told.get("up", 0.0)
        what = f"{len(self._fitted)} queries, {n_series} series, {n_samples:,} points"
        text = f"history learned in {seconds:.1f} s: {what}"
        self.tell("learned", text, f"{self._places.pronoia}/api/v1/queries")

    def _anomaly(self, facts: Mapping[str, Any]) -> None:
        labels = facts.get("labels") or {}
        if labels.get("edge") != FAILING_EDGE:
            return
        side = "upper" if (facts.get("actual") or 0) >= (facts.get("expected") or 0) else "lower"
        self.tell(
            "anomaly",
            f'anomaly: {facts.get("query")}{{edge="{FAILING_EDGE}"}} is {_brief(facts.get("actual"))}, '
            f"expected {_brief(facts.get('expected'))}, {side} bound {_brief(facts.get(side))}: "
            f"score {_brief(facts.get('score'), 3)}",
            f"{self._places.pronoia}/api/v1/series?query={facts.get('query')}",
        )

    def _delivered(self, facts: Mapping[str, Any]) -> None:
        number = next((facts[key] for key in ("alerts", "n_alerts", "received") if key in facts), None)
        many = len(number) if isinstance(number, list | tuple) else number
        what = f"{many} alert{'' if many == 1 else 's'}" if many is not None else "alerts"
        self.tell(
            "delivered",
            f"Alertmanager delivers {what} to pronoia's webhook",
            f"{self._places.alertmanager}/#/alerts",
        )

    def rule_groups(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Prometheus' own list of rule groups (`/api/v1/rules`): what it has loaded, and what fires."""
        ours = [group for group in groups if str(group.get("file", "")).startswith(str(self._places.rules))]
        names = [Path(str(group["file"])).name for group in ours]
        healthy = all(rule.get("health") != "err" for group in ours for rule in group.get("rules", ()))
        if ours and healthy:
            checked = f"checked by {self._checked}, " if self._checked else ""
            also = f" and {len(names) - 1} more" if len(names) > 1 else ""
            self.tell(
                "rule",
                f"adaptive rule written, {checked}loaded by Prometheus: {names[0]}{also}",
                f"cat {self._places.rules / names[0]}   and   {self._places.prometheus}/rules",
            )
        if "injected" in self.told:
            self._firing(ours, groups)

    def thresholds(self, etas: Sequence[Mapping[str, Any]]) -> None:
        """pronoia's list of thresholds that will be crossed (`/api/v1/thresholds`), the nearest first."""
        for eta in etas:
            seconds = eta.get("seconds")
            if eta.get("rule") == DISK_RULE and isinstance(seconds, int | float) and seconds > 0:
                hours, minutes = divmod(round(seconds / 60), 60)
                self.tell(
                    "ahead",
                    f"{DISK_RULE} is likely to fire within {hours} h {minutes:02} min: the disk of "
                    f"{(eta.get('labels') or {}).get('service')} fills",
                    f"{self._places.pronoia}/api/v1/thresholds",
                )

    def _firing(self, ours: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> None:
        firing = _firing_alerts(ours)
        if not firing:
            return
        labels = next((one for one in firing if one.get("edge") == FAILING_EDGE), firing[0])
        where = next(
            (f'{{{key}="{labels[key]}"}}' for key in ("edge", "region", "service") if key in labels), ""
        )
        after = self._now() - self._began - self.told["injected"]
        by_hand = len(_firing_alerts([group for group in groups if group not in ours]))
        self.tell(
            "fires",
            f"adaptive rule fires {after:.0f} s after that: {labels.get('alertname')}{where} "
            f"(rules by hand: {by_hand or 'none yet'})",
            f"{self._places.prometheus}/alerts",
        )

    def incidents(self, incidents: Sequence[Mapping[str, Any]]) -> None:
        """pronoia's list of incidents (`/api/v1/incidents`), newest first."""
        if "injected" not in self.told:
            return
        ours = (
            [one for one in incidents if one.get("incident_id") == self._incident] if self._incident else []
        )
        found = ours or sorted(incidents, key=lambda one: -int(one.get("n_episodes") or 0))[:1]
        for incident in found:
            see = f"{self._places.pronoia}/incidents/{incident.get('incident_id')}"
            if self._incident is None:
                self._incident, self._opened_at = str(incident.get("incident_id")), self._now()
            n_episodes, resolved = int(incident.get("n_episodes") or 0), incident.get("state") == "resolved"
            waited = self._now() - self._opened_at
            if n_episodes >= COMPLETE_EPISODES or waited > PATIENCE_SECONDS or resolved:
                alerts = "1 alert is" if n_episodes == 1 else f"{n_episodes} alerts are"
                self.tell("incident", f"{alerts} one incident; probable cause: {_cause(incident)}", see)
            if resolved:
                self.tell(
                    "resolved",
                    f"resolved: every alert of it is over ({n_episodes} in all)",
                    see,
                )


def _firing_alerts(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, str]]:
    return [
        alert.get("labels", {})
        for group in groups
        for rule in group.get("rules", ())
        for alert in rule.get("alerts") or ()
        if alert.get("state") == "firing"
    ]


def _cause(incident: Mapping[str, Any]) -> str:
    causes = incident.get("causes") or ()
    if not causes:
        return "not known yet"
    first = causes[0]
    why = "; ".join(str(reason) for reason in (first.get("reasons") or ())[:2])
    return f"{first.get('service') or 'unknown'}" + (f" ({why})" if why else "")


def _checker(facts: Mapping[str, Any]) -> str:
    """The tool that says it checked the rule; empty where the event does not name one that did."""
    checks = facts.get("checks")
    if isinstance(checks, Mapping):
        return (
            "promtool"
            if any("promtool" in f"{key} {value}" for key, value in checks.items())
            else "our parser"
        )
    return "promtool" if "promtool" in str(checks or "") else ""


def _brief(value: Any, digits: int = 2) -> str:
    return f"{value:.{digits}g}" if isinstance(value, int | float) else "?"
