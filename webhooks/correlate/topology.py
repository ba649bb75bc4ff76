"""The graph that an operator gives: who depends on whom, what runs where, and which names mean the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sidecar.errors import SidecarError

MAX_HOPS = 4
HUB_SHARE = 0.4
HUB_AT_LEAST = 8
"""What at least eight and two fifths of all services call directly tells nothing of who shares a fault."""


class TopologyError(SidecarError):
    """A topology that cannot be read; the message names the place."""


class Place(msgspec.Struct, frozen=True):
    """One service or node of the graph, as the operator describes it."""

    name: str
    kind: str = "service"
    namespace: str = ""
    team: str = ""
    tier: int | None = None
    zone: str = ""


class Topology(msgspec.Struct):
    """Services, nodes and their edges. Names are lower case throughout; `places` keeps the written form."""

    places: dict[str, Place] = {}
    callees: dict[str, dict[str, int]] = {}
    callers: dict[str, dict[str, int]] = {}
    hosts: dict[str, frozenset[str]] = {}
    guests: dict[str, frozenset[str]] = {}
    zones: dict[str, frozenset[str]] = {}
    hubs: frozenset[str] = frozenset()
    described: bool = False
    """Whether an operator says what each place is; names and edges that metrics show say less."""
    _direct: dict[str, set[str]] = {}
    _runs: dict[str, set[str]] = {}
    _aliases: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.places)

    def find(self, name: str) -> str | None:
        """The place that a name means, or None.

        >>> Topology.of({"services": [{"name": "Cart", "namespace": "shop"}]}).find("shop/cart")
        'cart'
        """
        return self._aliases.get(name.lower())

    def tier(self, name: str) -> int | None:
        """The service's tier, 1 being what users see first; None where it is not known."""
        place = self.places.get(name)
        return place.tier if place else None

    def team(self, name: str) -> str:
        """Who owns a place, as the operator describes it; empty where nobody is named."""
        place = self.places.get(self.find(name) or "")
        return place.team if place else ""

    def kind(self, name: str) -> str:
        """gateway, service, database, cache, queue, external, infra, node; empty where it is not known."""
        place = self.places.get(name)
        return place.kind if place else ""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Topology:
        """The graph in a parsed topology file; unknown keys are passed over, broken parts are named.

        Raises: TopologyError.
        """
        graph = cls()
        direct: dict[str, set[str]] = {}
        runs: dict[str, set[str]] = {}
        for row in _rows(document, "nodes"):
            name = str(row["name"])
            zone = str(row.get("zone") or "")
            graph._place(Place(name, kind="node", zone=zone))
        for row in _rows(document, "services"):
            name = str(row["name"])
            tier = row.get("tier")
            graph._place(
                Place(
                    name,
                    kind=str(row.get("kind") or "service").lower(),
                    namespace=str(row.get("namespace") or ""),
                    team=str(row.get("team") or ""),
                    tier=int(str(tier)) if str(tier).isdigit() else None,
                )
            )
            direct[name.lower()] = {str(other).lower() for other in row.get("depends_on") or ()}
            runs[name.lower()] = {str(node).lower() for node in row.get("runs_on") or ()}
        graph.described = bool(graph.places)
        graph._direct, graph._runs = direct, runs
        graph._connect(direct, runs)
        return graph

    def take_calls(self, calls: Mapping[str, Iterable[str]], stores: Iterable[str] = ()) -> bool:
        """Add edges that metrics show, caller to callees; `stores` are databases. Whether any was new.

        What the operator wrote stays as it is.

        >>> graph = Topology()
        >>> graph.take_calls({"web": ["cart"]}), graph.take_calls({"web": ["cart"]}), graph.callees["web"]
        (True, False, {'cart': 1})
        """
        stores = set(stores)
        n_before = sum(map(len, self._direct.values()))
        for caller, callees in calls.items():
            for name in (caller, *callees):
                if self.find(name) is None:
                    self._place(Place(name, kind="database" if name in stores else "service"))
            direct = self._direct.setdefault(self.find(caller) or caller.lower(), set())
            direct |= {self.find(callee) or callee.lower() for callee in callees}
        if sum(map(len, self._direct.values())) == n_before:
            return False
        self._connect(self._direct, self._runs)
        return True

    def _place(self, place: Place) -> None:
        key = place.name.lower()
        self.places[key] = place
        for alias in _aliases(place):
            self._aliases.setdefault(alias, key)
        self._aliases[key] = key

    def _connect(self, direct: Mapping[str, set[str]], runs: Mapping[str, set[str]]) -> None:
        back: dict[str, set[str]] = {}
        for name, callees in direct.items():
            for callee in callees:
                back.setdefault(callee, set()).add(name)
        self.hubs = frozenset(
            name
            for name, callers in back.items()
            if len(callers) >= max(HUB_AT_LEAST, HUB_SHARE * len(direct))
        )
        names = direct.keys() | back.keys()
        self.callees = {name: _hops(name, direct, stop=self.hubs) for name in names}
        self.callers = {name: _hops(name, back, stop=frozenset()) for name in names}
        self.hosts = {name: frozenset(nodes) for name, nodes in runs.items() if nodes}
        guests: dict[str, set[str]] = {}
        zones: dict[str, set[str]] = {}
        for name, nodes in runs.items():
            for node in nodes:
                guests.setdefault(node, set()).add(name)
        for name, place in self.places.items():
            if place.kind == "node" and place.zone:
                zones.setdefault(place.zone.lower(), set()).add(name)
        self.guests = {node: frozenset(names) for node, names in guests.items()}
        self.zones = {zone: frozenset(nodes) for zone, nodes in zones.items()}
        for place in [p for p in self.places.values() if p.kind == "node" and p.zone]:
            self._aliases.setdefault(place.zone.lower(), place.zone.lower())


