"""Reading a configuration: YAML, environment, overrides; every fault found at once."""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from promql_parser import parse as parse_promql
from pydantic import BaseModel, SecretStr, ValidationError

from sidecar import plain_yaml
from sidecar.config.model import Config
from sidecar.errors import ConfigError, ConfigProblem

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


_MEANT = {
    r"^https?://": "is not a URL; write http://host:port or https://host",
    r"^[a-zA-Z_]": "is not a name; use letters, digits and _, and no digit first",
    r"^[a-zA-Z0-9_.-]": "is not a name; use letters, digits, and _ . -",
    r"^[a-z0-9](": "is not a DNS label; use small letters, digits and -",
    r"^(\[": "is not an address; write 0.0.0.0:9469, [::1]:9469, or :9469 for every interface",
    r"^[^:\s]": "is not an address; write host:port, or host",
    r"^[^@\s]": "is not an e-mail address",
}
"""What the beginnings of the model's patterns mean to people."""


def load_file(path: Path, *, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration in the file at `path`.

    Raises: ConfigError listing every problem with its path, or saying why the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        words = f"cannot be read: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            words += "; `pronoia init` writes one"
        raise ConfigError([ConfigProblem("(file)", words)], str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError([ConfigProblem("(file)", f"is not UTF-8: {error}")], str(path)) from error
    return load_text(text, env=env, overrides=overrides, source=str(path))


def load_text(
    text: str,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: str = "configuration",
) -> Config:
    """The configuration in YAML `text`.

    `${NAME}` and `${NAME:-default}` inside string values are taken from `env`
    after YAML was parsed, so that a value can never change the document's
    structure; `$${NAME}` stands for itself. `overrides` (nested mappings, from
    the command line) win over the file.

    Raises: ConfigError listing every problem with its path.

    >>> load_text("prometheus: {url: 'http://prometheus:9090'}").prometheus.url
    'http://prometheus:9090'
    """
    try:
        document = plain_yaml.load(text)
    except yaml.YAMLError as error:
        raise ConfigError([ConfigProblem(_yaml_place(error), _yaml_words(error))], source) from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(
            [ConfigProblem("(top)", f"is a {type(document).__name__}; write keys and values")], source
        )
    problems: list[ConfigProblem] = []
    document = _expand(document, env or {}, "", problems)
    document = _merge(document, overrides or {})
    config: Config | None = None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        problems.extend(_translate(error))
    problems.extend(_check_expressions(document))
    if problems or config is None:
        raise ConfigError(problems, source)
    return config


def config_hash(config: BaseModel) -> str:
    """12 hex digits that change when the configuration's meaning does; secrets do not count."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret itself: the literal, or the file's content less its last newline, read anew each time.

    Raises: OSError where the file cannot be read, or is not text.
    """
    if value is not None:
        return value.get_secret_value()
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise OSError(errno.EILSEQ, "is not UTF-8 text", str(file)) from error
    return None


def _yaml_place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "(file)"


def _yaml_words(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error)


def _expand(node: Any, env: Mapping[str, str], path: str, problems: list[ConfigProblem]) -> Any:
    if isinstance(node, dict):
        return {
            key: _expand(value, env, f"{path}.{key}" if path else str(key), problems)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_expand(value, env, f"{path}[{i}]", problems) for i, value in enumerate(node)]
    if not isinstance(node, str) or "${" not in node:
        return node

    def replace(match: re.Match[str]) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return match.group(0)[1:]
        if name in env:
            return env[name]
        if default is not None:
            return default
        problems.append(
            ConfigProblem(path, f"the environment has no {name}; set it, or write ${{{name}:-default}}")
        )
        return ""

    return _VARIABLE.sub(replace, node)


def _merge(document: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = _merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _translate(error: ValidationError) -> Iterator[ConfigProblem]:
    for fault in error.errors(include_url=False, include_input=False):
        location = fault["loc"]
        message = str(fault["msg"]).removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = _unknown_key(location)
        elif fault["type"] == "missing":
            message = "is required"
        elif fault["type"] == "string_pattern_mismatch":
            message = _unlike_its_pattern(str(fault["ctx"]["pattern"]))
        elif fault["type"] in ("tuple_type", "list_type"):
            message = "is one thing; write a list"
        elif fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
            message = "is not a section; write keys and values"
        else:
            message = message.removeprefix("Input ")
            message = message[:1].lower() + message[1:]
        yield ConfigProblem(_dotted(location), message)


def _unlike_its_pattern(pattern: str) -> str:
    """What to write in place of a text that a pattern refuses; the text itself may be a secret."""
    for beginning, words in _MEANT.items():
        if pattern.startswith(beginning):
            return words
    return f"does not match {pattern}"


def _dotted(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or "(top)"


def _unknown_key(location: tuple[int | str, ...]) -> str:
    known = _keys_at(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int) or part not in section.model_fields:
            continue
        for candidate in _models_in(section.model_fields[part].annotation):
            section = candidate
    return list(section.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _check_expressions(document: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    queries = document.get("queries")
    for i, query in enumerate(queries if isinstance(queries, list | tuple) else ()):
        if not isinstance(query, dict):
            continue
        yield from _check_expression(f"queries[{i}].expr", query.get("expr"))
        yield from _check_expression(f"queries[{i}].counters", query.get("counters"))
        if isinstance(query.get("traffic"), dict):
            yield from _check_expression(f"queries[{i}].traffic.expr", query["traffic"].get("expr"))
    business = document.get("business")
    deployments = business.get("deployments") if isinstance(business, dict) else None
    if isinstance(deployments, dict):
        yield from _check_expression("business.deployments.expr", deployments.get("expr"))


def _check_expression(place: str, expr: object) -> Iterator[ConfigProblem]:
    if not isinstance(expr, str) or not expr.strip():
        return
    try:
        parse_promql(expr)
    except ValueError as error:
        yield ConfigProblem(place, f"is not PromQL: {' '.join(str(error).split())}")
