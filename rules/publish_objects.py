"""Generated groups as PrometheusRule objects, for a Prometheus whose rules the Prometheus Operator keeps.

Put the object, see its revision healthy through Prometheus' API (operator,
ConfigMap, kubelet and reloader take a minute or two); when any step fails, the
object that was there comes back. Objects without this instance's mark are
never touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from rules.document import RuleFile, as_yaml
from rules.kubernetes import RuleObjects
from rules.publisher import Found, not_put_back
from rules.verify import LoadedRules, wait_until_live
from sidecar.config.fields import parse_duration
from sidecar.config.model import PrometheusRuleConfig
from sidecar.errors import RuleError, RuleReason
from sidecar.kubernetes import KubernetesObject
from sidecar.prometheus.answers import Rule

POLL_SECONDS = 5.0
AT_ONCE = 32
"""The operator and the kubelet carry many changes in one round, so waiting for them one by one is waste."""
ROUNDS = 5
"""Tries against somebody who changes the same object at the same time."""
MAX_NAME = 253
INSTANCE = "pronoia/instance"
GROUP = "pronoia/group"
REVISION = "pronoia/revision"
GROUP_KEYS = (
    "interval",
    "labels",
    "limit",
    "query_offset",
    "evaluation_delay",
    "partial_response_strategy",
    "source_tenants",
    "align_evaluation_time_on_interval",
)
"""What the operator's groups and those of rulers say besides, with their word for `query_offset` of old."""
RULE_KEYS = ("alert", "record", "for", "keep_firing_for", "labels", "annotations")
DURATIONS = ("interval", "query_offset", "evaluation_delay", "for", "keep_firing_for")