def load(path: Path) -> Topology:
    """The graph in a YAML file.

    Raises: TopologyError, naming the file.
    """
    # Late: a record without a graph has no use for it.
    import yaml

    from sidecar import plain_yaml

    try:
        document = plain_yaml.load_data(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TopologyError(f"topology file {path}: {' '.join(str(error).split())}") from error
    if document is None:
        return Topology()
    if not isinstance(document, Mapping):
        raise TopologyError(f"topology file {path}: holds no mapping; write `services:` and `nodes:`")
    try:
        return Topology.of(document)
    except TopologyError as error:
        raise TopologyError(f"topology file {path}: {error}") from error


def load_or_none(path: Path | None) -> Topology | None:
    """The graph of a file, if one is named; one that cannot be read is said so, and does without."""
    if path is None:
        return None
    try:
        return load(path)
    except TopologyError as error:
        # Imported late: short commands have no use for logs, and pay for what they import.
        from sidecar.telemetry import get_logger

        get_logger("topology").error("the topology is not used; correlating without it", err=str(error))
        return None


def _rows(document: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    rows = document.get(key) or ()
    if not isinstance(rows, list | tuple):
        raise TopologyError(f"{key}: a list is needed")
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping) or not row.get("name"):
            raise TopologyError(f"{key}[{at}]: a mapping with a name is needed")
        for edges in ("depends_on", "runs_on"):
            if not isinstance(row.get(edges) or [], list | tuple):
                raise TopologyError(f"{key}[{at}].{edges}: a list of names is needed")
        yield row


def _aliases(place: Place) -> Iterable[str]:
    name = place.name.lower()
    if place.namespace:
        namespace = place.namespace.lower()
        yield f"{namespace}/{name}"
        yield f"{name}.{namespace}"
        yield f"{name}.{namespace}.svc"
        yield f"{name}.{namespace}.svc.cluster.local"
    if place.kind == "node":
        yield f"node/{name}"
        yield name.partition(".")[0]


def _hops(start: str, edges: Mapping[str, set[str]], *, stop: frozenset[str]) -> dict[str, int]:
    """Distance to everything within `MAX_HOPS`; a name in `stop` is reached, but not passed."""
    found = {start: 0}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        if found[name] >= MAX_HOPS or (name in stop and name != start):
            continue
        for other in edges.get(name, ()):
            if other not in found:
                found[other] = found[name] + 1
                queue.append(other)
    del found[start]
    return found
