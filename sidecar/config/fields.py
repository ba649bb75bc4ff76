"""Field types of the configuration: durations, addresses, labels."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, SecretStr

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
LONGEST_SECONDS = 100 * _UNITS["y"]
"""More is a slip, and at some length no date any more."""

FIRST_YEAR = 2000

_PART = re.compile(r"(\d+)(ms|[smhdwy])")


def parse_duration(value: object) -> float:
    """Seconds from a Prometheus duration (`90s`, `1h30m`, `14d`) or a plain number of seconds.

    Raises: ValueError, naming the forms that are understood.

    >>> parse_duration("1h30m")
    5400.0
    """
    if value is None or isinstance(value, bool):
        raise ValueError("is not a duration; write 30s, 5m, 1h30m or 14d")
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError as error:  # A whole number of hundreds of digits.
            raise ValueError("is longer than a century; write 100y or less") from error
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
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
        except ValueError:  # A bracket that does not close, a port beyond 65535.
            whole = False
        if not whole or any(character.isspace() for character in value):
            raise ValueError(f"is not a URL; write {example}")
        if parts.query or parts.fragment:
            raise ValueError(f"paths are added to it, so there is nothing behind its path; write {example}")
        return value.rstrip("/")

    return AfterValidator(check)


def secret_url(*, others: bool = False) -> AfterValidator:
    """The check of an address that holds a secret, of which nothing is told. `others`: also not by HTTP."""

    def check(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        http = text.startswith(("http://", "https://"))
        try:
            parts = urlsplit(text)
            name = (parts.hostname or "").encode("idna")
            whole = bool(name) and (parts.port or 1) > 0 if http else others and "://" in text
        except ValueError:  # A bracket that does not close, a port beyond 65535, a name with two dots.
            whole = False
        if not whole or any(character.isspace() for character in text):
            raise ValueError(
                "is no URL; write https://host/path"
                + (", or what apprise knows, service://…" if others else "")
            )
        return value

    return AfterValidator(check)


def header_value(value: str) -> str:
    """The check of a text that is sent as an HTTP header; the text itself may be a secret.

    Raises: ValueError where it holds a line break or another character that no header may have.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("holds a line break or another control character; take it out")
    return value


HeaderValue = Annotated[str, AfterValidator(header_value)]

OffWord = BeforeValidator(lambda value: "off" if value is False else value)
"""What YAML reads of `off` without quotes is a truth; where it is one of several words, it is the word."""


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


def within_living_memory(moment: datetime) -> datetime:
    """The time, where somebody may have meant it.

    Raises: ValueError.
    """
    if moment.year < FIRST_YEAR:  # YAML reads 10:30 without quotes as a number, and that as seconds of 1970.
        raise ValueError(f"lies in {moment.year}; write it like 2026-01-31T18:00:00Z")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(within_living_memory)]
"""A point of time, with its zone."""

_PREFIX = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
LabelKey = Annotated[
    str, Field(pattern=rf"^{_PREFIX}[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=253 + 1 + 63)
]
"""A Kubernetes label's name, with or without a prefix."""
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
"""A Kubernetes label's value."""

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
"""A Prometheus label's name."""
