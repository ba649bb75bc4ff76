"""The JSON API's own description (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from sidecar import __version__

_LIMIT = {
    "name": "limit",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": 10000, "default": 100},
}
_PATHS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "/api/v1/status": ("Version, uptime, configuration hash, neighbours", []),
    "/api/v1/queries": ("The watched queries and how they are", []),
    "/api/v1/series": (
        "Newest judgement of each series, the most anomalous first",
        [{"name": "query", "in": "query", "schema": {"type": "string"}}, _LIMIT],
    ),
    "/api/v1/incidents": (
        "Incidents, newest first",
        [{"name": "state", "in": "query", "schema": {"enum": ["open", "resolved"]}}, _LIMIT],
    ),
    "/api/v1/incidents/{id}": (
        "One incident with its episodes and ranked causes",
        [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    ),
    "/api/v1/rules": ("Revisions of generated rule files, newest first", [_LIMIT]),
    "/api/v1/stream": ("Live events (text/event-stream)", []),
    "/api/v1/openapi.json": ("This document", []),
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    answers = {
        "200": {"description": '`{"status": "success", "data": …}`'},
        "4XX": {"description": '`{"status": "error", "errorType": …, "error": …}`'},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "pronoia", "version": __version__},
        "paths": {
            path: {"get": {"summary": summary, "parameters": parameters, "responses": answers}}
            for path, (summary, parameters) in _PATHS.items()
        },
    }
