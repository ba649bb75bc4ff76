"""What pydantic finds wrong with a configuration, in words that say what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from sidecar.config.fields import format_duration, parse_duration
from sidecar.config.model import Config
from sidecar.errors import ConfigProblem

_MEANT = {
    r"^https?://": "is not a URL; write http://host:port or https://host",
    r"^[a-zA-Z_]": "is not a name; use letters, digits and _, and no digit first",
    r"^[a-zA-Z0-9_.-]": "is not a name; use letters, digits, and _ . -",
    r"^([a-z0-9](": "is not a Kubernetes label's name; write team or example.com/team",
    r"^([A-Za-z0-9](": "is not a Kubernetes label's value; use letters, digits, and _ . - within",
    r"^[a-z0-9](": "is not a DNS label; use small letters, digits and -",
    r"^(\[": "is not an address; write 0.0.0.0:9469, [::1]:9469, or :9469 for every interface",
    r"^[^:\s]": "is not an address; write host:port, or host",
    r"^[^@\s]": "is not an e-mail address",
    r"^[A-Za-z]+(": "is not how a token is sent; write Bearer, Token, or GenieKey",
}
"""What the beginnings of the model's patterns mean to people."""

_TIME = "write it like 2026-01-31T18:00:00Z"
_LIST, _SECTION = "is one thing; write a list", "is not a section; write keys and values"
_EMPTY = "is empty; write one at least"
_WORDS = {
    "string_type": "is not text; put it in quotes",
    "string_too_short": "is empty",
    "path_type": "is not a path; write it as text",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a whole number",
    "int_from_float": "is not a whole number",
    "datetime_type": f"is not a time; {_TIME}",
    "datetime_parsing": f"is not a time; {_TIME}",
    "datetime_from_date_parsing": f"is not a time; {_TIME}",
    "datetime_object_invalid": f"is not a time; {_TIME}",
    "timezone_aware": f"has no time zone; {_TIME}",
    "timezone_naive": "has a time zone of its own; write it like 2026-01-31T18:00:00",
    "date_type": "is not a day; write it like 2026-01-31",
    "date_parsing": "is not a day; write it like 2026-01-31",
    "date_from_datetime_parsing": "is not a day; write it like 2026-01-31",
    "date_from_datetime_inexact": "is not a day; write it like 2026-01-31",
    "too_short": _EMPTY,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "dict_type": _SECTION,
    "mapping_type": _SECTION,
}
_BOUNDS = {
    "greater_than": ("gt", "has to be more than"),
    "greater_than_equal": ("ge", "has to be at least"),
    "less_than": ("lt", "has to be less than"),
    "less_than_equal": ("le", "has to be at most"),
}

Location = tuple[int | str, ...]


def in_words(error: ValidationError) -> Iterator[ConfigProblem]:
    """Each fault, one a place; what was written is not repeated, as it may be a secret."""
    told: set[str] = set()
    faults = error.errors(include_url=False)
    for fault in faults:
        if fault["type"] == "too_short" and any(_is_within(one["loc"], fault["loc"]) for one in faults):
            continue  # It is empty only without what was refused of it.
        place = _dotted(fault["loc"])
        if place not in told:
            told.add(place)
            yield ConfigProblem(place, _words_of(fault["type"], fault["loc"], fault))


def _is_within(location: Location, outer: Location) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _words_of(kind: str, location: Location, fault: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing":
        return "is required"
    if kind != "value_error" and fault["input"] is None:
        return "has no value; write one, or leave the key out"
    if kind == "string_pattern_mismatch":
        return _unlike_its_pattern(str(fault["ctx"]["pattern"]))
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = fault["ctx"][key]
        whole = int(bound) if bound == int(bound) else bound
        return f"{words} {format_duration(bound) if _is_duration(location) else f'{whole:,}'}"
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "string_too_long":
        return f"is longer than {fault['ctx']['max_length']} characters"
    if kind == "literal_error":
        return _none_of(str(fault["ctx"]["expected"]), fault["input"])
    message = str(fault["msg"])
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    message = message.removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _none_of(expected: str, written: object) -> str:
    """What to write in place of a word that is none of those expected."""
    near = difflib.get_close_matches(str(written).lower(), re.findall(r"'([^']*)'", expected), n=1)
    return f"should be {expected}" + (f"; did you mean {near[0]!r}?" if near else "")


def _unlike_its_pattern(pattern: str) -> str:
    """What to write in place of a text that a pattern refuses."""
    for beginning, words in _MEANT.items():
        if pattern.startswith(beginning):
            return words
    return f"does not match {pattern}"


def _dotted(location: Location) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif "[" not in part:  # pydantic's own: `[key]` of a mapping, `literal[…]` where there is a choice.
            path += f".{part}" if path else part
    return path or "(top)"


def _unknown_key(location: Location) -> str:
    known = list(_section_at(location[:-1]).model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def _is_duration(location: Location) -> bool:
    names = [part for part in location if isinstance(part, str)]
    field = _section_at(location[:-1]).model_fields.get(names[-1]) if names else None
    return field is not None and _reads_durations(field)


def _reads_durations(field: FieldInfo) -> bool:
    return any(isinstance(one, BeforeValidator) and one.func is parse_duration for one in field.metadata)


def _section_at(location: Location) -> type[BaseModel]:
    section: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int) or part not in section.model_fields:
            continue
        for candidate in _models_in(section.model_fields[part].annotation):
            section = candidate
    return section


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
