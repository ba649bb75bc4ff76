"""Whether shadows stay among themselves: which receivers their alerts may reach, by Alertmanager's routes.

Source: prometheus.io, Alertmanager's "Configuration" (route, matchers, continue).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from rules.adapt.canary import LABEL

_MATCHER = re.compile(r"""^\s*"?(?P<name>[^"=!~\s]+)"?\s*(?P<op>=~|!~|!=|=)\s*"?(?P<value>.*?)"?\s*$""")


def reached_by_shadows(text: str) -> list[str]:
    """Names of the receivers that tell somebody and that a shadow's alert may go to.

    `text`: Alertmanager's configuration. Routes by other labels than the shadow's may match or not.
    """
    config = yaml.safe_load(text) or {}
    telling = {
        str(receiver["name"])
        for receiver in config.get("receivers") or ()
        if any(hooks for key, hooks in receiver.items() if key.endswith("_configs"))
    }
    route = config.get("route") or {}
    return sorted(_walk(route, "") & telling)


def _walk(route: Mapping[str, Any], receiver: str) -> set[str]:
    """Receivers that the alert may reach in this branch."""
    receiver = str(route.get("receiver") or receiver)
    reached: set[str] = set()
    taken = False
    for child in route.get("routes") or ():
        matches = _matches(child)
        if matches is False:
            continue
        reached |= _walk(child, receiver)
        taken |= matches is True
        if matches and not child.get("continue"):
            return reached
    return reached if taken else {*reached, receiver}


def _matches(route: Mapping[str, Any]) -> bool | None:
    """Whether a shadow's alert matches the route; None where other labels decide."""
    name, value = LABEL
    told: bool | None = True
    for label, operator, wanted in _matchers(route):
        if label != name:
            told = None
        elif not _holds(value, operator, wanted):
            return False
    return told


def _holds(value: str, operator: str, wanted: str) -> bool:
    found = re.fullmatch(wanted, value) is not None if operator.endswith("~") else value == wanted
    return found is not operator.startswith("!")


def _matchers(route: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for label, wanted in (route.get("match") or {}).items():
        yield str(label), "=", str(wanted)
    for label, wanted in (route.get("match_re") or {}).items():
        yield str(label), "=~", str(wanted)
    for text in route.get("matchers") or ():
        found = _MATCHER.match(str(text))
        if found is not None:
            yield found["name"], found["op"], found["value"]
