"""What is wrong with rules as they behaved: too often, too briefly, never, always together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, groupby

import numpy as np

from rules.adapt.grouping import clusters, shared_labels
from rules.adapt.growth import WATCH, outgrown
from rules.adapt.judge import Evidence
from rules.adapt.search import as_it_is
from rules.adapt.unlike import unlike
from rules.adapt.whole import most_of
from rules.audit.finding import Finding, Kind, in_days
from rules.backtest.past import RulePast
from rules.read import taken_apart
from sidecar.config.fields import format_duration
from sidecar.promql.threshold import Comparison
from sidecar.series import BoolArray, FloatArray, SeriesBatch

MIN_DAYS = 7.0
"""So short a past proves of no rule that it never fires."""

CONSTANT_SHARE = 0.5
FLAP_GAP_SECONDS = 900.0
FLAP_SHARE = 0.3
FEW = 5
BRIEF_SECONDS = 300.0
SHORT_SECONDS = 120.0
SOME = 2
TOGETHER = 0.9
FAR = 2.0
"""A threshold lies far off where it is this many times as far from the median as anything ever was."""


def audit_past(pasts: Sequence[RulePast]) -> list[Finding]:
    """Findings of each rule's firings, and of rules that fire together."""
    asked = [past for past in pasts if not past.error]
    failed = [
        Finding(past.rule.key, Kind.BROKEN, past.error, "mend the expression") for past in pasts if past.error
    ]
    each = [finding for past in asked for finding in _of_one(past)]
    return [*failed, *each, *_together(asked)]


def far_off(past: RulePast, values: FloatArray) -> Finding | None:
    """For a rule that never fired: whether its threshold is out of reach of what it measures (N, T)."""
    comparison = taken_apart(past.rule)
    finite = values[np.isfinite(values)]
    if not isinstance(comparison, Comparison) or finite.size == 0 or past.firings:
        return None
    sign = 1 if comparison.above else -1
    middle, worst = float(np.median(finite)), float((sign * finite).max())
    reach, wanted = worst - sign * middle, sign * comparison.threshold - sign * middle
    if reach <= 0 or wanted < FAR * reach:
        return None
    return Finding(
        past.rule.key,
        Kind.UNREACHABLE,
        f"its worst in {in_days(past.window.days)} was {sign * worst:.4g}, usual is {middle:.4g}, "
        f"the threshold {comparison.threshold:g}",
        "see `pronoia rules plan` with the incidents that it should have told of",
        wanted / reach,
    )


def beyond_buckets(past: RulePast, last_bucket: float) -> Finding | None:
    """For a rule that never fired: whether its quantile of a histogram could reach the threshold at all."""
    comparison = taken_apart(past.rule)
    if not isinstance(comparison, Comparison) or not comparison.above or math.isinf(last_bucket):
        return None
    most = most_of(comparison, last_bucket)
    out_of_reach = comparison.threshold > most or (
        comparison.threshold == most and comparison.operator == ">"
    )
    if past.firings or not out_of_reach:
        return None
    return Finding(
        past.rule.key,
        Kind.UNREACHABLE,
        f"it cannot fire: the last finite bucket ends at {last_bucket:g}, which no quantile goes beyond, and "
        f"its threshold is {comparison.threshold:g}",
        "set the threshold below that, or give the histogram a longer bucket",
        math.inf,
    )


def without_number(past: RulePast, found: Finding, batch: SeriesBatch) -> Finding:
    """The finding, of a rule that fires constantly, with other advice where no higher number is a way out.

    On a disk that fills one would be crossed again within weeks; of series of very different size one that
    leaves the largest alone is out of reach for the others.
    """
    comparison = taken_apart(past.rule)
    if not isinstance(comparison, Comparison):
        return found
    evidence = Evidence(past.rule, comparison, batch.labels, batch.timestamps, batch.values)
    old = as_it_is(evidence)
    if why := outgrown(evidence, old, old.bound):
        return replace(found, evidence=f"{found.evidence}; {why}", proposal=WATCH)
    hint = unlike(evidence)
    return replace(found, proposal=hint) if hint else found


