"""Alerts that pronoia raises itself, by the same way as all others: durable, correlated, ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from sidecar.records import DEFAULT_TENANT, AlertEvent, Delivery

SOURCE_LABEL, SOURCE = "source", "pronoia"
INCIDENT_LABEL = "pronoia_incident"
"""Reserved: an alert that bears it stands for an incident of ours."""


def is_own(labels: Mapping[str, str]) -> bool:
    """Whether these are the labels of an alert that pronoia raised."""
    return labels.get(SOURCE_LABEL) == SOURCE


def without_echoes(delivery: Delivery) -> Delivery:
    """The delivery less the alerts that speak of our own incidents: they must not become incidents again."""
    if not any(INCIDENT_LABEL in alert.labels for alert in delivery.alerts):
        return delivery
    return replace(delivery, alerts=[one for one in delivery.alerts if INCIDENT_LABEL not in one.labels])


def own_event(
    alertname: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    *,
    starts_at_ns: int,
    ends_at_ns: int | None = None,
) -> AlertEvent:
    """An alert of our own; resolved where `ends_at_ns` is given."""
    from sidecar.series import LabelSet

    named = {name: value for name, value in labels.items() if value}
    named |= {"alertname": alertname, SOURCE_LABEL: SOURCE}
    return AlertEvent(
        fingerprint=LabelSet(named).fingerprint(),
        firing=ends_at_ns is None,
        labels=named,
        annotations=dict(annotations),
        starts_at_ns=starts_at_ns,
        ends_at_ns=ends_at_ns,
        generator_url="",
    )


def inner_delivery(
    events: Iterable[AlertEvent],
    *,
    receiver: str,
    received_at_ns: int,
    tenant: str = DEFAULT_TENANT,
    authority: str = "told",
) -> Delivery:
    """A delivery that nobody sent: what we know by other ways, for the intake to make durable."""
    alerts = list(events)
    names = ",".join(sorted(f"{e.fingerprint}:{e.firing}" for e in alerts))
    return Delivery(
        tenant=tenant,
        receiver=receiver,
        group_key="",
        external_url="",
        received_at_ns=received_at_ns,
        body_hash=hashlib.blake2b(names.encode(), digest_size=16).digest(),
        truncated_alerts=0,
        alerts=alerts,
        dead_letters=[],
        authority=authority,
    )
