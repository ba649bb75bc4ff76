"""One text in the place of another: written, loaded, seen healthy, or put back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from rules.adapt.place import Place
from rules.publish import POLL_SECONDS
from rules.publisher import not_put_back, not_reloaded
from rules.read import WrittenRule, of_server, read_text
from rules.verify import RuleServer, begin_reload, meaning
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.prometheus.answers import Rule


class Placing:
    """Writes into places, and asks Prometheus what came of it."""

    def __init__(
        self, server: RuleServer, *, verify_timeout_seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._server = server
        self._timeout = verify_timeout_seconds
        self._monotonic = monotonic

    async def replace(
        self, place: Place, before: str | None, after: str, wanted: Sequence[WrittenRule]
    ) -> None:
        """Write and load; `before` is back where that does not go well.

        Raises: PullError, RuleError (hand edited where somebody else's text is there, which stays);
        NotPutBack where the way back failed, too.
        """
        try:
            await place.write(after, expected=before)
            await self._load(place, wanted)
            await _still_there(place, wanted)
        except (RuleError, PullError) as error:
            if error.reason != RuleReason.HAND_EDITED.value:
                await self._put_back(place, before, after, error)
            raise

    async def reload(self, place: Place) -> None:
        """Have the place read again, where Prometheus must be told to. Raises: RuleError."""
        if place.needs_reload:
            try:
                await self._server.reload()
            except PullError as error:
                raise not_reloaded(place.group, error) from error

    async def reload_quietly(self, place: Place) -> None:
        """The same, where nothing more can be done if it fails."""
        if place.needs_reload:
            with contextlib.suppress(PullError):
                await self._server.reload()  # The good text is in place for the next one.

    async def _put_back(
        self, place: Place, before: str | None, after: str, error: RuleError | PullError
    ) -> None:
        """What was there, also where the answer to writing was lost and nobody knows what came of it."""
        try:
            if place.same(await place.read(), after):
                await place.write(before, expected=after)
                await self.reload_quietly(place)
        except RuleError as trouble:
            raise not_put_back(error, trouble) from trouble

    async def _loaded(self) -> list[Rule]:
        """What the server has loaded; nothing where it is too busy to say. Raises: PullError."""
        try:
            return await self._server.rules()
        except PullError as error:
            if not error.retryable:
                raise
            return []

    async def _load(self, place: Place, wanted: Sequence[WrittenRule]) -> None:
        """Return once every rewritten rule is loaded and was evaluated without an error."""
        if place.needs_reload:
            try:
                await begin_reload(self._server)
            except PullError as error:
                raise RuleError(RuleReason.RELOAD_FAILED, f"reload refused ({error})") from error
        deadline = self._monotonic() + self._timeout
        missing = [rule.key for rule in wanted]
        names = {rule.name for rule in wanted}
        while self._monotonic() < deadline:
            rules = [rule for rule in of_server(await self._loaded()) if rule.name in names]
            loaded = {meaning(rule): rule for rule in rules}
            there = [loaded[meaning(rule)] for rule in wanted if meaning(rule) in loaded]
            bad = next((rule for rule in there if rule.health == "err"), None)
            if bad is not None:
                raise RuleError(RuleReason.UNHEALTHY, f"{bad.name}: {bad.last_error}")
            if len(there) == len(wanted) and all(rule.health == "ok" for rule in there):
                return
            missing = [rule.key for rule in wanted if meaning(rule) not in loaded]
            await asyncio.sleep(POLL_SECONDS)
        if missing:
            raise RuleError(
                RuleReason.NOT_LOADED,
                f"Prometheus does not show {missing[0]} as rewritten after {self._timeout:g} s; "
                f"does it load {place.group}?",
            )


async def _still_there(place: Place, wanted: Sequence[WrittenRule]) -> None:
    """Whether nobody wrote over them meanwhile: a ruler knows no versions, so two may write at one moment.

    Raises: RuleError (hand edited).
    """
    there = {meaning(rule) for rule in read_text(await place.read() or "")}
    lost = next((rule for rule in wanted if meaning(rule) not in there), None)
    if lost is not None:
        words = f"{place.group} was written by others at the same moment, without {lost.key}; plan again"
        raise RuleError(RuleReason.HAND_EDITED, words)
