"""The report of one incident: what happened when, who did what, and what it was. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sidecar.config.fields import format_duration
from sidecar.records import Episode, Incident, OutboxMessage, Response, TimelineEntry
from webhooks.notify.message import stamp
from webhooks.respond.document import Report, Section
from webhooks.respond.enrich import runbook_of
from webhooks.respond.lifecycle import status_of
from webhooks.respond.similar import Similar

MAX_ROWS = 200
MAX_RUNBOOKS = 10
MAX_SAID = 300
SHOWN_PLACES = 3
SAID_ELSEWHERE = frozenset({"alertname", "severity"})
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
        *_runbooks(incident, episodes),
        Section(
            "Timeline", columns=("time", "what", "who", ""), rows=_story(incident, episodes, timeline, sent)
        ),
        Section(
            "Alerts",
            columns=("rule", "alerts", "first", "last end", "where", "says"),
            rows=_rules(episodes, incident.shared_labels),
            picture=_picture(episodes, incident),
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


def _runbooks(incident: Incident, episodes: Sequence[Episode]) -> list[Section]:
    """What the rules' authors say is to be done, of the probable cause's alert first."""
    cause = incident.causes[0].fingerprint if incident.causes else None
    found: dict[str, str] = {}
    for episode in sorted(episodes, key=lambda one: (one.fingerprint != cause, one.starts_at_ns)):
        url = runbook_of(episode)
        if url:
            found.setdefault(url, episode.labels.get("alertname", "") or url)
    links = [(rule, url) for url, rule in found.items()][:MAX_RUNBOOKS]
    return [Section("Runbooks", links=links)] if links else []


def _rules(
    episodes: Iterable[Episode], shared: Mapping[str, str]
) -> list[tuple[str, int, str, str, str, str]]:
    by_rule: dict[str, list[Episode]] = {}
    for episode in episodes:
        by_rule.setdefault(episode.labels.get("alertname", ""), []).append(episode)
    rows = []
    for rule, members in sorted(by_rule.items(), key=lambda item: -len(item[1])):
        ends = [one.ends_at_ns for one in members]
        last = "fires" if any(one.state == "firing" for one in members) else stamp(max(e or 0 for e in ends))
        first = stamp(min(one.starts_at_ns for one in members))
        rows.append((rule, len(members), first, last, _where(members, shared), _says(members[-1])))
    return rows[:MAX_ROWS]


def _where(members: Iterable[Episode], shared: Mapping[str, str]) -> str:
    """The labels that not all alerts of the incident have, of a few of a rule's alerts."""
    places = dict.fromkeys(
        ", ".join(
            f"{name}={value}"
            for name, value in sorted(one.labels.items())
            if name not in SAID_ELSEWHERE and shared.get(name) != value
        )
        for one in members
    )
    found = [place for place in places if place]
    more = f" and {len(found) - SHOWN_PLACES} more" if len(found) > SHOWN_PLACES else ""
    return "; ".join(found[:SHOWN_PLACES]) + more


def _says(episode: Episode) -> str:
    notes = episode.annotations
    return " ".join((notes.get("summary") or notes.get("description") or "").split())[:MAX_SAID]


def _picture(episodes: Sequence[Episode], incident: Incident) -> str:
    """How many alerts fired, over time: up to its end, or as far as is known."""
    begins = [(one.starts_at_ns, 1) for one in episodes]
    ends = [(one.ends_at_ns, -1) for one in episodes if one.ends_at_ns is not None]
    moments = sorted([*begins, *ends])
    if not moments:
        return ""
    start = moments[0][0]
    until = max(moments[-1][0], incident.last_change_ns)
    span = max(until - start, 1)
    # One column of pixels shows no more than its highest and its last count, however many alerts come in it.
    columns: dict[int, tuple[int, int]] = {}
    firing = top = 0
    for at_ns, change in moments:
        firing += change
        top = max(top, firing)
        x = round((at_ns - start) / span * WIDTH)
        columns[x] = max(firing, columns.get(x, (0, 0))[0]), firing
    points, before = [(0, 0)], 0
    for x, (highest, last) in columns.items():
        points += [(x, before), (x, highest), (x, last)]
        before = last
    points.append((WIDTH, before))
    path = " ".join(f"{x},{HEIGHT - n / (top or 1) * (HEIGHT - 20):.1f}" for x, n in points)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img"><title>alerts that fire, at most {top}</title>'
        f'<polyline points="{path}" fill="none" stroke="#d9480f" stroke-width="2"/>'
        f'<text x="0" y="12" font-size="12">at most {top} at once</text>'
        f'<text x="0" y="{HEIGHT + 16}" font-size="12">{stamp(start)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 16}" font-size="12" text-anchor="end">'
        f"{stamp(until)}</text></svg>"
    )


def _after(began_ns: int, at_ns: int | None) -> str:
    return "not" if at_ns is None else format_duration(max(round((at_ns - began_ns) / 1e9), 0))
