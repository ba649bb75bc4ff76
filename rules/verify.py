"""Waits until Prometheus itself shows a revision, and shows it healthy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import yaml

from rules.document import RuleFile
from rules.read import WrittenRule
from sidecar.errors import PullError, PullReason, RuleError, RuleReason
from sidecar.prometheus.answers import Rule
from sidecar.promql.quoted import LEGAL_LABEL, said
from sidecar.promql.syntax import QUOTED_NAME, Syntax

_SELECTOR = re.compile(r"([\w:]*)\{((?:[^{}\0]|\0[^\0]*\0)*)\}")
_MATCHER = re.compile(r"(?:[\w:]+|\0[^\0]*\0)\s*(?:=~|!~|!=|=)\s*\0[^\0]*\0")
_PLAIN_NAME = re.compile(r"__name__=\0([a-zA-Z_:][a-zA-Z0-9_:]*)\0")
"""Strings stand between zero bytes there, which no expression holds."""


class LoadedRules(Protocol):
    """What Prometheus has loaded."""

    async def rules(self) -> list[Rule]:
        """What is loaded. Raises: PullError."""
        ...


class RuleServer(LoadedRules, Protocol):
    """What publishing asks of Prometheus; `PrometheusClient` has it."""

    async def reload(self) -> None:
        """Read the rule files again. Raises: PullError with the server's words."""
        ...


async def begin_reload(server: RuleServer) -> None:
    """Have the rule files read again; one that takes longer than a request may is waited for by who looks.

    Raises: PullError with the server's words.
    """
    try:
        await server.reload()
    except PullError as error:
        if error.reason != PullReason.TIMEOUT.value:
            raise


async def wait_until_live(
    server: LoadedRules,
    file: RuleFile,
    *,
    timeout_seconds: float,
    poll_seconds: float,
    advice: str,
    monotonic: Callable[[], float],
) -> None:
    """Return once every rule of the file is loaded and was evaluated without an error.

    A revision that is loaded and not evaluated within the time passes: the watch over live rules goes on.
    Raises: RuleError: not loaded within `timeout_seconds` (its message ends with `advice`), or unhealthy.
    """
    deadline = monotonic() + timeout_seconds
    found: list[Rule] = []
    while monotonic() < deadline:
        try:
            found = members(await server.rules(), file.text)
        except PullError as error:
            if not error.retryable:
                raise RuleError(RuleReason.NOT_LOADED, str(error)) from error
        if is_revision(found, file.revision):
            bad = [rule for rule in found if rule.health == "err"]
            if bad:
                raise RuleError(RuleReason.UNHEALTHY, f"{bad[0].name}: {bad[0].last_error}")
            if all(rule.health == "ok" for rule in found):
                return
        await asyncio.sleep(poll_seconds)
    if is_revision(found, file.revision):
        return
    raise RuleError(
        RuleReason.NOT_LOADED,
        f"Prometheus does not show revision {file.revision} of the group {file.group} "
        f"after {timeout_seconds:g} s; {advice}",
    )


def members(rules: Sequence[Rule], text: str, *, prefix: str = "") -> list[Rule]:
    """Those of the groups that a rule file's text has; `prefix`: what their names begin with besides."""
    names = {prefix + name for name in _group_names(text)}
    return [rule for rule in rules if rule.group in names]


@lru_cache(maxsize=512)
def _group_names(text: str) -> frozenset[str]:
    try:
        return frozenset(str(group["name"]) for group in yaml.safe_load(text)["groups"])
    except (yaml.YAMLError, KeyError, TypeError):
        return frozenset()  # What people left in a group's place, and a roll-back put there again.


def is_revision(rules: Sequence[Rule], revision: str) -> bool:
    """True where the alerting rules among these carry the revision."""
    alerts = [rule for rule in rules if rule.kind == "alerting"]
    return bool(alerts) and all(rule.annotations.get("pronoia_revision") == revision for rule in alerts)


def meaning(rule: WrittenRule) -> tuple[object, ...]:
    """What names a rule as it is meant: Prometheus prints expressions in its own way, and means the same."""
    return rule.key, rule.for_seconds, rule.keep_firing_seconds, canonical(rule.expr)


def canonical(expr: str) -> str:
    """An expression with its matchers sorted, as Prometheus prints them, and what its strings say.

    >>> canonical("up{job='a', code=~`5..`}") == canonical('up{code=~"5..",job="a"}')
    True
    """
    try:
        syntax = Syntax.parse(expr)
    except ValueError:
        return " ".join(expr.split())  # A server may know functions that the parser does not.
    text = QUOTED_NAME.sub(lambda found: _label(syntax.names[int(found[1])]), str(syntax.tree))
    for n, literal in enumerate(syntax.strings):
        text = text.replace(f'"literal-{n}-"', f"\0{said(literal)}\0")
    return _SELECTOR.sub(_sorted, text)


def _label(name: str) -> str:
    """A label in quotes: Prometheus prints one that needs none without."""
    return name if LEGAL_LABEL.fullmatch(name) else f"\0{name}\0"


def _sorted(selector: re.Match[str]) -> str:
    """Its matchers in order, and a metric that can stand before them there: `{"up"}` is printed as `up`."""
    name, matchers = selector[1], sorted(_MATCHER.findall(selector[2]))
    for matcher in () if name else matchers:
        if plain := _PLAIN_NAME.fullmatch(matcher):
            name = plain[1]
            matchers.remove(matcher)
            break
    return f"{name}{{{','.join(matchers)}}}"
