"""Finds people's own rules where the configuration says that they are, and each place by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from os.path import isfile  # Unlike a path's own, it says no of what may not be looked at.
from pathlib import Path

from rules.adapt.place import OBJECT, RULER, Place, group_of
from rules.adapt.place_file import FilePlace
from rules.read import WrittenRule, of_server, read_files, read_text
from rules.verify import LoadedRules
from sidecar.config.model import RulesConfig
from sidecar.errors import RuleError
from sidecar.telemetry import get_logger


def place_finder(config: RulesConfig) -> Callable[[str], Place]:
    """By the name that a group has in the store, its place."""

    def find(group: str) -> Place:
        if group.startswith(OBJECT):
            from rules.adapt.place_object import ObjectPlace
            from rules.kubernetes import RuleObjects

            own = config.prometheus_rule
            return ObjectPlace.of(group, RuleObjects(own), own.instance)
        if group.startswith(RULER):
            from rules.adapt.place_ruler import RulerPlace
            from rules.ruler import RulerApi

            return RulerPlace.of(group, RulerApi(config.ruler))
        return FilePlace.of(group, needs_reload=config.reload)

    return find


async def own_rules(config: RulesConfig, server: LoadedRules) -> list[WrittenRule]:
    """Rules of people's own, from where `rules.publish` says that rules are kept.

    Files that the server has loaded and that are on this machine are read; of others the
    rules are as the server prints them. Raises: PullError, RuleError.
    """
    if config.publish == "prometheus_rule":
        return await _of_objects(config)
    if config.publish == "ruler":
        return await _of_ruler(config)
    return await asyncio.to_thread(_of_files, of_server(await server.rules()))


def _of_files(loaded: Sequence[WrittenRule]) -> list[WrittenRule]:
    found: list[WrittenRule] = []
    for file, members in groupby(sorted(loaded, key=lambda rule: rule.file), key=lambda rule: rule.file):
        as_loaded = list(members)
        try:
            found += read_files([Path(file)]) if isfile(file) else as_loaded
        except RuleError:
            found += as_loaded  # Somebody is at work on it; what is loaded is judged, and no place rewritten.
    return found


async def _of_objects(config: RulesConfig) -> list[WrittenRule]:
    from rules.adapt.place_object import object_text
    from rules.kubernetes import RuleObjects

    objects = RuleObjects(config.prometheus_rule)
    found: list[WrittenRule] = []
    for each in await objects.all():
        place = f"{OBJECT}{objects.namespace()}/{each['metadata']['name']}"
        try:
            found += read_text(object_text(each), place)
        except RuleError as error:
            # The API takes what the operator then leaves out; it is no reason to leave out the others.
            get_logger("rules-adapt").warning("rules not read, the others are", place=place, err=str(error))
    return found


async def _of_ruler(config: RulesConfig) -> list[WrittenRule]:
    from rules.document import as_yaml
    from rules.ruler import RulerApi

    return [
        rule
        for namespace, groups in (await RulerApi(config.ruler).namespaces()).items()
        for rule in read_text(as_yaml({"groups": groups}), f"{RULER}{namespace}")
    ]


def place_name(rule: WrittenRule) -> str | None:
    """The name of the place that a rule was read from; None where it is not known here."""
    if rule.file.startswith((OBJECT, RULER)):
        return rule.file
    path = Path(rule.file)
    return group_of(path) if isfile(path) else None
