"""A PrometheusRule object of people's own in the cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import yaml

from rules.adapt.canary import GROUP as CANARY
from rules.adapt.place import OBJECT
from rules.document import as_yaml
from rules.kubernetes import RuleObjects
from rules.publish_objects import INSTANCE, MAX_NAME, essence
from sidecar.errors import RuleError, RuleReason
from sidecar.kubernetes import KubernetesObject

KEPT_BY = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "meta.helm.sh/release-name": "Helm",
}
"""Labels and annotations of tools that would put their own text back, from their documentation."""

MANAGERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "helm-controller": "Flux",
    "kustomize-controller": "Flux",
    "helm": "Helm",
    "Terraform": "Terraform",
}
"""Who wrote an object's fields, as Kubernetes notes it: Argo CD 2 leaves no other mark of its own."""


class ObjectPlace:
    """The object of that name, in the namespace that `objects` speaks of.

    `like`: the object whose labels a new one gets, so that the operator selects both.
    """

    needs_reload = False

    def __init__(self, name: str, objects: RuleObjects, instance: str, *, like: str | None = None) -> None:
        self._name = name
        self._objects = objects
        self._instance = instance
        self._like = like

    @classmethod
    def of(cls, group: str, objects: RuleObjects, instance: str) -> Self:
        """The object that the store knows by that name."""
        return cls(group.rpartition("/")[2], objects, instance)

    @property
    def group(self) -> str:
        """`object:`, the namespace and the name."""
        return f"{OBJECT}{self._objects.namespace()}/{self._name}"

    async def read(self) -> str | None:
        """Its rules and name, without what Kubernetes notes on it; None where there is none.

        Raises: RuleError.
        """
        there = await self._objects.get(self._name)
        return None if there is None else object_text(there)

    def same(self, one: str | None, other: str | None) -> bool:
        """Whether Prometheus would do the same."""
        return bool(_meant(one) == _meant(other))

    async def write(self, text: str | None, *, expected: str | None) -> None:
        """Replace its rules, create or delete it; labels and annotations that it has stay.

        Raises: RuleError: hand edited, conflict, or not ours where another tool keeps the object.
        """
        there = await self._objects.get(self._name)
        if not self.same(None if there is None else object_text(there), expected):
            raise RuleError(RuleReason.HAND_EDITED, f"{self.group} was edited since; plan again")
        if there is None:
            if text is not None:
                await self._objects.create(await self._made(text))
            return
        _refuse_kept(there, self.group)
        if text is None:
            await self._objects.delete(there)
            return
        facts = {key: value for key, value in there["metadata"].items() if key != "managedFields"}
        await self._objects.replace({**there, "metadata": facts, "spec": _spec(text)})

    def shadow(self) -> Self:
        """An object beside it, of this pronoia."""
        name = f"{CANARY}-{self._name}"[:MAX_NAME]
        return type(self)(name, self._objects, self._instance, like=self._name)

    def alone(self) -> AbstractContextManager[None]:
        """Nothing: the API refuses the later of two writes to one version."""
        return nullcontext()

    async def _made(self, text: str) -> KubernetesObject:
        model = await self._objects.get(self._like) if self._like else None
        if model is not None:
            # What may not go live is not tried as a shadow for days.
            _refuse_kept(model, f"{OBJECT}{self._objects.namespace()}/{self._like}")
        labels = (model or {}).get("metadata", {}).get("labels") or {}
        kept = {key: value for key, value in labels.items() if key not in KEPT_BY}
        return {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": self._name, "labels": {**kept, INSTANCE: self._instance}},
            "spec": _spec(text),
        }


def object_text(there: KubernetesObject) -> str:
    """What of an object people write: kind, name, labels and rules."""
    facts: dict[str, Any] = there["metadata"]
    told = {key: facts[key] for key in ("namespace", "name", "labels") if facts.get(key)}
    return as_yaml({"kind": "PrometheusRule", "metadata": told, "spec": there["spec"]})


def kept_by(there: KubernetesObject) -> str:
    """The tool that keeps an object and would undo a change of it; empty where there is none."""
    facts = there["metadata"]
    notes = {**(facts.get("labels") or {}), **(facts.get("annotations") or {})}
    if facts.get("ownerReferences"):
        return f"{facts['ownerReferences'][0].get('kind', 'its owner')}"
    marks = [tool for key, tool in KEPT_BY.items() if key in notes]
    writers = [MANAGERS.get(str(one.get("manager")), "") for one in facts.get("managedFields") or ()]
    return next(filter(None, (*marks, *writers)), "")


def _refuse_kept(there: KubernetesObject, group: str) -> None:
    """Raises: RuleError (not ours) where another tool keeps the object."""
    keeper = kept_by(there)
    if keeper:
        raise RuleError(
            RuleReason.NOT_OURS,
            f"{group} is kept by {keeper}, which would put its own text back; change its source "
            "(pronoia rules apply --to git)",
        )


def _spec(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    return {"groups": document.get("spec", document).get("groups") or []}


def _meant(text: str | None) -> Any:
    return None if text is None else essence(_spec(text))
