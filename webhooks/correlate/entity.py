"""What an alert is about: the service, node or workload that its labels name, and whom its text mentions.

Label names differ from place to place, so there is an order of preference, the
graph's own names decide where one is given, and values are folded: a pod with
its hash, a stateful set's ordinal, a volume claim and a host name all mean the
workload that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice

import msgspec

from webhooks.correlate.labels import (
    CLAIM_LABELS,
    CLUSTER_LABELS,
    HOST_LABELS,
    IDENTITY_LABELS,
    NAMES_NOTHING,
    NODE_LABELS,
    POD_LABELS,
    SCRAPER_LABELS,
    plain,
)
from webhooks.correlate.topology import Topology

_SCRAPER = re.compile(
    r"exporter|kube-state-metrics|^blackbox|^kubelet$|cadvisor|^probe|^node$|^telegraf$|^snmp$|^windows$|cloudwatch"
    r"|^kubernetes-(pods|nodes|services|service-endpoints|cadvisor)$|pushgateway|^integrations/|kube-rbac-proxy"
    r"|^(pod|service)-?monitor"
)
_POD_HASH = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}$")
_SHORT_HASH = re.compile(r"-(?=[a-z0-9]*\d)[bcdfghjklmnpqrstvwxz2456789]{5}$")
_ORDINAL = re.compile(r"-\d+$")
_QUALIFIED = tuple(
    re.compile(pattern)
    for pattern in (
        r"[a-z0-9-]+/([a-z0-9][a-z0-9.-]*)",  # Of a namespace.
        r"([a-z0-9-]+)\.[a-z0-9-]+\.svc(?:\.[a-z0-9.-]+)?",  # In a cluster's DNS.
        r"(?:prod|production|prd|live)[-_.]([a-z0-9].*)",
        r"(.+)[-_.](?:prod|production|prd)",
    )
)
_IP = re.compile(r"^\d{1,3}(\.\d{1,3}){3}$")
_SEPARATOR = re.compile(r"[^a-z0-9]+")
_TOKEN = re.compile(r"[^\s,;()\[\]{}<>'\"`|=]+")
_ORDINARY = re.compile(r"^[a-z]+$")
_POINTING = frozenset(
    {"to", "from", "on", "calling", "upstream", "downstream", "against", "via", "behind", "towards", "into"}
    | {"between", "and", "connecting", "reaching", "by", "of", "at"}
    | {"service", "database", "backend", "dependency", "node", "host"}
)
_VOLUME = frozenset(
    {"data", "storage", "vol", "volume", "pvc", "disk", "www", "wal", "logs", "db", "datadir", "pgdata"}
)


_FREE = HOST_LABELS | {"topic", "queue", "function", "device", "namespace", "database", "cache"}
"""What these name is no workload, and has names of its own form."""

MAX_VALUE = 1000
"""So much of a label's value is read; a URL may have some hundred characters, a name hardly as many."""

MAX_WORDS = 40
"""So many words of a value are searched for names: all stretches of them are, half their square in number."""

MAX_FRONTS = 20_000
MAX_SEEN, MAX_FOLDED = 50_000, 20_000
"""Names come and go with pods and hosts; what is known of those of last month is only memory."""

NOBODY: frozenset[str] = frozenset()
"""Held by nearly every alert: each set of its own would cost 216 bytes, empty or not."""


class Subject(msgspec.Struct, frozen=True):
    """What one alert is about. Names are lower case; `written` is the entity as its label has it."""

    entity: str
    written: str
    node: str
    namespace: str
    cluster: str
    mentions: frozenset[str]
    others: frozenset[str]


