"""`/api/v1/explanations` and `/api/v1/quality`: anomalies in words and data, and how good the data are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from sidecar.api.server import error_answer, json_answer, limit_of
from sidecar.errors import PullError


class Explainer(Protocol):
    """What explains; both raise KeyError for what is not watched."""

    async def open(self, query: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """Every open anomaly, the worst first."""
        ...

    async def one(self, query: str, fingerprint: str, *, contributions: bool) -> Mapping[str, Any]:
        """One series; `contributions` asks Prometheus which label values carry it. Raises: PullError."""
        ...

    async def quality(self) -> Sequence[Mapping[str, Any]]:
        """How good each query's data are, the worst first."""
        ...


class Explanations:
    """The endpoints."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/api/v1/explanations", self.open)
        router.add_get("/api/v1/explanations/{query}/{fingerprint}", self.one)
        router.add_get("/api/v1/quality", self.quality)

    async def open(self, request: web.Request) -> web.Response:
        """Open anomalies."""
        query = request.query.get("query")
        try:
            return json_answer(await self._explainer.open(query, limit_of(request)))
        except KeyError:
            return error_answer(404, "not_found", f"no query {query!r} is watched; see /api/v1/queries")

    async def one(self, request: web.Request) -> web.Response:
        """One series."""
        wanted = request.query.get("contributions", "false")
        if wanted not in ("true", "false"):
            return error_answer(400, "bad_data", f"contributions is {wanted!r}; write true or false")
        query, fingerprint = request.match_info["query"], request.match_info["fingerprint"]
        try:
            found = await self._explainer.one(query, fingerprint, contributions=wanted == "true")
        except KeyError:
            return error_answer(404, "not_found", "no such series is watched; see /api/v1/series")
        except PullError as error:
            return error_answer(503, "unavailable", str(error))
        return json_answer(found)

    async def quality(self, _: web.Request) -> web.Response:
        """How good each query's data are."""
        return json_answer(await self._explainer.quality())
