"""A plan: which places would change and how, with the evidence that argues for each change."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rules.adapt.history import Adapted
from rules.adapt.place import FILE, Place
from rules.adapt.places import place_name
from rules.adapt.solve import Proposal
from rules.adapt.text import Rewrite, rewrite_text
from rules.backtest.past import Window
from rules.read import WrittenRule, unit_of
from rules.verify import canonical
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.ports import Source
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.records import RuleRevision

CARRIED = ("rule", "name", "labels", "after", "form", "firings_per_day")
"""What is told of a rule for as long as it stands as it was rewritten."""

MAX_SERIES = 1_000
MAX_COST_RATIO = 3.0
FREE_SECONDS = 0.1
"""An expression that is answered within this is cheap, whatever the ratio."""


@dataclass(frozen=True)
class Plan:
    """One place: its name in the store, its text before and after, and the rules rewritten in it."""

    group: str
    before: str
    after: str
    adapted: tuple[Adapted, ...]

    @property
    def path(self) -> Path | None:
        """The file; None for an object of a cluster or a ruler's namespace."""
        return Path(self.group.removeprefix(FILE)) if self.group.startswith(FILE) else None

    @property
    def place(self) -> str:
        """For people: the file's path, or the place's name."""
        return self.group.removeprefix(FILE)

    @property
    def rewrites(self) -> list[Rewrite]:
        """The rules as they are and as they are to be."""
        return [(one.rule, one.written) for one in self.adapted]

    def diff(self) -> str:
        """A unified diff."""
        name = self.place
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), name, name
        )
        return "".join(lines)

    def evidence(self, window: Window) -> dict[str, object]:
        """What argues for it, ready for the store."""
        return {"days": window.days, "rules": [evidence_of(one) for one in self.adapted]}

    def message(self) -> str:
        """The same as a commit message."""
        return message_of([self])


def message_of(plans: Sequence[Plan]) -> str:
    """What argues for several plans as the message of one commit, place by place where there are more."""
    names = [one.rule.name for plan in plans for one in plan.adapted]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    lines = [f"rules: adapt {', '.join(names[:3])}{more}"]
    for plan in plans:
        lines += ["", *([f"{plan.place}:"] if len(plans) > 1 else [])]
        for one in plan.adapted:
            lines += [f"{one.rule.name}: {'; '.join(one.changes)}", f"  {argument(one)}"]
    return "\n".join(lines) + "\n"


async def plan_places(
    adapted: Sequence[Adapted],
    place_of: Callable[[str], Place],
    *,
    on_refused: Callable[[str, RuleError], object],
) -> list[Plan]:
    """The plan of every place that would change and that can be written to from here.

    `on_refused`: told of each that cannot be read, or whose text cannot be rewritten, and why.
    """
    by_place: dict[str, list[Adapted]] = {}
    for one in adapted:
        group = place_name(one.rule)
        if one.changed and not one.joined and group is not None:
            by_place.setdefault(group, []).append(one)
    plans = []
    for group, members in sorted(by_place.items()):
        try:
            plans.append(await plan_place(place_of(group), members))
        except RuleError as error:
            on_refused(group, error)
    return plans


def elsewhere(adapted: Sequence[Adapted]) -> list[RuleError]:
    """Of each file that would change and is not on this machine: what is to be done."""
    files: dict[str, list[str]] = {}
    for one in adapted:
        if one.changed and not one.joined and place_name(one.rule) is None:
            files.setdefault(one.rule.file, []).append(one.rule.name)
    return [
        RuleError(
            RuleReason.NOT_WRITABLE,
            f"{', '.join(names)}: {file} is where Prometheus loads it from, and not on this machine; "
            "mount it here, set rules.publish, or give --rules with a copy and --to git",
        )
        for file, names in sorted(files.items())
    ]


async def plan_place(place: Place, members: Sequence[Adapted]) -> Plan:
    """The plan of one place. Raises: RuleError."""
    before = await place.read()
    if before is None:
        raise RuleError(RuleReason.NOT_LOADED, f"{place.group} is not there any more")
    try:
        after = await asyncio.to_thread(rewrite_text, before, [(one.rule, one.written) for one in members])
    except ValueError as error:
        raise RuleError(RuleReason.NOT_WRITABLE, f"{place.group}: {error}") from error
    return Plan(place.group, before, after, tuple(members))


def argument(adapted: Adapted) -> str:
    """Why the rewrite is proposed, in one line."""
    found = adapted.outcome
    if not isinstance(found, Proposal):
        return found.why
    low, high = found.false_per_month
    return (
        f"false alarms {found.before.n_false} → {found.after.n_false} in {found.before.days:.0f} days; "
        f"on weeks not learned from {found.unseen_before} → {found.unseen_after} "
        f"({low:.3g} to {high:.3g} a month); "
        + caught_words(found)
        + (f"; the alerts loop asked for it: {adapted.told}" if adapted.told else "")
    )


def caught_words(found: Proposal) -> str:
    """Which incidents the rule caught, and why it need not catch those that it will not.

    Trouble that nobody told of is counted apart.
    """
    before, after = (one.delays.keys() - one.suspected for one in (found.before, found.after))
    words = [f"incidents caught {len(before)} → {len(after)}"]
    lost = before - after
    for names, why in (
        (lost & found.by_chance, "had been told of by chance, while what the rule measures was as ever"),
        (lost - found.by_chance, "given up for fewer false alarms"),
    ):
        if names:
            words.append(f"{', '.join(sorted(names))}: {why}")
    if found.before.suspected:
        words.append(
            f"trouble that nobody told of {len(found.before.suspected)} → {len(found.after.suspected)}"
        )
    return "; ".join(words)


