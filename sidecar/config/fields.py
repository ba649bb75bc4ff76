"""Field types of the configuration: durations, addresses, labels."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
LONGEST_SECONDS = 100 * _UNITS["y"]
"""More is a slip, and at some length no date any more."""

_PART = re.compile(r"(\d+)(ms|[smhdwy])")


def parse_duration(value: object) -> float:
    """Seconds from a Prometheus duration (`90s`, `1h30m`, `14d`) or a plain number of seconds.

    Raises: ValueError, naming the forms that are understood.

    >>> parse_duration("1h30m")
    5400.0
    """
    if isinstance(value, bool):
        raise ValueError("is not a duration; write 30s, 5m, 1h30m or 14d")
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    if text == "0":
        return 0.0
    if not text or _PART.sub("", text):
        raise ValueError(f"{text!r} is not a duration; write 30s, 5m, 1h30m or 14d")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """The shortest Prometheus duration that says so many seconds.

    >>> format_duration(5400)
    '1h30m'
    """
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_UNITS[unit] * 1000)
        count, milliseconds = divmod(milliseconds, size)
        text += f"{count}{unit}" if count else ""
    return text


def http_url(example: str) -> AfterValidator:
    """The check of an address that is asked by HTTP; its last slash goes. Errors show the example."""

    def check(value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is not a URL; write {example}")
        return value.rstrip("/")

    return AfterValidator(check)


def _within_a_century(seconds: float) -> float:
    if seconds > LONGEST_SECONDS:
        raise ValueError("is longer than a century; write 100y or less")
    return seconds


def _at_least_a_second(seconds: float) -> float:
    if seconds < 1:
        raise ValueError(f"{seconds:g}s is shorter than a second; write 1s or more")
    return seconds


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0), AfterValidator(_within_a_century)]
PositiveSeconds = Annotated[
    float, BeforeValidator(parse_duration), Field(gt=0), AfterValidator(_within_a_century)
]
LastingSeconds = Annotated[PositiveSeconds, AfterValidator(_at_least_a_second)]
"""How often, or over how long: work every millisecond would be all that the process does."""

_PREFIX = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
LabelKey = Annotated[
    str, Field(pattern=rf"^{_PREFIX}[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=253 + 1 + 63)
]
"""A Kubernetes label's name, with or without a prefix."""
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
"""A Kubernetes label's value."""

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
"""A Prometheus label's name."""
