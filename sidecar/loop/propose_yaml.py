"""A proposal as a configuration file that people read and edit."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidecar.config.fields import format_duration
from sidecar.config.model import QueryConfig
from sidecar.loop.propose import Proposal, ProposedQuery

WIDTH = 100


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """What the file says beside the queries; None is written as a commented example."""

    prometheus_url: str
    alertmanager_urls: Sequence[str] = ()
    rules_directory: Path | None = None
    data_directory: Path | None = None
    listen: str | None = None


def render_yaml(proposal: Proposal, facts: ConfigFacts) -> str:
    """The commented YAML file of a proposal, loadable as `Config`.

    Each query carries its reason and its number of series as a comment; what
    was left out stands at the end with the reason.
    """
    return "\n".join(_lines(proposal, facts)) + "\n"


def _lines(proposal: Proposal, facts: ConfigFacts) -> Iterator[str]:
    yield from _comment(
        f"pronoia's proposal for {facts.prometheus_url}: {len(proposal.queries)} queries, "
        f"{proposal.n_series} series. Edit it freely, then:"
    )
    yield "#   pronoia check-config --config pronoia.yaml"
    yield "#   pronoia run --config pronoia.yaml"
    yield ""
    yield "prometheus:"
    yield f"  url: {_quoted(facts.prometheus_url)}"
    yield ""
    if facts.alertmanager_urls:
        yield "alertmanagers:"
        for url in facts.alertmanager_urls:
            yield f"  - url: {_quoted(url)}"
    else:
        yield "# alertmanagers:"
        yield "#   - url: http://localhost:9093"
    yield ""
    if facts.listen:
        yield "server:"
        yield f"  listen: {_quoted(facts.listen)}"
        yield ""
    if facts.data_directory:
        yield "store:"
        yield f"  directory: {_quoted(str(facts.data_directory))}"
        yield ""
    yield from _comment("Adaptive rules are written here, for Prometheus to load through rule_files.")
    mark = "" if facts.rules_directory else "# "
    yield f"{mark}rules:"
    yield f"{mark}  directory: {_quoted(str(facts.rules_directory or '/etc/prometheus/rules'))}"
    yield ""
    if not proposal.queries:
        yield from _comment(
            "Nothing to watch was found. With no queries here, pronoia looks again by itself."
        )
        yield "queries: []"
    else:
        yield "queries:"
        for query in proposal.queries:
            yield from _query(query)
    if proposal.left_out:
        yield ""
        yield from _comment("Left out, and why:")
        for left in proposal.left_out:
            yield from _comment(f"{left.what}: {left.reason}.", indent="  ", hanging="      ")


def _query(query: ProposedQuery) -> Iterator[str]:
    config = query.config
    series = "1 series" if query.n_series == 1 else f"{query.n_series} series"
    yield from (f"  {line}" for line in _comment(f"{series}: {query.reason}."))
    yield f"  - name: {config.name}"
    yield f"    expr: {_quoted(config.expr)}"
    yield f"    step: {format_duration(config.step)}"
    usual = QueryConfig(name="usual", expr="up")
    if config.direction != usual.direction:
        yield f"    direction: {config.direction}"
    for bound in ("lower_bound", "upper_bound"):
        value = getattr(config, bound)
        if value is not None:
            yield f"    {bound}: {value:g}"
    # Written always: whether a query may raise alerts is the first thing its reader wants to know.
    yield f"    rule: {'true' if config.rule else 'false'}"


def _quoted(text: str) -> str:
    # `$` before a brace would be taken for an environment variable.
    text = text.replace("${", "$${")
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"  # In single quotes PromQL needs no further escapes.
    return json.dumps(text)  # JSON's strings are YAML's.


def _comment(text: str, *, indent: str = "", hanging: str = "") -> list[str]:
    plain = " ".join(text.split())  # A line break in an expression must not end the comment.
    return textwrap.wrap(
        plain,
        WIDTH,
        initial_indent=f"# {indent}",
        subsequent_indent=f"# {hanging}",
        break_long_words=False,
        break_on_hyphens=False,
    )
