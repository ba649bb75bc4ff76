"""`/api/v1/families`: which series of a query spend their days alike, and who left its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from sidecar.api.server import error_answer, json_answer
from sidecar.errors import ModelError, PullError


class Behaviour(Protocol):
    """What knows families."""

    def summaries(self) -> Sequence[Mapping[str, Any]]:
        """What the newest look at each query found."""
        ...

    async def families(self, name: str) -> Mapping[str, Any]:
        """Families of one query with members, days and quality.

        Raises: KeyError for a query that is not watched; PullError, ModelError.
        """
        ...


class FamilyEndpoints:
    """The two endpoints; `behaviour`: what knows as of now, for a reload replaces it."""

    def __init__(self, behaviour: Callable[[], Behaviour]) -> None:
        self._behaviour = behaviour

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/api/v1/families", self.all)
        router.add_get("/api/v1/families/{query}", self.one)

    async def all(self, _: web.Request) -> web.Response:
        """Every query that was looked at."""
        return json_answer(self._behaviour().summaries())

    async def one(self, request: web.Request) -> web.Response:
        """One query."""
        query = request.match_info["query"]
        try:
            return json_answer(await self._behaviour().families(query))
        except KeyError:
            return error_answer(404, "not_found", f"no query {query!r} is watched; see /api/v1/queries")
        except (PullError, ModelError) as error:
            return error_answer(503, "unavailable", str(error))
