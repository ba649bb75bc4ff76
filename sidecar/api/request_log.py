"""What the HTTP server logs: a request that cannot be read is its sender's fault, and one line."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError


def request_logger() -> logging.Logger:
    """The logger for the server, which would log a trace for each such request."""
    logger = logging.getLogger("aiohttp.server")
    if _in_one_line not in logger.filters:
        logger.addFilter(_in_one_line)
    return logger


def _in_one_line(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | RequestPayloadError):
        words = " ".join(str(error).split())[:200]
        record.msg, record.args = "a request cannot be read: %s", (words,)
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = None
    return True
