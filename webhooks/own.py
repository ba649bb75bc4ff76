"""Alerts that pronoia raises itself, by the same way as all others: durable, correlated, ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from sidecar.records import DEFAULT_TENANT, AlertEvent, Delivery

SOURCE_LABEL, SOURCE = "source", "pronoia"


def is_own(labels: Mapping[str, str]) -> bool:
    """Whether these are the labels of an alert that pronoia raised."""
    return labels.get(SOURCE_LABEL) == SOURCE


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
    events: Iterable[AlertEvent], *, receiver: str, received_at_ns: int, tenant: str = DEFAULT_TENANT
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
    )
