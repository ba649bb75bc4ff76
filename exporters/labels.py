"""Label texts of synthetic series: names made legal, collisions resolved, values escaped."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from sidecar.records import DEFAULT_TENANT
from sidecar.series import LabelSet

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
RESERVED = ("query", "horizon")


def legal_name(name: str) -> str:
    """The name as every Prometheus accepts it: other characters become `_`, as in its own escaping scheme.

    >>> legal_name("http.method")
    'http_method'
    """
    legal = _ILLEGAL.sub("_", name)
    return "_" + legal if legal[:1].isdigit() else legal


def escape(value: str) -> str:
    """A label value as the text formats write it."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def label_text(labels: LabelSet, query: str, tenant: str, *, with_name: bool) -> bytes:
    """`{a="1",query="q"`, not closed: a tail closes it.

    A source label that we set ourselves keeps its value as `exported_<name>`,
    as Prometheus does it. `with_name`: the source's metric name becomes the
    label `metric`, where one query answers with several. `horizon` is kept free
    on every line, not only a forecast's, so that the families join one to one.
    """
    own = {"query": query} | ({"tenant": tenant} if tenant != DEFAULT_TENANT else {})
    return text_with(labels, own, with_name=with_name, kept_free=RESERVED)


def text_with(
    labels: LabelSet, own: Mapping[str, str], *, with_name: bool, kept_free: Collection[str] = ()
) -> bytes:
    """The source's labels, then `own`, as in `label_text`; no source label has a name of `kept_free`."""
    ours = {*kept_free, *own, *(["metric"] if with_name else [])}
    metric = {"metric": labels["__name__"]} if with_name and "__name__" in labels else {}
    return ("{" + joined({**metric, **made_legal(labels, ours), **own})).encode(errors="replace")


def made_legal(labels: LabelSet, ours: Collection[str]) -> dict[str, str]:
    """The source's labels less `__name__`, with legal names that are neither equal nor among `ours`."""
    found: dict[str, str] = {}
    for name, value in labels.pairs:
        if name == "__name__":
            continue
        name = legal_name(name)
        while name in ours or name in found:
            name = f"exported_{name}"
        found[name] = value
    return found


def joined(labels: Mapping[str, str]) -> str:
    """`a="1",b="2"`, values escaped."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())
