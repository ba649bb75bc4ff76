"""`/api/v1/thresholds`, `/risk` and `/trends`: what will be crossed, how likely incidents are, what grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from sidecar.api.server import error_answer, json_answer, limit_of
from sidecar.errors import PullError

MAX_DAYS = 120


class Outlook(Protocol):
    """What knows the time ahead."""

    def thresholds(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Times until thresholds of alert rules and budgets, the nearest first."""
        ...

    def risks(self, limit: int) -> Mapping[str, Any]:
        """How likely an incident starts on each service, the highest first; or why that is not known."""
        ...

    async def trends(self, query: str, days: int) -> Sequence[Mapping[str, Any]]:
        """The trend of each series of a watched query, the fastest growing first.

        Raises: KeyError for a query that is not watched, PullError.
        """
        ...


class OutlookEndpoints:
    """The three endpoints."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/api/v1/thresholds", self.thresholds)
        router.add_get("/api/v1/risk", self.risk)
        router.add_get("/api/v1/trends", self.trends)

    async def thresholds(self, request: web.Request) -> web.Response:
        """What will be crossed."""
        return json_answer(self._outlook.thresholds(limit_of(request)))

    async def risk(self, request: web.Request) -> web.Response:
        """How likely incidents are."""
        return json_answer(self._outlook.risks(limit_of(request)))

    async def trends(self, request: web.Request) -> web.Response:
        """What grows and declines."""
        query, days = request.query.get("query", ""), request.query.get("days", "28")
        if not (days.isascii() and days.isdigit() and 7 <= int(days) <= MAX_DAYS):
            return error_answer(400, "bad_data", f"days is {days!r}; write a number from 7 to {MAX_DAYS}")
        try:
            return json_answer(await self._outlook.trends(query, int(days)))
        except KeyError:
            return error_answer(404, "not_found", f"no query {query!r} is watched; see /api/v1/queries")
        except PullError as error:
            return error_answer(503, "unavailable", str(error))
