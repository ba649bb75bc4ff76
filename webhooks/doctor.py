"""What in an Alertmanager's configuration would make pronoia blind: routes, silence, truncation, timing.

Pure. URLs are masked in what Alertmanager shows, so receivers are known by
their names, where deliveries have told them, or by being webhooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sidecar import plain_yaml
from sidecar.config.fields import parse_duration

DEFAULTS = {"group_wait": 30.0, "group_interval": 300.0, "repeat_interval": 14400.0}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend: how bad, what, and what to do."""

    level: str  # error | warning
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Route:
    receiver: str
    matchers: str
    group_interval: float
    repeat_interval: float
    muted: bool
    reached_by_all: bool


def examine(text: str, receivers: set[str]) -> list[Finding]:
    """Findings in an Alertmanager configuration (YAML), the worst first.

    `receivers`: names of the receivers that deliver to us; empty where none has yet.
    """
    try:
        document = plain_yaml.load_data(text)
    except yaml.YAMLError as error:
        return [Finding("error", f"its configuration cannot be read: {error}", "look at it with amtool")]
    if not isinstance(document, Mapping) or not isinstance(document.get("route"), Mapping):
        return [Finding("error", "it has no route", "add one that reaches pronoia")]
    hooks = {
        str(receiver.get("name")): [hook for hook in receiver.get("webhook_configs") or () if hook]
        for receiver in document.get("receivers") or ()
        if isinstance(receiver, Mapping)
    }
    ours = {name for name, found in hooks.items() if found and (not receivers or name in receivers)}
    if not ours:
        return [
            Finding(
                "error",
                "no receiver with a webhook reaches pronoia",
                "add a receiver with webhook_configs: [{url: http://pronoia:9469/webhooks/alertmanager}]",
            )
        ]
    found = [finding for name in sorted(ours) for hook in hooks[name] for finding in _hook(name, hook)]
    found += _routes(list(_walk(document["route"])), ours)
    return sorted(found, key=lambda finding: (finding.level != "error", finding.what))


def _hook(name: str, hook: Mapping[str, Any]) -> Iterator[Finding]:
    if hook.get("send_resolved") is False:
        yield Finding(
            "error",
            f"receiver {name}: send_resolved is off, so no alert ever ends here",
            "set send_resolved: true",
        )
    if hook.get("max_alerts"):
        yield Finding(
            "warning",
            f"receiver {name}: max_alerts {hook['max_alerts']} cuts the rest of a group off",
            "set max_alerts: 0; pronoia takes groups of any size",
        )
    if "timeout" in hook and _seconds(hook["timeout"], 0.0) == 0.0:
        yield Finding(
            "warning",
            f"receiver {name}: no timeout, so a hanging answer blocks its group",
            "set timeout: 10s (0.28 and later)",
        )


def _routes(routes: list[_Route], ours: set[str]) -> Iterator[Finding]:
    reaching = [route for route in routes if route.receiver in ours]
    if not reaching:
        yield Finding(
            "error",
            f"no route leads to {', '.join(sorted(ours))}",
            "add it as the first route with continue: true",
        )
        return
    if not any(route.reached_by_all for route in reaching):
        which = ", ".join(sorted({route.matchers or "(all)" for route in reaching}))
        yield Finding(
            "warning",
            f"only some alerts reach pronoia: those that match {which} and no earlier route",
            "put a route without matchers first, with continue: true",
        )
    for route in reaching:
        if route.group_interval > 2.0 * route.repeat_interval:
            yield Finding(
                "error",
                f"route to {route.receiver}: group_interval is above twice repeat_interval; ends get lost",
                "raise repeat_interval to at least group_interval",
            )
        if route.muted:
            yield Finding(
                "warning",
                f"route to {route.receiver}: muted at times, and nothing tells pronoia so",
                "leave mute_time_intervals to the routes that page people",
            )


def _walk(
    route: Mapping[str, Any],
    inherited: Mapping[str, Any] | None = None,
    *,
    matchers: str = "",
    all_so_far: bool = True,
) -> Iterator[_Route]:
    """Every route, and whether an alert of any labels gets there."""
    settings = {**DEFAULTS, **(inherited or {})}
    for key in (*DEFAULTS, "receiver"):
        if route.get(key) is not None:
            settings[key] = route[key]
    own = ", ".join(
        [str(matcher) for matcher in route.get("matchers") or ()]
        + [f'{k}="{v}"' for k, v in (route.get("match") or {}).items()]
        + [f'{k}=~"{v}"' for k, v in (route.get("match_re") or {}).items()]
    )
    matchers = ", ".join(part for part in (matchers, own) if part)
    reached = all_so_far and not own
    children = [child for child in route.get("routes") or () if isinstance(child, Mapping)]
    through = reached
    for child in children:
        yield from _walk(child, settings, matchers=matchers, all_so_far=through)
        if not child.get("continue"):
            # What it matches goes no further; so what follows is not reached by everything.
            through = False
    yield _Route(
        receiver=str(settings.get("receiver", "")),
        matchers=matchers,
        group_interval=_seconds(settings["group_interval"], DEFAULTS["group_interval"]),
        repeat_interval=_seconds(settings["repeat_interval"], DEFAULTS["repeat_interval"]),
        muted=bool(route.get("mute_time_intervals") or route.get("active_time_intervals")),
        # A parent's own receiver gets only what no child takes.
        reached_by_all=reached and not children,
    )


def _seconds(value: Any, default: float) -> float:
    try:
        return float(parse_duration(value))
    except (ValueError, TypeError):
        return default