def evidence_of(adapted: Adapted) -> dict[str, object]:
    """The figures of one rewrite."""
    found = adapted.outcome
    assert isinstance(found, Proposal)
    return {
        "rule": adapted.rule.key,
        "name": adapted.rule.name,
        "before": adapted.rule.expr,
        "after": adapted.rule.expr if adapted.joined else adapted.written.expr,
        "changes": list(found.changes),
        "labels": {name: value for name, value in adapted.rule.labels.items() if "{{" not in value},
        "unit": _unit(adapted.rule),
        "form": found.candidate.bound.form,
        "false_before": found.before.n_false,
        "false_after": found.after.n_false,
        "firings_per_day": found.after.n_firings / found.after.days,
        "unseen_before": found.unseen_before,
        "unseen_after": found.unseen_after,
        "false_per_month": list(found.false_per_month),
        "caught_share": list(found.caught_share),
        "delays_before": found.before.delays,
        "delays_after": found.after.delays,
        "by_chance": sorted(found.by_chance),
        "argument": argument(adapted),
    }


def _unit(rule: WrittenRule) -> str:
    comparison = parse_comparison(rule.expr)
    return unit_of(comparison) if isinstance(comparison, Comparison) else ""


async def check_cost(rewrites: Sequence[Rewrite], source: Source, *, at_ms: int) -> dict[str, str]:
    """That no rewritten rule matches far more series or takes far longer than the one before.

    Raises: RuleError naming the rule; unreachable, where asking again later may help.
    """
    worst = 1.0
    for old, new in rewrites:
        before, _ = await _cost(old, source, at_ms)
        after, n_series = await _cost(new, source, at_ms)
        ratio = after / max(before, 1e-3)
        if after > FREE_SECONDS and ratio > MAX_COST_RATIO:
            raise RuleError(
                RuleReason.CHECK_FAILED, f"{new.name}: takes {ratio:.1f} times as long to evaluate"
            )
        worst = max(worst, ratio) if after > FREE_SECONDS else worst
        if n_series > MAX_SERIES:
            raise RuleError(RuleReason.CHECK_FAILED, f"{new.name}: gives {n_series} alerts at once")
    return {"cost": f"at most {worst:.1f} times as long as before", "series": f"at most {MAX_SERIES}"}


async def _cost(rule: WrittenRule, source: Source, at_ms: int) -> tuple[float, int]:
    began = time.monotonic()
    try:
        batch = await source.instant(rule.expr, at_ms=at_ms, name=rule.name, max_series=100 * MAX_SERIES)
    except PullError as error:
        reason = RuleReason.UNREACHABLE if error.retryable else RuleReason.CHECK_FAILED
        raise RuleError(reason, f"{rule.name}: {error}") from error
    return time.monotonic() - began, batch.n_series


def edited_since(rule: WrittenRule, revisions: Sequence[RuleRevision]) -> str:
    """Why a rule is left alone that people changed after pronoia had: their number is kept; empty else."""
    for revision in revisions:
        if revision.state != "live":
            continue
        for told in (*rules_told(revision), *carried(revision)):
            if told["rule"] != rule.key:
                continue
            ours = parse_comparison(str(told["after"]))
            theirs = parse_comparison(rule.expr)
            same = _same(str(told["after"]), rule.expr)
            if not same and not (
                isinstance(ours, Comparison) and isinstance(theirs, Comparison) and ours == theirs
            ):
                return "it was edited by hand since pronoia wrote it; that is kept"
    return ""


def _same(ours: str, theirs: str) -> bool:
    """Whether two expressions mean the same: a server prints them in its own way."""
    try:
        return canonical(ours) == canonical(theirs)
    except ValueError:
        return ours.split() == theirs.split()


def last_change(rule: WrittenRule, revisions: Sequence[RuleRevision]) -> float | None:
    """When pronoia last moved the rule's threshold (seconds), as far as that is still live; else None.

    Its join with a series moved nothing.
    """
    moments = [
        revision.live_from_ns / 1e9
        for revision in revisions
        if revision.live_from_ns is not None
        and revision.state in ("live", "superseded")
        and any(told["rule"] == rule.key and told.get("form") != "series" for told in rules_told(revision))
    ]
    return max(moments, default=None)


def rules_told(revision: RuleRevision) -> Sequence[Mapping[str, object]]:
    """What a revision remembers of each rule that it rewrote."""
    found = revision.evidence.get("rules")
    return found if isinstance(found, list) else []


def carried(revision: RuleRevision) -> Sequence[Mapping[str, object]]:
    """What a revision remembers of rules that earlier ones rewrote, and that stand so in its text still."""
    found = revision.evidence.get("carried")
    return found if isinstance(found, list) else []


def carried_over(live: RuleRevision | None, rewritten: Collection[str]) -> list[dict[str, object]]:
    """What the revision after `live` is to remember of the rules that it does not rewrite itself."""
    if live is None:
        return []
    own = [
        {
            **{key: told[key] for key in CARRIED if key in told},
            "revision": live.revision_id,
            "since_ns": live.live_from_ns,
        }
        for told in rules_told(live)
    ]
    return [dict(one) for one in (*own, *carried(live)) if one["rule"] not in rewritten]
