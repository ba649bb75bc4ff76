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
    "/api/v1/quality": ("How good each query's data are for judging them, the worst first", []),
    "/api/v1/families": ("Families of series that spend their days alike, by query, and who left them", []),
    "/api/v1/families/{query}": (
        "Families of one query: members, how far off each is, the families' days, how sure, how they join",
        [{"name": "query", "in": "path", "required": True, "schema": {"type": "string"}}],
    ),
    "/api/v1/explanations": (
        "Open anomalies in words and data, the worst first",
        [{"name": "query", "in": "query", "schema": {"type": "string"}}, _LIMIT],
    ),
    "/api/v1/explanations/{query}/{fingerprint}": (
        "One series explained; on request with the label values that carry its change",
        [
            {"name": "query", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "fingerprint", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "contributions", "in": "query", "schema": {"type": "boolean", "default": False}},
        ],
    ),
    "/api/v1/series-feedback": (
        "What was said of series' anomalies, the newest first, and what comes of all that was said of each",
        [],
    ),
    "/api/v1/incidents": (
        "Incidents, newest first, each with how far people have taken it and who has it",
        [
            {"name": "state", "in": "query", "schema": {"enum": ["open", "resolved"]}},
            {
                "name": "sort",
                "in": "query",
                "schema": {
                    "enum": ["priority"],
                    "description": "the most urgent first, of equals the newest",
                },
            },
            _LIMIT,
        ],
    ),
    "/api/v1/incidents/{id}": (
        "One incident with its episodes and ranked causes",
        [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    ),
    "/api/v1/incidents/{id}/why": (
        "Why its alerts, or one of them, are in it, and what would have kept them out: in words and in data",
        [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "alert",
                "in": "query",
                "schema": {"type": "string", "description": "a fingerprint or a name"},
            },
            _LIMIT,
        ],
    ),
    "/api/v1/incidents/{id}/response": (
        "What people did about an incident: status, timeline, similar ones of the past",
        [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    ),
    "/api/v1/on-call": ("Who is on call now, by schedule", []),
    "/api/v1/rules": ("Revisions of generated rule files, newest first", [_LIMIT]),
    "/api/v1/thresholds": (
        "Times until thresholds of alert rules and error budgets are crossed, the nearest first",
        [_LIMIT],
    ),
    "/api/v1/risk": (
        "How likely an incident starts on each service soon, or why that is not known; how predictions did",
        [_LIMIT],
    ),
    "/api/v1/trends": (
        "Which series of a watched query grow and decline, and whether that is more than chance",
        [
            {"name": "query", "in": "query", "required": True, "schema": {"type": "string"}},
            {
                "name": "days",
                "in": "query",
                "schema": {"type": "integer", "minimum": 7, "maximum": 120, "default": 28},
            },
        ],
    ),
    "/api/v1/stream": ("Live events (text/event-stream)", []),
    "/api/v1/openapi.json": ("This document", []),
}
_BY = {"type": "string", "description": "who does it"}
_POSTS: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "/api/v1/incidents/{id}/{action}": (
        "Do something about an incident: acknowledge, unacknowledge, mitigate, assign, comment, noise, "
        "useful, cause, fix, merge, split, silence, unsilence",
        [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "action", "in": "path", "required": True, "schema": {"type": "string"}},
        ],
        {"by": _BY, "text": {"type": "string", "description": "what the action needs: a person, a comment"}},
    ),
    "/api/v1/changes": (
        "Tell of a change: a deployment, a flag, a migration; evidence for what caused an incident",
        [],
        {
            "services": {"type": "array", "items": {"type": "string"}},
            "kind": {"type": "string", "default": "deploy"},
            "text": {"type": "string", "description": "in words, such as a version"},
            "at": {"type": "string", "format": "date-time", "description": "by default now"},
        },
    ),
    "/api/v1/feedback": (
        "Say what an incident was worth",
        [],
        {
            "incident_id": {"type": "string"},
            "verdict": {"enum": ["useful", "noise", "duplicate", "wrong_merge"]},
            "by": _BY,
        },
    ),
    "/api/v1/series-feedback": (
        "Say what the open, or else the newest, anomaly of a series was worth",
        [],
        {
            "query": {"type": "string"},
            "fingerprint": {"type": "string"},
            "verdict": {"enum": ["useful", "noise"]},
            "by": _BY,
        },
    ),
    "/api/v1/series-feedback/{id}/undo": (
        "Take a verdict on a series back",
        [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        {},
    ),
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    answers = {
        "200": {"description": '`{"status": "success", "data": …}`'},
        "4XX": {"description": '`{"status": "error", "errorType": …, "error": …}`'},
        "5XX": {"description": '`{"status": "error", "errorType": "unavailable" or "internal", "error": …}`'},
    }
    paths: dict[str, Any] = {
        path: {"get": {"summary": summary, "parameters": parameters, "responses": answers}}
        for path, (summary, parameters) in _PATHS.items()
    }
    for path, (summary, parameters, properties) in _POSTS.items():
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        paths.setdefault(path, {})["post"] = {
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"content": {"application/json": {"schema": schema}}},
            "responses": answers,
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "pronoia", "version": __version__},
        "paths": paths,
    }
