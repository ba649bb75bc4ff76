"""Writes docs/configuration.md: every key of the configuration file, its default and what it is.

Run as `python -m tools.configuration_page` after a change to `sidecar/config`; a test fails while the
page is stale, or while a key says nothing of itself.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from sidecar.config.fields import format_duration, parse_duration
from sidecar.config.model import Config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Every key of the configuration

Written by `python -m tools.configuration_page`; the pages on each topic say when to use what.
`pronoia init` writes a file to begin with, `pronoia check-config FILE` lists every fault of one,
`pronoia explain-config FILE` what it costs.

Nothing has to be stated: without a file pronoia watches `http://localhost:9090` and proposes queries. It
looks again after a minute, ten, half an hour, hours and each day, and watches beside them what has come
since, 25 queries in all.
`[]` is a list, `.*` a mapping of names. Durations are written `30s`, `5m`, `1h30m`, `14d`, or in seconds.
`${NAME}` and `${NAME:-default}` are taken from the environment; of a secret and its `_file`, state one.
Unknown keys are refused.
"""
WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the page."""

    path: str
    kind: str
    default: str
    about: str


def keys(model: type[BaseModel], where: str = "") -> Iterator[Key]:
    """Every key below a section, in the order in which it is declared."""
    for name, field in model.model_fields.items():
        path = f"{where}{name}"
        inner, marks = _section_in(field.annotation)
        if inner is None:
            yield Key(path, _kind(field), _default(field), field.description or "")
        else:
            about = field.description or _first_line(inner)
            yield Key(path + marks, "section" if not marks else "list of sections", "", about)
            yield from keys(inner, f"{path}{marks}.")


def _section_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The section that a key holds, and how one gets to it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    marks = "[]" if get_origin(annotation) is tuple else ".*" if get_origin(annotation) is dict else ""
    for argument in get_args(annotation):
        inner, more = _section_in(argument)
        if inner is not None:
            return inner, marks + more
    return None, ""


def _is_duration(field: FieldInfo) -> bool:
    marks = [*field.metadata]
    for argument in get_args(field.annotation):
        marks.extend(getattr(argument, "__metadata__", ()))
    return any(isinstance(mark, BeforeValidator) and mark.func is parse_duration for mark in marks)


def _kind(field: FieldInfo) -> str:
    return "duration" if _is_duration(field) else _words(field.annotation)


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(one) for one in arguments if one is not type(None)))
    if origin in (tuple, list):
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"mapping to {_words(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        duration = any(
            isinstance(mark, BeforeValidator) and mark.func is parse_duration
            for mark in annotation.__metadata__
        )
        return "duration" if duration else _words(annotation.__origin__)
    return WORDS.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, ""):
        return ""
    if isinstance(value, tuple | frozenset):
        duration = "duration" in _kind(field)
        return "`[" + ", ".join(format_duration(one) if duration else str(one) for one in value) + "]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{format_duration(value) if _is_duration(field) else value}`"


def _first_line(section: type[BaseModel]) -> str:
    lines = (section.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def render() -> str:
    """The text of the page."""
    parts = [HEAD.rstrip()]
    for name, field in Config.model_fields.items():
        inner, marks = _section_in(field.annotation)
        parts.append(f"\n## {name}\n")
        if inner is None:
            parts.append(f"{_kind(field)}. {field.description or ''}\n")
            continue
        parts.append(f"{field.description or _first_line(inner)}\n")
        parts.append("| key | kind | default | what |\n| --- | --- | --- | --- |")
        prefix = f"{name}{marks}."
        parts.extend(_row(key, prefix) for key in keys(inner, prefix))
    return "\n".join(parts) + "\n"


def _row(key: Key, prefix: str) -> str:
    about = key.about.replace("|", "\\|")
    return f"| `{key.path.removeprefix(prefix)}` | {key.kind} | {key.default} | {about} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
