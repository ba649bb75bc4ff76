"""The report of one incident: what happened when, who did what, and what it was. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.config.fields import format_duration
from sidecar.records import Episode, Incident, OutboxMessage, Response, TimelineEntry
from webhooks.notify.message import stamp
from webhooks.respond.document import Report, Section
from webhooks.respond.lifecycle import status_of
from webhooks.respond.similar import Similar

MAX_ROWS = 200
WIDTH, HEIGHT = 720, 140


def incident_report(
    incident: Incident,
    episodes: Sequence[Episode],
    response: Response | None,
    timeline: Iterable[TimelineEntry],
    messages: Iterable[OutboxMessage],
    similar: Iterable[Similar] = (),
) -> Report:
    """Facts, causes, timeline, alerts, and what was like it."""
    sent = [message for message in messages if message.state == "sent"]
    report = Report(f"{incident.incident_id}: {incident.title}")
    report.sections = [
        Section("Summary", columns=("", ""), rows=_facts(incident, response, sent)),
        Section("Cause", lines=_cause(incident, response)),
        Section(
            "Timeline", columns=("time", "what", "who", ""), rows=_story(incident, episodes, timeline, sent)
        ),
        Section(
            "Alerts",
            columns=("rule", "alerts", "first", "last end"),
            rows=_rules(episodes),
            picture=_picture(episodes),
        ),
    ]
    before = [
        (one.incident_id, one.title, f"{one.similarity:.0%}", one.cause, one.fix or "not written down")
        for one in similar
    ]
    if before:
        columns = ("incident", "title", "alike", "cause", "what fixed it")
        report.sections.append(Section("Like it before", columns=columns, rows=before))
    return report


def _facts(
    incident: Incident, response: Response | None, sent: Sequence[OutboxMessage]
) -> list[tuple[str, str]]:
    began = incident.started_at_ns
    told = min((message.created_at_ns for message in sent), default=None)
    taken = response.first_acknowledged_at_ns if response else None
    mitigated = response.mitigated_at_ns if response else None
    return [
        ("status", status_of(incident, response)),
        ("priority", f"{incident.priority}: {'; '.join(incident.priority_reasons)}"),
        ("began", stamp(began)),
        ("told after", _after(began, told)),
        ("acknowledged after", _after(began, taken)),
        ("mitigated after", _after(began, mitigated)),
        ("over after", _after(began, incident.ended_at_ns)),
        ("alerts", str(incident.n_episodes)),
        ("messages", str(len(sent))),
        ("team", (response.team if response else "") or "none"),
        ("assignee", (response.assignee if response else "") or "nobody"),
    ]


def _cause(incident: Incident, response: Response | None) -> list[str]:
    lines = []
    if response is not None and response.cause:
        lines.append(f"Named by people: {response.cause}.")
    for at, cause in enumerate(incident.causes[:3], 1):
        lines.append(f"Ranked {at}: {cause.service} ({'; '.join(cause.reasons)}).")
    if response is not None and response.fix:
        lines.append(f"What fixed it: {response.fix}")
    return lines or ["Not known."]


def _story(
    incident: Incident,
    episodes: Iterable[Episode],
    timeline: Iterable[TimelineEntry],
    sent: Iterable[OutboxMessage],
) -> list[tuple[str, str, str, str]]:
    events = [(entry.at_ns, entry.kind, entry.actor, entry.text) for entry in timeline]
    events += [(one.created_at_ns, "told", one.target, f"{one.kind}, {one.priority}") for one in sent]
    first: dict[str, int] = {}
    for episode in episodes:
        rule = episode.labels.get("alertname", "")
        first[rule] = min(first.get(rule, episode.starts_at_ns), episode.starts_at_ns)
    events += [(at_ns, "alert", "", f"{rule} fires first") for rule, at_ns in first.items()]
    if incident.ended_at_ns is not None:
        events.append((incident.ended_at_ns, "end", "", "the last alert ends"))
    events.sort(key=lambda event: event[0])
    return [(stamp(at_ns), kind, actor, text) for at_ns, kind, actor, text in events[:MAX_ROWS]]


def _rules(episodes: Iterable[Episode]) -> list[tuple[str, int, str, str]]:
    by_rule: dict[str, list[Episode]] = {}
    for episode in episodes:
        by_rule.setdefault(episode.labels.get("alertname", ""), []).append(episode)
    rows = []
    for rule, members in sorted(by_rule.items(), key=lambda item: -len(item[1])):
        ends = [one.ends_at_ns for one in members]
        last = "fires" if any(one.state == "firing" for one in members) else stamp(max(e or 0 for e in ends))
        rows.append((rule, len(members), stamp(min(one.starts_at_ns for one in members)), last))
    return rows[:MAX_ROWS]


def _picture(episodes: Sequence[Episode]) -> str:
    """How many alerts fired, over time."""
    begins = [(one.starts_at_ns, 1) for one in episodes]
    ends = [(one.ends_at_ns, -1) for one in episodes if one.ends_at_ns is not None]
    moments = sorted([*begins, *ends])
    if len(moments) < 2:
        return ""
    start, span = moments[0][0], max(moments[-1][0] - moments[0][0], 1)
    firing, points = 0, [(0.0, 0)]
    for at_ns, change in moments:
        x = (at_ns - start) / span * WIDTH
        points += [(x, firing), (x, firing + change)]
        firing += change
    top = max(n for _, n in points) or 1
    path = " ".join(f"{x:.1f},{HEIGHT - n / top * (HEIGHT - 10):.1f}" for x, n in points)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img"><title>alerts that fire, at most {top}</title>'
        f'<polyline points="{path}" fill="none" stroke="#d9480f" stroke-width="2"/>'
        f'<text x="0" y="{HEIGHT + 16}" font-size="12">{stamp(start)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 16}" font-size="12" text-anchor="end">'
        f"{stamp(moments[-1][0])}</text></svg>"
    )


def _after(began_ns: int, at_ns: int | None) -> str:
    return "not" if at_ns is None else format_duration(max(round((at_ns - began_ns) / 1e9), 0))
