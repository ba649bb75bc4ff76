"""`pronoia incidents ack|assign|…`: what people do about incidents, told to the running sidecar."""

from __future__ import annotations

import getpass
import json
from typing import Any
from urllib.parse import quote

import click

from sidecar.cli.options import format_option
from sidecar.cli.own_api import ask_or_tell, at_option

ACTIONS: dict[str, tuple[str, str, str, str]] = {
    # command: action of the API, what its text is, an example of it, help
    "ack": ("acknowledge", "", "", "Take an incident on; the escalation stops."),
    "unack": ("unacknowledge", "", "", "Give it back; the escalation goes on."),
    "mitigate": (
        "mitigate",
        "[WHAT]",
        "'rolled back to 4.2'",
        "Users are well again, though alerts may still fire.",
    ),
    "assign": ("assign", "PERSON", "ana", "Give it to somebody."),
    "comment": ("comment", "TEXT", "'the origin is slow, not the edge'", "Write something on its timeline."),
    "noise": ("noise", "", "", "It was noise: its rules are believed less."),
    "useful": ("useful", "", "", "It was worth telling of: its rules are believed more."),
    "cause": ("cause", "SERVICE", "cdn", "Say what the cause was."),
    "fix": (
        "fix",
        "TEXT",
        "'more edge capacity'",
        "Say what helped; it is shown for similar incidents later.",
    ),
    "merge": ("merge", "INCIDENT", "inc-07d1e94c3a55", "Put it into another one."),
    "split": (
        "split",
        "NAME,…",
        "SearchSlow,DiskFull",
        "Take rules or fingerprints out into an incident of their own.",
    ),
    "silence": ("silence", "[DURATION]", "2h", "Silence its alerts in Alertmanager, for an hour by default."),
    "unsilence": ("unsilence", "", "", "End its silences."),
}


def commands() -> list[click.Command]:
    """One command an action, for the group `pronoia incidents`."""
    return [_command(name, *facts) for name, facts in ACTIONS.items()]


def _command(name: str, action: str, takes: str, example: str, words: str) -> click.Command:
    def run(
        output: str,
        url: str,
        by: str | None,
        incident_id: str | tuple[str, ...],
        text: str = "",
    ) -> None:
        body = {"by": by or _user(), "text": text}
        refused = False
        for one in [incident_id] if isinstance(incident_id, str) else incident_id:
            answer, trouble = ask_or_tell(url, f"/api/v1/incidents/{quote(one, safe='')}/{action}", body)
            if trouble:
                refused = True
                click.echo(f"pronoia: {one}: {trouble}", err=True)
            else:
                click.echo(json.dumps(answer) if output == "json" else _words(answer, action))
        if refused:
            raise SystemExit(1)

    parameters: list[click.Parameter] = [
        click.Option(["--by"], help="Who does it.  [default: the user's name]"),
        # What takes no text may be done to several at once.
        click.Argument(["incident_id"], nargs=1 if takes else -1, required=True),
    ]
    if takes:
        # A default of None would count as one, and a text that is needed would not be asked for.
        needed: dict[str, Any] = {"default": ""} if takes.startswith("[") else {"required": True}
        parameters.append(click.Argument(["text"], metavar=takes, **needed))
    ends = "Exit codes: 0 done, 1 refused or not reached, 2 wrong use."
    shown = f"\b\nExample:\n  {f'pronoia incidents {name} inc-bf413ca28144 {example}'.rstrip()}"
    return click.command(name, params=parameters, help=f"{words}\n\n{shown}\n\n{ends}")(
        at_option(format_option(run))
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


def _words(answer: Any, action: str) -> str:
    facts = {name: value for name, value in answer.items() if value} if isinstance(answer, dict) else {}
    if "acknowledged_at_ns" not in facts:
        facts.pop("acknowledged_by", None)  # Who had it, and has given it back.
    shown = ("incident_id", "assignee", "acknowledged_by", "cause", "fix", "silences", "ended")
    return f"{action}: " + ", ".join(f"{name} {facts[name]}" for name in shown if name in facts)
