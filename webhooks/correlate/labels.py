"""Names of labels: which say what an alert is about, and the many ways to write each.

What the field calls a service is `service` here, `app_kubernetes_io_name` there and
`serviceName` elsewhere: all are read under one plain name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

IDENTITY_LABELS = (
    "service",
    "app",
    "microservice",
    "component",
    "workload",
    "deployment",
    "statefulset",
    "daemonset",
    "replicaset",
    "horizontalpodautoscaler",
    "ingress",
    "container",
    "pod",
    "persistentvolumeclaim",
    "cronjob",
    "job_name",
    "job",
    "database",
    "cache",
    "queue",
    "topic",
    "function",
    "upstream",
    "backend",
    "target",
    "url",
    "node",
    "host",
    "instance",
    "device",
    "namespace",
)
"""Labels that say what an alert is about, the most telling first, by their plain names."""

SYNONYMS = {
    "svc": "service",
    "service_id": "service",
    "serviceid": "service",
    "application": "app",
    "app_kubernetes_io": "app",
    "k8s_app": "app",
    "system": "app",
    "project": "app",
    "owner_name": "workload",  # As kube-state-metrics has it; a plain `owner` is a team.
    "hpa": "horizontalpodautoscaler",
    "pvc": "persistentvolumeclaim",
    "volume": "persistentvolumeclaim",
    "db": "database",
    "datname": "database",
    "lambda": "function",
    "functionname": "function",
    "hostname": "host",
    "nodename": "node",
    "server": "host",
    "machine": "host",
    "vm": "host",
    "addr": "instance",
    "address": "instance",
    "endpoint_url": "url",
    "probe_target": "target",
    "kafka_topic": "topic",
}
_PREFIX = re.compile(
    r"^(exported|kubernetes|k8s|kube|label|labels|destination|target|dst|server|meta|io)_(?=.)"
)
_SUFFIX = re.compile(r"(?<=.)_(name|id)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

NODE_LABELS = ("node", "host")
POD_LABELS = frozenset({"pod", "replicaset"})
CLAIM_LABELS = frozenset({"persistentvolumeclaim", "job_name", "cronjob"})
HOST_LABELS = frozenset({"instance", "target", "url", "host", "node"})
CLUSTER_LABELS = ("cluster", "environment", "env")
SCRAPER_LABELS = frozenset({"job", "service", "container", "app", "pod"})
NAMES_NOTHING = frozenset(
    {"alertname", "severity", "namespace", "cluster", "job", "environment", "env", "region"}
    | {"team", "owner", "owned_by", "squad", "tribe", "contact"}
)


def plain(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels under the plain names of `IDENTITY_LABELS`; where two mean the same, the plainer one stays.

    >>> plain({"k8s_deployment_name": "cart", "svc": "c", "service": "cart", "podName": "cart-0"})
    {'deployment': 'cart', 'service': 'cart', 'pod': 'cart-0'}
    """
    read: dict[str, str] = {}
    for name, value in labels.items():
        known = _plain_name(name)
        if known == name or known not in labels:
            read.setdefault(known, value)
    return read


@lru_cache(maxsize=4096)
def _plain_name(name: str) -> str:
    if name in ("job_name", "alertname") or name in IDENTITY_LABELS:
        return name
    text = re.sub(r"[^a-z0-9]+", "_", _CAMEL.sub("_", name).lower()).strip("_")
    for _ in range(3):
        if text in SYNONYMS:
            return SYNONYMS[text]
        if text in IDENTITY_LABELS or text in ("cluster", "namespace"):
            return text
        shorter = _PREFIX.sub("", _SUFFIX.sub("", text))
        if shorter == text:
            break
        text = shorter
    return name