def _of_one(past: RulePast) -> Iterator[Finding]:
    rule, days = past.rule, past.window.days
    n = len(past.firings)
    peoples = rule.labels.get("generator") != "pronoia"
    if rule.for_seconds == 0 and peoples:
        short = sum(firing.seconds <= SHORT_SECONDS for firing in past.firings)
        yield Finding(
            rule.key,
            Kind.NO_FOR,
            "one evaluation is enough for it to fire"
            + (f"; {short} of {n} firings were over within 2 minutes" if short else ""),
            "`for: 2m`, or say why not",
            float(short),
        )
    if n == 0:
        # Ours is about scores that may be as young as itself, and leaves with the query that it is about.
        if days >= MIN_DAYS and peoples:
            yield Finding(
                rule.key,
                Kind.NEVER,
                f"not once in {in_days(days)}",
                "keep it if it guards against what must never be; else lower or delete it",
            )
        return
    # Both ends of a window are asked for, and what fires at the last is over one evaluation later.
    length = past.window.days * 86_400 + past.window.step_ms / 1000
    share = max(
        sum(firing.seconds for firing in group) / length
        for _, group in groupby(past.firings, key=lambda firing: firing.row)
    )
    if share > CONSTANT_SHARE:
        yield Finding(
            rule.key,
            Kind.CONSTANT,
            f"one of its series fired {share:.0%} of {in_days(days)}",
            "what is always wrong is no alert: raise the threshold (`pronoia rules plan`) or delete it",
            share,
        )
    yield from _many_at_once(past)
    yield from _flaps(past)
    seconds = np.array([firing.seconds for firing in past.firings])
    brief = seconds[seconds < BRIEF_SECONDS]
    if n >= FEW and brief.size > 0.5 * n:
        held = rule.for_seconds + _whole_minutes(float(np.quantile(brief, 0.8)))
        yield Finding(
            rule.key,
            Kind.BRIEF,
            f"{brief.size} of {n} firings were over within {BRIEF_SECONDS / 60:.0f} minutes",
            f"`for: {format_duration(held)}` would leave out four of five of those",
            float(brief.size),
        )


def _flaps(past: RulePast) -> Iterator[Finding]:
    gaps = np.array(
        [
            (later.start_ms - earlier.end_ms) / 1000
            for earlier, later in zip(past.firings, past.firings[1:], strict=False)
            if earlier.row == later.row
        ]
    )
    soon = gaps[gaps < FLAP_GAP_SECONDS]
    if soon.size >= FEW and soon.size > FLAP_SHARE * len(past.firings):
        kept = _whole_minutes(float(np.quantile(soon, 0.8)))
        yield Finding(
            past.rule.key,
            Kind.FLAPS,
            f"{soon.size} of {len(past.firings)} firings came within {FLAP_GAP_SECONDS / 60:.0f} minutes "
            "of the one before",
            f"`keep_firing_for: {format_duration(kept)}` would join four of five of those",
            float(soon.size),
        )


def _many_at_once(past: RulePast) -> Iterator[Finding]:
    """Series that fire at the same time, though they share labels by which they could be one alert."""
    groups = clusters(past.firings)
    many = [rows for rows in groups if len(rows) >= FEW]
    if len(many) < max(SOME, TOGETHER / 2 * len(groups)):
        return
    by = shared_labels(many, past.labels)
    how = f"`by ({', '.join(by)})`" if by else "to one series"
    yield Finding(
        past.rule.key,
        Kind.MANY_AT_ONCE,
        f"{len(past.firings)} firings were {len(groups)} occasions, up to {max(map(len, many))} at a time",
        f"aggregate {how} (`rules.adapt.grouping`), or group so in Alertmanager",
        float(len(past.firings)),
    )


def _whole_minutes(seconds: float) -> float:
    return 60.0 * max(math.ceil(seconds / 60), 1)


def _together(pasts: Sequence[RulePast]) -> Iterator[Finding]:
    """Pairs whose firing times are nearly the same, whatever they measure."""
    often = [(past, _steps(past)) for past in pasts if len(past.firings) >= FEW]
    for (first, one), (second, other) in combinations(often, 2):
        both, either = int((one & other).sum()), int((one | other).sum())
        if both > TOGETHER * either:
            yield Finding(
                second.rule.key,
                Kind.CO_FIRES,
                f"of the time that it or {first.rule.key} fired, both did {both / either:.0%}",
                "keep the one nearer to what users feel, or inhibit one by the other",
                both / either,
            )


def _steps(past: RulePast) -> BoolArray:
    window = past.window
    fires = np.zeros(window.n_steps + 1, dtype=np.bool_)
    for firing in past.firings:
        first = (firing.start_ms - window.start_ms) // window.step_ms
        fires[first : (firing.end_ms - window.start_ms) // window.step_ms] = True
    return fires
