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
from sidecar.promql.syntax import Syntax

_SELECTOR = re.compile(r"\{((?:[^{}\0]|\0[^\0]*\0)*)\}")
_MATCHER = re.compile(r"[\w.:]+\s*(?:=~|!~|!=|=)\s*\0[^\0]*\0")
"""Strings stand between zero bytes there, which no expression holds."""

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


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
    text = str(syntax.tree)
    for n, literal in enumerate(syntax.strings):
        text = text.replace(f'"literal-{n}-"', f"\0{_said(literal)}\0")
    return _SELECTOR.sub(lambda found: "{" + ",".join(sorted(_MATCHER.findall(found[1]))) + "}", text)


def _said(literal: str) -> str:
    """What a quoted string says: `'it\\'s'` and `"it's"` are one."""
    return _ESCAPE.sub(_letter, literal[1:-1])


def _letter(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _LETTERS.get(code, code)
