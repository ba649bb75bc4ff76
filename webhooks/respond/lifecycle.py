"""What people do about an incident, as changes of its response. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from sidecar.errors import SidecarError
from sidecar.records import Incident, Response, TimelineEntry

MAX_TEXT = 4000
MAX_NAME = 200
PAUSED = frozenset({"acknowledged", "mitigated"})


class ActionError(SidecarError):
    """An action that cannot be taken; the message says why, and what can."""

    reason = "action"


def status_of(incident: Incident, response: Response | None) -> str:
    """open, acknowledged, mitigated, reopened, resolved or merged.

    Alerts decide when it is over, people what happens until then.
    """
    if incident.state != "open" or response is None:
        return incident.state
    if response.mitigated_at_ns is not None:
        return "mitigated"
    if response.acknowledged_at_ns is not None:
        return "acknowledged"
    return "reopened" if response.n_reopened else "open"


def taken_by(incident: Incident, response: Response | None) -> str:
    """Who has an open incident; empty where nobody has taken it on."""
    if response is None or status_of(incident, response) not in PAUSED:
        return ""
    return response.assignee or response.acknowledged_by


def act(
    response: Response, incident: Incident, action: str, *, actor: str, text: str, now_ns: int
) -> tuple[Response, TimelineEntry]:
    """The response after an action, and the timeline's entry.

    Raises: ActionError for an unknown action, one that needs a text and has none, or one too late.
    """
    if action not in ACTIONS:
        raise ActionError(unknown(action, ACTIONS))
    if incident.state == "merged":
        raise ActionError(f"went into incident {incident.merged_into}; act on that one")
    if action in WHILE_OPEN and incident.state != "open":
        raise ActionError(f"is {incident.state}; only an open incident can be changed so")
    actor, text = actor.strip()[:MAX_NAME] or "somebody", text.strip()[:MAX_TEXT]
    if action in NEEDS_TEXT and not text:
        raise ActionError(f"{action} needs {NEEDS_TEXT[action]}")
    if action == "acknowledge" and response.acknowledged_at_ns and response.acknowledged_by != actor:
        text = f"{text} (taken over from {response.acknowledged_by})".strip()
    changed = replace(ACTIONS[action](response, actor, text, now_ns), changed_at_ns=now_ns)
    return changed, TimelineEntry(incident.incident_id, now_ns, action, actor, text)


def unknown(action: str, known: Iterable[str]) -> str:
    """What to say to an action that there is not: what is probably meant, else all there are."""
    hint = HINTS.get(action) or f"known: {', '.join(sorted(known))}"
    return f"no action {action!r}; {hint}"


def _acknowledge(response: Response, actor: str, _: str, now_ns: int) -> Response:
    first = response.first_acknowledged_at_ns
    return replace(
        _without_pause(response, now_ns),
        acknowledged_at_ns=now_ns,
        acknowledged_by=actor,
        open_again="",
        # Who takes it over has it, unless somebody was asked by name.
        assignee=actor if response.assignee in ("", response.acknowledged_by) else response.assignee,
        first_acknowledged_at_ns=now_ns if first is None else first,
    )


def _without_pause(response: Response, now_ns: int) -> Response:
    """Ends acknowledgement and mitigation, and remembers how long they paused the escalation."""
    paused = _paused_seconds(response, now_ns / 1e9)
    return replace(
        response, acknowledged_at_ns=None, mitigated_at_ns=None, over_at_ns=None, paused_seconds=paused
    )


def _paused_seconds(response: Response, now: float) -> float:
    """How long the escalation was paused until now: somebody had the incident, or it was over."""
    pauses = response.acknowledged_at_ns, response.mitigated_at_ns, response.over_at_ns
    began = [at for at in pauses if at is not None]
    return response.paused_seconds + (max(now - min(began) / 1e9, 0.0) if began else 0.0)


def _give_back(response: Response, actor: str, _: str, now_ns: int) -> Response:
    if response.acknowledged_at_ns is None:
        return response
    return expire(response, now_ns, why=f"{actor} gave it back")


def _mitigate(response: Response, actor: str, text: str, now_ns: int) -> Response:
    acknowledged = response if response.acknowledged_at_ns else _acknowledge(response, actor, text, now_ns)
    return replace(acknowledged, mitigated_at_ns=now_ns, over_at_ns=None, fix=text or response.fix)


def end(response: Response, now_ns: int) -> Response:
    """Nobody is waited for while no alert fires; what fires again later goes on from here."""
    return replace(response, over_at_ns=now_ns)


def reopen(response: Response, now_ns: int) -> Response:
    """What fires again after its end has to be looked at again."""
    return replace(
        _without_pause(response, now_ns),
        acknowledged_by="",
        open_again="",
        n_reopened=response.n_reopened + 1,
        changed_at_ns=now_ns,
    )


def expire(response: Response, now_ns: int, *, why: str = "the acknowledgement has expired") -> Response:
    """An acknowledgement that nothing followed no longer stops the escalation."""
    return replace(_without_pause(response, now_ns), changed_at_ns=now_ns, open_again=why)


def waited_seconds(response: Response | None, *, since: float, now: float) -> float:
    """Time since the first message in which alerts fired and nobody had taken the incident on."""
    pause = _paused_seconds(response, now) if response is not None else 0.0
    return max(now - since - pause, 0.0)


Change = Callable[[Response, str, str, int], Response]

ACTIONS: dict[str, Change] = {
    "acknowledge": _acknowledge,
    "unacknowledge": _give_back,
    "mitigate": _mitigate,
    "assign": lambda response, _, text, __: replace(response, assignee=text[:MAX_NAME]),
    "comment": lambda response, _, __, ___: response,
    "noise": lambda response, _, __, ___: replace(response, noise=True),
    "useful": lambda response, _, __, ___: replace(response, noise=False),
    "cause": lambda response, _, text, __: replace(response, cause=text[:MAX_NAME]),
    "fix": lambda response, _, text, __: replace(response, fix=text),
}
_NOT_BY_HAND = "its alerts decide when it is over; mitigate says that users are well again"
_FOR_A_WHILE = "acknowledge stops the escalation, silence (2h, say) its alerts in Alertmanager"
HINTS = {
    "ack": "acknowledge is meant",
    "unack": "unacknowledge is meant",
    "resolve": _NOT_BY_HAND,
    "close": _NOT_BY_HAND,
    "snooze": _FOR_A_WHILE,
    "mute": _FOR_A_WHILE,
}
"""What is asked for at night by the words of other tools."""

OF_ITS_ALERTS = frozenset({"noise", "useful", "mitigate"})
"""What is said of the very alerts of an incident, and not of another one that it went into."""
WHILE_OPEN = frozenset({"acknowledge", "unacknowledge", "mitigate"})
NEEDS_TEXT = {
    "assign": "a person",
    "comment": "a text",
    "cause": "a service",
    "fix": "what was done",
}
