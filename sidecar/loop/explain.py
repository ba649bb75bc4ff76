"""An anomaly in words and data: how far, how rare, who agrees, since when, what was like it, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sidecar.config.runbooks import RunbookConfig
from sidecar.loop.journal import AnomalyEvent, Journal, Page
from sidecar.series import FloatArray

SAME_TIME_STEPS = 5
"""Series whose anomaly began at most so many steps earlier or later broke at the same time."""

MOST_EARLIER, MOST_OTHERS = 3, 10
ALIKE = 0.5
"""Shapes farther apart than this have little in common and are not called alike."""

_WITNESS_WORDS = {
    "point": "this point",
    "mean_of_5": "the last 5 points together",
    "mean_of_15": "the last 15 points together",
    "own_past": "its own last hour",
    "siblings": "its siblings now",
}


def explain(
    journal: Journal, query: str, fingerprint: str, runbooks: Sequence[RunbookConfig] = ()
) -> Mapping[str, Any]:
    """All that is known of one series of a query, without asking anybody.

    Raises: KeyError where there is no such query or series.
    """
    found: dict[str, Any] = {}

    def look(pages: dict[str, Page]) -> None:
        page = pages[query]
        found.update(_explained(pages, page, page.row_of(fingerprint), runbooks))

    journal.read(look)
    return found


def explain_open(
    journal: Journal, query: str | None, limit: int, runbooks: Sequence[RunbookConfig] = ()
) -> list[Mapping[str, Any]]:
    """Every open anomaly, the worst first; of one query or of all.

    Raises: KeyError where there is no such query.
    """
    found: list[Mapping[str, Any]] = []

    def look(pages: dict[str, Page]) -> None:
        chosen = pages.values() if query is None else [pages[query]]
        rows = [(event.peak, page, row) for page in chosen for row, event in page.open.items()]
        rows.sort(key=lambda item: -item[0])
        found.extend(_explained(pages, page, row, runbooks) for _, page, row in rows[:limit])

    journal.read(look)
    return found


def _explained(
    pages: Mapping[str, Page], page: Page, row: int, runbooks: Sequence[RunbookConfig]
) -> Mapping[str, Any]:
    from sidecar.engine.explain import witnesses

    evaluation, chronicle = page.evaluation, page.chronicle
    labels, event = evaluation.labels[row], page.open.get(row)
    score = _number(evaluation.anomaly_score[row])
    recent, values = chronicle.recent(row)
    rarity = None
    if score is not None:
        rarity = chronicle.once_in_seconds(row, max(score, event.peak if event else score))
    direction = event.direction if event else int(evaluation.direction[row])
    found: dict[str, Any] = {
        "query": evaluation.query,
        "labels": dict(labels.pairs),
        "fingerprint": labels.fingerprint(),
        "timestamp_ms": evaluation.timestamp_ms,
        "step_ms": page.step_ms,
        "actual": _number(evaluation.actual[row]),
        "expected": _number(evaluation.expected[row]),
        "lower": _number(evaluation.lower[row]),
        "upper": _number(evaluation.upper[row]),
        "score": score,
        "anomalous": event is not None,
        "since_ms": event.started_ms if event else None,
        "peak_score": event.peak if event else None,
        "watched_seconds": chronicle.seconds(row),
        "once_in_seconds": rarity[0] if rarity else None,
        "rarer_than_told": rarity[1] if rarity else False,
        "witnesses": witnesses(recent, values, np.delete(evaluation.actual, row)),
        "earlier": _earlier(page, event) if event else [],
        "same_time": _same_time(pages, page, row) if event else [],
        "actions": [
            {"runbook": one.name, "actions": list(one.actions), "url": one.url}
            for one in runbooks
            if event and one.fits(evaluation.query, dict(labels.pairs), direction)
        ],
    }
    found["text"] = in_words(found)
    return found


def _earlier(page: Page, event: AnomalyEvent) -> list[dict[str, Any]]:
    """The nearest past events of the query by shape; those of the same series are preferred when as near."""
    from sidecar.engine.explain import shape_distance

    shape: FloatArray = np.array(event.shape)
    alike: list[tuple[float, int, dict[str, Any]]] = []
    for past in page.past:
        distance = shape_distance(shape, np.array(past.shape))
        if distance > ALIKE:
            continue
        same_series = past.labels == event.labels
        told = {
            "labels": past.labels,
            "same_series": same_series,
            "started_ms": past.started_ms,
            "ended_ms": past.ended_ms,
            "peak_score": past.peak,
            "outcome": past.outcome,
            "distance": round(distance, 3),
        }
        alike.append((distance - 0.1 * same_series, -past.started_ms, told))
    alike.sort(key=lambda one: one[:2])
    return [told for _, _, told in alike[:MOST_EARLIER]]


def _same_time(pages: Mapping[str, Page], page: Page, row: int) -> list[dict[str, Any]]:
    event = page.open[row]
    span_ms = SAME_TIME_STEPS * page.step_ms
    found = []
    for other in pages.values():
        for at, one in other.open.items():
            near = abs(one.started_ms - event.started_ms) <= max(span_ms, SAME_TIME_STEPS * other.step_ms)
            if near and not (other is page and at == row):
                shared = sum(event.labels.get(name) == value for name, value in one.labels.items())
                found.append((shared, one))
    found.sort(key=lambda item: (-item[0], -item[1].peak))
    return [
        {
            "query": one.query,
            "labels": one.labels,
            "started_ms": one.started_ms,
            "peak_score": one.peak,
            "shared_labels": shared,
        }
        for shared, one in found[:MOST_OTHERS]
    ]


def in_words(found: Mapping[str, Any]) -> str:
    """The explanation as a few sentences."""
    sentences = [_value_words(found)]
    if found["once_in_seconds"] is not None:
        often = f"about once in {span(found['once_in_seconds'])} on this series"
        if found["rarer_than_told"]:
            often = f"less than once in {span(found['once_in_seconds'])} on this series"
        sentences.append(f"As far off as that happens {often}, watched for {span(found['watched_seconds'])}.")
    if not found["anomalous"]:
        return " ".join([*sentences, "Nothing is anomalous about it now."])
    lasting = (found["timestamp_ms"] - found["since_ms"]) / 1000
    sentences.append(
        f"It began at {_moment(found['since_ms'])}" + (f", {span(lasting)} ago." if lasting else ".")
    )
    agree = [_WITNESS_WORDS[name] for name, answer in found["witnesses"].items() if answer > 1]
    others = [_WITNESS_WORDS[name] for name, answer in found["witnesses"].items() if answer <= 1]
    if agree:
        sentences.append(
            f"Unusual by {', '.join(agree)}" + (f"; not by {', '.join(others)}." if others else ".")
        )
    if found["earlier"]:
        sentences.append(_earlier_words(found["earlier"][0]))
    if found["same_time"]:
        names = sorted({one["query"] for one in found["same_time"]})
        n = len(found["same_time"])
        many = "10 or more" if n == MOST_OTHERS else str(n)
        sentences.append(f"At the same time broke {many} other series, of {', '.join(names)}.")
    for one in found["actions"]:
        where = f" ({one['url']})" if one["url"] else ""
        sentences.append(f"To do, by {one['runbook']}{where}: {'; '.join(one['actions'])}.")
    return " ".join(sentences)


def _value_words(found: Mapping[str, Any]) -> str:
    if found["actual"] is None:
        return "The series has no value now."
    if found["expected"] is None:
        return f"The value is {found['actual']:.4g}; too little is known to expect anything."
    low, high = found["lower"], found["upper"]
    if low is None and high is None:
        usual = ""
    elif low is None:
        usual = f", usually up to {high:.4g}"
    elif high is None:
        usual = f", usually {low:.4g} or more"
    else:
        usual = f", usually {low:.4g} to {high:.4g}"
    score = f" (score {found['score']:.3g})" if found["score"] is not None else ""
    return f"The value is {found['actual']:.4g}, expected was {found['expected']:.4g}{usual}{score}."


def _earlier_words(one: Mapping[str, Any]) -> str:
    where = "this series" if one["same_series"] else "another series of the query"
    after = ""
    if one["ended_ms"] is not None:
        after = f" after {span((one['ended_ms'] - one['started_ms']) / 1000)}"
    return f"Most like it was the event of {_moment(one['started_ms'])} on {where}: {one['outcome']}{after}."


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: float) -> str:
    """A length of time as people say it, rounded.

    >>> span(4 * 30.4 * 86400)
    '4 months'
    """
    for size, word in (
        (365.25 * 86400, "year"), (30.4 * 86400, "month"), (86400, "day"), (3600, "hour"), (60, "minute")
    ):  # fmt: skip
        if seconds >= 1.5 * size or (word == "minute" and seconds >= 45):
            n = round(seconds / size)
            return f"{n} {word}{'s' if n != 1 else ''}"
    return f"{round(seconds)} seconds"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
