"""PagerDuty by its Events API v2: one alert an incident, held together by its dedup key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.config.channels import PagerDutyConfig
from webhooks.notify.channel import Outgoing, Poster, secret_of

# https://developer.pagerduty.com/docs/send-alert-event: lengths and severities that it takes.
MAX_SUMMARY, MAX_DEDUP_KEY = 1024, 255
MAX_FIELD, MAX_TEXT, MAX_LABELS = 1024, 32_000, 100
"""Together far below the 512 KB above which an event is refused."""
KEY_PREFIX = "pronoia/"
"""Of dedup keys; the incident's id follows."""

SEVERITIES = {"P0": "critical", "P1": "error", "P2": "warning", "P3": "info"}
ACTIONS = {
    "acknowledged": "acknowledge",
    "mitigated": "acknowledge",
    "resolved": "resolve",
    "merged": "resolve",
}


class PagerDuty:
    """Triggers, acknowledges and resolves; a repeated try changes nothing, so nobody is paged twice."""

    def __init__(self, config: PagerDutyConfig, timeout_seconds: float) -> None:
        self._config = config
        self._poster = Poster(timeout_seconds)

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver an event.

        Raises: NotifyError.
        """
        key = secret_of("pagerduty: the routing key", self._config.routing_key, self._config.routing_key_file)
        event = event_of(outgoing.document, routing_key=key)
        url = self._config.api_url.rstrip("/") + "/v2/enqueue"
        await self._poster.post(url, body=msgspec.json.encode(event), headers={})
        return {"dedup_key": event["dedup_key"]}

    async def close(self) -> None:
        """Let go of connections."""
        await self._poster.close()


def event_of(document: Mapping[str, Any], *, routing_key: str) -> dict[str, Any]:
    """The event that a message is; anything but an acknowledgement or an end is a trigger."""
    incident = document["incident"]
    action = ACTIONS.get(document["kind"], "trigger")
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": f"{KEY_PREFIX}{incident['incident_id']}"[:MAX_DEDUP_KEY],
        "client": "pronoia",
    }
    links = document.get("links", {})
    if links.get("incident"):
        event["client_url"] = links["incident"]
    if action == "trigger" or document["kind"] == "merged":
        # Of an end only that one needs words, for the log of the alert there: where it went.
        event["payload"] = _payload(document)
        event["links"] = [
            {"href": href, "text": text} for text, href in links.items() if text != "incident" and href
        ]
    return event


def _payload(document: Mapping[str, Any]) -> dict[str, Any]:
    incident = document["incident"]
    cause = incident["causes"][0]["service"][:MAX_FIELD] if incident["causes"] else ""
    return {
        "summary": document["title"][:MAX_SUMMARY],
        "source": cause or incident["incident_id"],
        "severity": SEVERITIES.get(incident["priority"], "info"),
        "timestamp": incident["started_at"],
        "component": cause,
        "group": incident.get("team") or "",
        "class": incident["category"],
        "custom_details": {
            "text": document["text"][:MAX_TEXT],
            "n_firing": incident["n_firing"],
            "n_alerts": incident["n_episodes"],
            "labels": _bounded(incident["shared_labels"]),
        },
    }


def _bounded(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, less what would make an event too large to be taken."""
    return {name[:MAX_FIELD]: value[:MAX_FIELD] for name, value in list(labels.items())[:MAX_LABELS]}
