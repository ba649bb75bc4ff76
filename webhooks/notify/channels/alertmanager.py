"""An Alertmanager-compatible webhook out: whoever reads Alertmanager's payload can read an incident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.config.channels import AlertmanagerWebhookConfig
from webhooks.notify.channel import Outgoing, Poster
from webhooks.notify.message import incident_labels
from webhooks.own import INCIDENT_LABEL

IDENTITY = ("alertname", INCIDENT_LABEL)
NEVER = "0001-01-01T00:00:00Z"
"""How Alertmanager writes the end of what still fires."""


class AlertmanagerWebhook:
    """POSTs payload version 4 with one alert: the incident."""

    def __init__(self, config: AlertmanagerWebhookConfig, timeout_seconds: float) -> None:
        self._config = config
        self._poster = Poster(timeout_seconds)

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message.

        Raises: NotifyError.
        """
        headers = {"Idempotency-Key": str(outgoing.document["idempotency_key"])}
        if self._config.bearer_token is not None:
            headers["Authorization"] = f"Bearer {self._config.bearer_token.get_secret_value()}"
        body = msgspec.json.encode(payload_of(outgoing.document))
        await self._poster.post(self._config.url.get_secret_value(), body=body, headers=headers)
        return {}

    async def close(self) -> None:
        """Let go of connections."""
        await self._poster.close()


def payload_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Alertmanager's payload, version 4, of a message."""
    from sidecar.series import LabelSet

    incident = document["incident"]
    labels = incident_labels(incident)
    status = "resolved" if document["kind"] in ("resolved", "merged") else "firing"
    annotations = {"summary": document["title"], "description": document["text"]}
    url = document.get("links", {}).get("incident", "")
    alert = {
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": incident["started_at"],
        "endsAt": incident["ended_at"] if status == "resolved" and incident["ended_at"] else NEVER,
        "generatorURL": url,
        # Of what stays the same: by the labels that change with its priority, its end would be another's.
        "fingerprint": LabelSet({name: labels[name] for name in IDENTITY}).fingerprint(),
    }
    return {
        "version": "4",
        "groupKey": f"pronoia/{incident['incident_id']}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "pronoia",
        "groupLabels": {"incident_id": incident["incident_id"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": url,
        "alerts": [alert],
    }
