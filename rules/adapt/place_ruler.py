"""A namespace of a Mimir, Cortex or Loki ruler that holds people's own rules."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import yaml

from rules.adapt.canary import GROUP as CANARY
from rules.adapt.place import RULER
from rules.document import as_yaml
from rules.publish_objects import essence
from rules.ruler import RulerApi
from sidecar.errors import RuleError, RuleReason


class RulerPlace:
    """All groups of one namespace, as one rule file's text."""

    needs_reload = False

    def __init__(self, namespace: str, api: RulerApi) -> None:
        self._namespace = namespace
        self._api = api

    @classmethod
    def of(cls, group: str, api: RulerApi) -> Self:
        """The namespace that the store knows by that name."""
        return cls(group.removeprefix(RULER), api)

    @property
    def group(self) -> str:
        """`ruler:` and the namespace."""
        return f"{RULER}{self._namespace}"

    async def read(self) -> str | None:
        """Its groups; None where there are none. Raises: RuleError."""
        groups = await self._api.read(self._namespace)
        return as_yaml({"groups": groups}) if groups else None

    def same(self, one: str | None, other: str | None) -> bool:
        """Whether the ruler would do the same."""
        return bool(_meant(one) == _meant(other))

    async def write(self, text: str | None, *, expected: str | None) -> None:
        """Post its groups, and delete those that left.

        The API knows no versions: what others write between reading and writing is lost.
        Raises: RuleError.
        """
        if not self.same(await self.read(), expected):
            raise RuleError(RuleReason.HAND_EDITED, f"{self.group} was edited since; plan again")
        await self._api.put(self._namespace, [] if text is None else yaml.safe_load(text)["groups"])

    def shadow(self) -> Self:
        """A namespace beside it."""
        return type(self)(f"{CANARY}-{self._namespace}", self._api)

    def alone(self) -> AbstractContextManager[None]:
        """Nothing: the API has no lock."""
        return nullcontext()


def _meant(text: str | None) -> Any:
    return None if text is None else essence(yaml.safe_load(text))