class EntityReader:
    """Reads subjects; knows the graph's names, and learns those that strong labels show it."""

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        labels: Iterable[str] = (),
        folds: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.topology = Topology() if topology is None else topology
        own = tuple(labels)
        self._order = (*own, *(name for name in IDENTITY_LABELS if name not in own))
        self._own = frozenset(own)
        self._folds = [(label, re.compile(pattern)) for label, pattern in folds]
        self._seen: dict[str, str] = {}
        self._folded: dict[tuple[str, str], str] = {}
        self.fronts: set[str] = set()
        """Entities that an ingress or a probe from outside names: users meet the system there."""
        self.promised: set[str] = set()
        """Entities for which somebody wrote down a service level."""

    def written(self, entity: str) -> str:
        """An entity's name as the operator or a label wrote it."""
        place = self.topology.places.get(entity)
        return place.name if place else self._seen.get(entity, entity)

    def promise(self, entity: str) -> None:
        """Note that somebody wrote down a service level for an entity."""
        _keep(self.promised, entity)

    def take_calls(self, calls: Mapping[str, Iterable[str]], stores: Iterable[str]) -> bool:
        """Let the graph have edges that metrics show; whether any was new."""
        grown = self.topology.take_calls(calls, stores)
        if grown:
            self._folded.clear()  # Names of the graph decide how values are read.
        return grown

    def read(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Subject:
        """The subject of an alert.

        Label names are read plainly: `k8s_deployment_name` is a deployment.

        >>> EntityReader().read({"alertname": "X", "pod": "cart-5d9f7c6b8-x2x4z"}, {}).entity
        'cart'
        """
        labels = {name: value[:MAX_VALUE] for name, value in plain(labels).items()}
        entity, written = self._entity(labels)
        self._seen.setdefault(entity, written)
        if len(self._seen) > MAX_SEEN:
            for oldest in list(islice(self._seen, MAX_SEEN // 2)):
                del self._seen[oldest]
        node = ""
        for name in NODE_LABELS:
            if labels.get(name):
                node = self._fold(name, labels[name])
                break
        cluster = next((labels[name] for name in CLUSTER_LABELS if labels.get(name)), "")
        if labels.get("ingress") or any(
            labels.get(name, "").startswith(("http://", "https://")) for name in HOST_LABELS
        ):
            _keep(self.fronts, entity)
        if "slo" in labels or any(name.startswith("sloth_") for name in labels):
            self.promise(entity)
        mentions = self._mentions(entity, annotations)
        others = self._others(entity, labels)
        namespace = labels.get("namespace") or labels.get("ns")
        return Subject(entity, written, node, (namespace or "").lower(), cluster, mentions, others)

    def _entity(self, labels: Mapping[str, str]) -> tuple[str, str]:
        fallback: tuple[str, str] | None = None
        for name in self._order:
            value = labels.get(name)
            if not value:
                continue
            folded = self._fold(name, value)
            if folded in self.topology.places:
                return folded, self.topology.places[folded].name
            if name in SCRAPER_LABELS and name not in self._own and _SCRAPER.search(value.lower()):
                continue
            if fallback is None:
                fallback = folded, _written(value, folded)
                if not self.topology or name in self._own:
                    break
        if self.topology:
            # A label that nobody foresaw may still name something of the graph.
            for name, value in labels.items():
                if name not in NAMES_NOTHING and (found := self.topology.find(value)) in self.topology.places:
                    return str(found), self.topology.places[str(found)].name
        if fallback is not None:
            return fallback
        name = labels.get("alertname", "unknown")
        return name.lower(), name

    def _others(self, entity: str, labels: Mapping[str, str]) -> frozenset[str]:
        """Other things of the graph, or seen before, that the alert's labels name."""
        found: set[str] = set()
        for name, value in labels.items():
            if name in NAMES_NOTHING:
                continue
            folded = self._fold(name, value)
            if folded != entity and (folded in self.topology.places or folded in self.topology.zones):
                found.add(folded)
        return frozenset(found) if found else NOBODY

    def _fold(self, label: str, value: str) -> str:
        key = (label, value)
        folded = self._folded.get(key)
        if folded is None:
            folded = self._fold_now(label, value)
            # Claims are read by what was seen so far, which grows; the graph's names do not.
            if label not in CLAIM_LABELS or folded in self.topology.places:
                if len(self._folded) >= MAX_FOLDED:
                    self._folded.clear()
                self._folded[key] = folded
        return folded

    def _fold_now(self, label: str, value: str) -> str:
        for name, pattern in self._folds:
            if name == label:
                value = pattern.sub("", value) or value
        found = self.topology.find(value)
        if found is not None:
            return found
        text = value.lower()
        if label in HOST_LABELS:
            text = _host(text)
            found = self.topology.find(text)
            if found is not None:
                return found
            first = text.partition(".")[0]
            if not _IP.match(text):
                text = _ORDINAL.sub("", first) if ".svc" in value or first.count("-") < 3 else first
        elif label in POD_LABELS:
            text = (
                _SHORT_HASH.sub("", _POD_HASH.sub("", text))
                if not _ORDINAL.search(text)
                else _ORDINAL.sub("", text)
            )
        elif label in CLAIM_LABELS:
            text = _ORDINAL.sub("", _ORDINAL.sub("", text))
        if label not in _FREE:
            text = _unqualified(text)
        found = self.topology.find(text) or self.topology.find(_other_form(text))
        if found is not None:
            return found
        if label in POD_LABELS | CLAIM_LABELS | HOST_LABELS:
            inside = self._inside(text, label)
            if inside:
                return inside
        return text

    def _inside(self, text: str, label: str) -> str | None:
        """The longest known name that stands in a text between separators."""
        tokens = [token for token in re.split(r"([^a-z0-9]+)", text) if token]
        words = [at for at, token in enumerate(tokens) if not _SEPARATOR.fullmatch(token)][:MAX_WORDS]
        spans = sorted(
            ((first, last) for first in words for last in words if last >= first),
            key=lambda span: span[0] - span[1],
        )
        for first, last in spans:
            name = "".join(tokens[first : last + 1])
            if self.topology.find(name) is not None:
                return self.topology.find(name)
            edge = (label == "persistentvolumeclaim" and last == words[-1]) or (
                label in ("job_name", "cronjob") and first == words[0]
            )
            if edge and name in self._seen:
                return name
        if label == "persistentvolumeclaim" and len(words) > 1 and tokens[words[0]] in _VOLUME:
            return "".join(tokens[words[1] :])
        return None

    def _mentions(self, entity: str, annotations: Mapping[str, str]) -> frozenset[str]:
        found: set[str] = set()
        for key, value in annotations.items():
            if "url" in key or value.startswith(("http://", "https://")):
                continue
            before = ""
            for token in _TOKEN.findall(value[:2000]):
                word = token.rstrip(".,:;!?").lower()
                name = self._known(word)
                # A service may be called `order`: such a word counts only where something points at it.
                if name and name != entity and (not _ORDINARY.match(word) or before in _POINTING):
                    found.add(name)
                before = word
        return frozenset(found) if found else NOBODY

    def _known(self, word: str) -> str | None:
        if len(word) < 3:
            return None
        found = self.topology.find(word)
        if found is not None:
            return found
        if word in self._seen:
            return word
        if "/" in word and "://" not in word:
            return self._known(word.rpartition("/")[2])
        if "-" in word:
            folded = (
                _SHORT_HASH.sub("", _POD_HASH.sub("", word))
                if not _ORDINAL.search(word)
                else _ORDINAL.sub("", word)
            )
            if folded != word:
                found = self.topology.find(folded)
                return found if found is not None else folded if folded in self._seen else None
        if ":" in word or "." in word:
            host = _host(word).partition(".")[0]
            return self.topology.find(host) or (host if host in self._seen else None)
        return None


def _keep(known: set[str], entity: str) -> None:
    """Add to what is known, which begins anew before it grows for ever: what is there will show again."""
    if len(known) >= MAX_FRONTS and entity not in known:
        known.clear()
    known.add(entity)


def _unqualified(text: str) -> str:
    """A workload's own name: without its namespace, the cluster's domain, or that it is the live one.

    What says `staging` keeps it: that is another system.

    >>> [_unqualified(name) for name in ("shop/cart", "cart.shop.svc.cluster.local", "prod-cart")]
    ['cart', 'cart', 'cart']
    """
    for qualified in _QUALIFIED:
        if found := qualified.fullmatch(text):
            text = found.group(1)
    return text


def _other_form(text: str) -> str:
    """A name with the word for what it is, or without it: `cart-service` for `cart`."""
    return text.removesuffix("-service") if text.endswith("-service") else f"{text}-service"


def _host(text: str) -> str:
    """The host of a URL or of host:port."""
    text = text.partition("://")[2] or text
    text = text.partition("/")[0]
    head, _, port = text.rpartition(":")
    return head if head and port.isdigit() and not head.endswith(":") else text


def _written(value: str, folded: str) -> str:
    """The written form of a folded name, where the value still holds it."""
    at = value.lower().find(folded)
    return value[at : at + len(folded)] if at >= 0 else folded