class ObjectPublisher:
    """Puts each generated group into a PrometheusRule object of its own."""

    def __init__(
        self,
        config: PrometheusRuleConfig,
        objects: RuleObjects,
        server: LoadedRules,
        *,
        verify_timeout_seconds: float,
        poll_seconds: float = POLL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._objects = objects
        self._server = RecentRules(server, max_age_seconds=poll_seconds / 2, monotonic=monotonic)
        self._timeout = verify_timeout_seconds
        self._poll = poll_seconds
        self._monotonic = monotonic

    @property
    def at_once(self) -> int:
        """Many: each waits for its own object only."""
        return AT_ONCE

    def place(self, group: str) -> str:
        """The object as kubectl names it."""
        name = f"prometheusrule/{object_name(self._config.instance, group)}"
        return f"{self._config.namespace}: {name}" if self._config.namespace else name

    async def found(self, group: str, text: str) -> Found:
        """Whether the group's object says that text, with the labels of today's configuration."""
        there = await self._objects.get(object_name(self._config.instance, group))
        if there is None or not self._is_ours(there, group):
            return Found.ABSENT
        wanted = self._wanted(group, text)
        same = essence(there.get("spec")) == essence(wanted["spec"])
        labels = there["metadata"].get("labels") or {}
        labelled = all(labels.get(key) == value for key, value in wanted["metadata"]["labels"].items())
        return Found.SAME if same and labelled else Found.OTHER

    async def says_one_of(self, group: str, texts: Sequence[str]) -> bool:
        """Whether the group's object has the rules of one of them, whatever labels it was given then."""
        there = await self._objects.get(object_name(self._config.instance, group))
        if there is None or not self._is_ours(there, group):
            return False
        says = essence(there.get("spec"))
        return any(essence(yaml.safe_load(text)) == says for text in texts)

    async def text(self, group: str) -> str | None:
        """The groups of the group's object as a rule file."""
        there = await self._objects.get(object_name(self._config.instance, group))
        if there is None or not self._is_ours(there, group):
            return None
        return as_yaml({"groups": (there.get("spec") or {}).get("groups") or []})

    async def publish(self, file: RuleFile) -> None:
        """Make the group live.

        Raises: RuleError with the reason; the object that was there before is back
        in its place then, or none where none was.
        """
        wanted = self._wanted(file.group, file.text, file.revision)
        before = await self._put(file.group, wanted)
        labels = ", ".join(f"{key}={value}" for key, value in wanted["metadata"]["labels"].items())
        try:
            await wait_until_live(
                self._server,
                file,
                timeout_seconds=self._timeout,
                poll_seconds=self._poll,
                advice=f"does its ruleSelector match {labels} (rules.prometheus_rule.labels) and its "
                "ruleNamespaceSelector the namespace? The operator's log names objects that it refuses",
                monotonic=self._monotonic,
            )
        except RuleError as error:
            if (
                before is not None
                and error.reason == RuleReason.UNHEALTHY.value
                and essence(before["spec"]) == essence(wanted["spec"])
            ):
                before = None  # The same bad text, left by a roll-back that did not get through.
            try:
                await self._put_back(file.group, before)
            except RuleError as trouble:
                raise not_put_back(error, trouble) from trouble
            raise

    async def restore(self, group: str, text: str | None) -> None:
        """Put an earlier text in place (None: delete the object); Prometheus follows within minutes.

        Raises: RuleError.
        """
        if text is None:
            await self._remove(group)
        else:
            await self._put(group, self._wanted(group, text))

    async def sweep(self) -> None:
        """Nothing: an object is replaced whole or not at all, so no halves are left."""

    async def _put_back(self, group: str, before: KubernetesObject | None) -> None:
        if before is None:
            await self._remove(group)
        else:
            await self._put(group, before)

    async def _put(self, group: str, wanted: KubernetesObject) -> KubernetesObject | None:
        """Create or replace; what was there before."""
        name = object_name(self._config.instance, group)
        before: KubernetesObject | None = None
        for nth in range(1, ROUNDS + 1):
            current = await self._objects.get(name)
            if nth > 1 and current is not None and self._says(current, group, wanted):
                return before  # It went through though the answer got lost, and the next try met our own.
            before = current
            body = {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": name, **_kept(wanted["metadata"])},
                "spec": wanted["spec"],
            }
            try:
                if current is None:
                    await self._objects.create(body)
                    return None
                if not self._is_ours(current, group):
                    raise RuleError(
                        RuleReason.NOT_OURS,
                        f"{self.place(group)} exists and belongs to somebody else; rename or delete it, "
                        "or set another rules.prometheus_rule.instance",
                    )
                facts = current["metadata"]
                # Others may note something on the object (webhooks, owners); that stays.
                notes = {**(facts.get("annotations") or {}), **(body["metadata"]["annotations"])}
                body["metadata"] = {**facts, **body["metadata"], "annotations": notes}
                body["metadata"].pop("managedFields", None)
                await self._objects.replace(body)
                return current
            except RuleError as error:
                if error.reason != RuleReason.CONFLICT.value:
                    raise
                if nth == ROUNDS:
                    raise _contested(self.place(group), error) from error
        raise AssertionError("unreachable: the last round returns or raises")

    async def _remove(self, group: str) -> None:
        name = object_name(self._config.instance, group)
        for last in (False,) * (ROUNDS - 1) + (True,):
            current = await self._objects.get(name)
            if current is None or not self._is_ours(current, group):
                return
            try:
                return await self._objects.delete(current)
            except RuleError as error:
                if error.reason != RuleReason.CONFLICT.value:
                    raise
                if last:
                    raise _contested(self.place(group), error) from error

    def _says(self, there: KubernetesObject, group: str, wanted: KubernetesObject) -> bool:
        return self._is_ours(there, group) and essence(there.get("spec")) == essence(wanted["spec"])

    def _is_ours(self, there: KubernetesObject, group: str) -> bool:
        facts = there.get("metadata") or {}
        return (facts.get("labels") or {}).get(INSTANCE) == self._config.instance and (
            facts.get("annotations") or {}
        ).get(GROUP) == group

    def _wanted(self, group: str, text: str, revision: str | None = None) -> KubernetesObject:
        spec = yaml.safe_load(text)
        return {
            "metadata": {
                "labels": {
                    **self._config.labels,
                    "app.kubernetes.io/managed-by": "pronoia",
                    INSTANCE: self._config.instance,
                },
                "annotations": {GROUP: group, REVISION: revision or _revision(spec)},
            },
            "spec": spec,
        }


class RecentRules:
    """Loaded rules, asked for at most once a while, however many wait for them."""

    def __init__(
        self, server: LoadedRules, *, max_age_seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._server = server
        self._max_age = max_age_seconds
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._at = float("-inf")
        self._rules: list[Rule] = []

    async def rules(self) -> list[Rule]:
        """What is loaded, or was a moment ago. Raises: PullError."""
        async with self._lock:
            if self._monotonic() - self._at > self._max_age:
                self._rules = await self._server.rules()
                self._at = self._monotonic()
            return self._rules


def object_name(instance: str, group: str) -> str:
    """A DNS-1123 subdomain for a group; groups that would share one get a hash behind it.

    >>> object_name("pronoia", "pronoia-cdn_error_ratio")
    'pronoia-cdn-error-ratio'
    >>> object_name("pronoia", "pronoia-CDN")
    'pronoia-cdn-5543b4d3'
    """
    plain = group.removeprefix("pronoia-")
    slug = re.sub(r"[^a-z0-9]", "-", plain.lower()).strip("-")
    name = f"{instance}-{slug}" if slug else instance
    # Query names hold no dash, so "_" to "-" loses nothing; everything else that changed does.
    if slug.replace("-", "_") == plain and len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9].rstrip('-')}-{digest}"


def essence(spec: Any) -> Any:
    """What of a PrometheusRule's spec Prometheus acts on: defaults and empty fields left out."""
    groups = (spec or {}).get("groups") or []
    return [
        {
            "name": group.get("name"),
            **_said(group, GROUP_KEYS),
            "rules": [
                {"expr": str(rule.get("expr")), **_said(rule, RULE_KEYS)} for rule in group.get("rules") or []
            ],
        }
        for group in groups
    ]


def _said(fields: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What a group or a rule says; durations in seconds, as a ruler may write `90s` as `1m30s`."""
    said = {key: fields.get(key) for key in keys}
    said |= {key: _seconds(said[key]) for key in DURATIONS if said.get(key)}
    return {key: value for key, value in said.items() if value}


def _seconds(duration: Any) -> Any:
    try:
        return parse_duration(duration)
    except ValueError:
        return duration


def _kept(facts: dict[str, Any]) -> dict[str, Any]:
    return {"labels": dict(facts.get("labels") or {}), "annotations": dict(facts.get("annotations") or {})}


def _revision(spec: Any) -> str:
    for group in spec.get("groups", ()):
        for rule in group.get("rules", ()):
            if "alert" in rule:
                return str(rule.get("annotations", {}).get("pronoia_revision", ""))
    return ""


def _contested(place: str, error: RuleError) -> RuleError:
    return RuleError(
        RuleReason.CONFLICT,
        f"{place} is changed by somebody else all the time ({error}); see its managedFields for who",
    )
