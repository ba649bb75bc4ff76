"""Reading a configuration: YAML, environment, overrides; every fault found at once."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from promql_parser import VectorSelector
from pydantic import BaseModel, SecretStr, ValidationError

from sidecar import plain_yaml
from sidecar.config.faults import in_words
from sidecar.config.model import Config
from sidecar.errors import ConfigError, ConfigProblem
from sidecar.promql.nesting import parse as parse_promql

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


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
        raise ConfigError(
            [ConfigProblem(plain_yaml.place_of(error), plain_yaml.words_of(error))], source
        ) from error
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
        problems.extend(in_words(error))
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


def _check_expressions(document: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    queries = document.get("queries")
    for i, query in enumerate(queries if isinstance(queries, list | tuple) else ()):
        if not isinstance(query, dict):
            continue
        yield from _check_expression(f"queries[{i}].expr", query.get("expr"))
        yield from _check_expression(f"queries[{i}].counters", query.get("counters"), selector=True)
        if isinstance(query.get("traffic"), dict):
            yield from _check_expression(f"queries[{i}].traffic.expr", query["traffic"].get("expr"))
    business = document.get("business")
    deployments = business.get("deployments") if isinstance(business, dict) else None
    if isinstance(deployments, dict):
        yield from _check_expression("business.deployments.expr", deployments.get("expr"))


def _check_expression(place: str, expr: object, *, selector: bool = False) -> Iterator[ConfigProblem]:
    if not isinstance(expr, str) or not expr.strip():
        return
    try:
        tree = parse_promql(expr)
    except ValueError as error:
        yield ConfigProblem(place, f"is not PromQL: {' '.join(str(error).split())}")
        return
    if selector and not isinstance(tree, VectorSelector):
        yield ConfigProblem(place, 'is no selector of counters; write http_requests_total{job="api"}')
