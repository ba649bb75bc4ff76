"""Logs and the sidecar's own metrics.

Self-metrics live in one prometheus-client registry that is passed in, never
global, so that two sidecars fit in one test process. Logs are structlog events:
a constant lower-case message, facts as fields.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


def redact_url(text: str) -> str:
    """The text less any `user:password@` in its URLs.

    >>> redact_url("http://bob:secret@prometheus:9090/api")
    'http://***@prometheus:9090/api'
    """
    return _CREDENTIALS_IN_URL.sub("***@", text)


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[key] = redact_url(value)
    return event


def configure_logs(level: str = "info", form: Literal["auto", "json", "human"] = "auto") -> None:
    """Send structlog and the standard library's logs to stderr, as JSON or for people.

    `auto` is for people on a terminal and JSON elsewhere.
    """
    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if human
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def get_logger(component: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry the component's name."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(component=component)
    return logger


def new_registry() -> CollectorRegistry:
    """An empty registry with the process' own metrics."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
