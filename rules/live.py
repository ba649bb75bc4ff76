"""The watch over generated rules that are live or shadows: taken back, or promoted, by how they do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from rules.adapt.canary import GROUP, LABEL
from rules.incidents import KnownIncident
from rules.metrics import RuleMetrics
from rules.prove import too_slow
from rules.publisher import Found
from rules.revise import Reviser
from rules.verify import LoadedRules, is_revision, members
from rules.volume import as_number, n_firings, told_by_others, too_many
from sidecar.errors import PullError, RuleError
from sidecar.ports import Source
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision
from sidecar.telemetry import get_logger

MARK = ("generator", "pronoia")
WINDOW_SECONDS = 86_400.0
"""How far back volume is looked at; a revision that did well for a day is judged by its last one."""

LOAD_SECONDS = 300.0
"""So long a live revision may be absent: a reload under way, a Prometheus that starts."""


async def no_incidents() -> Sequence[KnownIncident]:
    """Where nothing remembers incidents."""
    return ()


class LiveWatch:
    """Looks at every generated revision that Prometheus evaluates.

    `source`: where firings are counted; None: volume is not judged. `metrics`: told of what is not loaded.
    """

    def __init__(
        self,
        reviser: Reviser,
        server: LoadedRules,
        *,
        source: Source | None,
        max_firing_ratio: float,
        incidents: Callable[[], Awaitable[Sequence[KnownIncident]]] = no_incidents,
        metrics: RuleMetrics | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._absent_since: dict[str, float] = {}
        self._reviser = reviser
        self._server = server
        self._source = source
        self._ratio = max_firing_ratio
        self._incidents = incidents
        self._now = now
        self._told: dict[str, str] = {}
        self._missed: set[str] = set()
        self._known: Sequence[KnownIncident] = ()
        self._log = get_logger("rules-watch")

    async def look(self) -> None:
        """Judge every revision once; a server that does not answer proves nothing about a rule."""
        live, shadows = await self._reviser.live(), await self._reviser.shadows()
        if not live and not shadows:
            return
        try:
            loaded = await self._server.rules()
            self._known = await self._incidents() if self._source is not None else ()
            for revision in (*live.values(), *shadows):
                await self._judge(revision, loaded)
            await self._look_for(live.values(), loaded)
        except PullError as error:
            self._log.info("generated rules not looked at", err=str(error))

    async def _judge(self, revision: RuleRevision, loaded: Sequence[Rule]) -> None:
        try:
            if revision.state == "canary":
                await self._judge_shadow(revision, loaded)
            elif why := await self._fault(revision, loaded):
                await self._reviser.take_back(revision.group, why)
        except RuleError as error:
            # One place that does not take what it should is no reason to look at no other.
            if self._told.get(revision.group) != str(error):
                self._log.warning("generated rule left as it is", group=revision.group, err=str(error))
            self._told[revision.group] = str(error)

    async def _look_for(self, live: Collection[RuleRevision], loaded: Sequence[Rule]) -> None:
        """Whether Prometheus has loaded what is live: rules that it does not run raise no alert."""
        now = self._now()
        absent = {
            revision.revision_id: revision
            for revision in live
            if not is_revision(_members(revision, loaded), revision.content_hash)
        }
        self._absent_since = {one: self._absent_since.get(one, now) for one in absent}
        late = [one for one, since in self._absent_since.items() if now - since >= LOAD_SECONDS]
        if self._metrics is not None:
            self._metrics.not_loaded.set(len(late))
        self._missed &= set(late)
        for one in late:
            if one not in self._missed:
                self._missed.add(one)
                await self._missing(absent[one])

    async def _missing(self, revision: RuleRevision) -> None:
        """Have it loaded again where its text is in its place, and say what is to be done."""
        group, place = revision.group, self._reviser.publisher.place(revision.group)
        why = f"Prometheus does not run it; does it load {place}?"
        try:
            if await self._reviser.publisher.found(group, revision.content) is Found.SAME:
                await self._reviser.publisher.restore(group, revision.content)
            else:
                why = f"{place} is not as pronoia wrote it; see pronoia rules drift"
        except RuleError as error:
            why = f"Prometheus does not load it again: {error}"
        self._log.warning("live rules are not loaded", group=group, why=why)
        self._reviser.tell("rules.not_loaded", group=group, revision=revision.content_hash, why=why)

    async def _judge_shadow(self, revision: RuleRevision, loaded: Sequence[Rule]) -> None:
        why = await self._fault(revision, loaded)
        over = self._age(revision) >= as_number(revision.evidence.get("canary_seconds"))
        if over and not is_revision(_members(revision, loaded), revision.content_hash):
            why = "it is not loaded, so nobody knows how it does"
        if why:
            await self._reviser.end_shadow(revision, why)
        elif over:
            await self._reviser.promote(revision)

    async def _fault(self, revision: RuleRevision, loaded: Sequence[Rule]) -> str:
        """What is wrong with a revision; empty where nothing is, or where another is loaded still."""
        rules = _members(revision, loaded)
        # The revision before it may be loaded still, a minute or two after it was taken back.
        if not is_revision(rules, revision.content_hash):
            return ""
        for rule in rules:
            if rule.health == "err":
                return f"{rule.name}: {rule.last_error}"
            if rule.interval_seconds and too_slow(rule.evaluation_seconds, rule.interval_seconds):
                return f"{rule.name} takes {rule.evaluation_seconds:.1f} s to evaluate"
        return await self._too_loud(revision, rules)

    async def _too_loud(self, revision: RuleRevision, rules: Sequence[Rule]) -> str:
        expected = revision.evidence.get("firings_per_day")
        seconds = min(self._age(revision), WINDOW_SECONDS)
        # A clock that was set back makes what is live one of the future.
        if self._source is None or not isinstance(expected, dict) or seconds <= 0:
            return ""
        shadow = LABEL[1] if revision.state == "canary" else ""
        # People may have an alert of that name, too; only ours carries the mark.
        marked = {rule.name for rule in rules if rule.labels.get(MARK[0]) == MARK[1]}
        for alert, per_day in expected.items():
            n = await n_firings(
                self._source,
                {"alertname": alert, LABEL[0]: shadow, **dict([MARK] if alert in marked else ())},
                seconds,
                self._now(),
                together=True,
                besides=told_by_others(self._known, alert),
            )
            usual = as_number(per_day) * seconds / 86_400
            if too_many(n, usual, self._ratio):
                return f"{alert} fired {n} times in {seconds / 3600:.1f} h, {usual:.1f} were expected"
        return ""

    def _age(self, revision: RuleRevision) -> float:
        return self._now() - (revision.live_from_ns or revision.created_at_ns) / 1e9


def _members(revision: RuleRevision, loaded: Sequence[Rule]) -> list[Rule]:
    prefix = f"{GROUP}-" if revision.state == "canary" else ""
    return members(loaded, revision.content, prefix=prefix)
