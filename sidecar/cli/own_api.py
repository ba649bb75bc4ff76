"""Asking the sidecar that runs: its address, the caller's credentials, and its answers in words."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click

from sidecar.cli.options import config_option, read_config

TIMEOUT_SECONDS = 30.0
TOKEN_VARIABLE = "PRONOIA_TOKEN"  # noqa: S105 - the variable's name, not a token


def own_url(config_path: Path | None) -> str:
    """Where the sidecar of that configuration listens, seen from this machine."""
    server = read_config(config_path).server
    host, _, port = server.listen.rpartition(":")
    scheme = "http" if server.tls is None else "https"
    return f"{scheme}://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]') else host}:{port}"  # noqa: S104


def at_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--at URL` as the argument `url`; without it, where `--config` says that the sidecar listens."""

    @functools.wraps(command)
    def found(*, config_path: Path | None, url: str | None, **others: Any) -> None:
        command(url=(url or own_url(config_path)).rstrip("/"), **others)

    help_text = "The running pronoia.  [default: where it is configured to listen]"
    return config_option(click.option("--at", "--url", "url", metavar="URL", help=help_text)(found))


def ask(address: str, body: dict[str, str] | None = None) -> Any:
    """The data of an answer: of GET, or of POST with a body, with the token of `PRONOIA_TOKEN` if it is set.

    Raises: HTTPError, OSError, ValueError; StrangeAnswer where another program answers.
    """
    if not address.startswith(("http://", "https://")):
        raise URLError("write http://host:9469")
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(TOKEN_VARIABLE):
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data=data, headers=headers)  # noqa: S310
    answer = answer_of(request)
    if "data" not in answer:
        raise StrangeAnswer
    return answer["data"]


class StrangeAnswer(Exception):
    """What answers at the address is another program."""


def answer_of(request: Request) -> dict[str, Any]:
    """The object that pronoia answers a request with.

    Raises: HTTPError, OSError, ValueError; StrangeAnswer.
    """
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            body = response.read()
    except HTTPException as error:
        raise StrangeAnswer from error
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise StrangeAnswer from error
    if not isinstance(answer, dict):
        raise StrangeAnswer
    return answer


def ask_or_exit(url: str, path: str, body: dict[str, str] | None = None) -> Any:
    """The data of the sidecar's answer; says why there is none, and ends with code 1."""
    answer, trouble = ask_or_tell(url, path, body)
    if trouble:
        click.echo(f"pronoia: {trouble}", err=True)
        raise SystemExit(1)
    return answer


def ask_or_tell(url: str, path: str, body: dict[str, str] | None = None) -> tuple[Any, str]:
    """The data of the sidecar's answer, or in words why there is none; the words are empty where there is."""
    try:
        return ask(url.rstrip("/") + path, body), ""
    except HTTPError as error:
        with error:
            return None, _refusal(url, error)
    except StrangeAnswer:
        return None, f"{url} answers, but not as pronoia does; name pronoia's address with --at"
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return None, f"{url} not reached ({reason}); is it running? name it with --at"


def _refusal(url: str, error: HTTPError) -> str:
    if error.code == 401:
        return f"the sidecar asks for credentials; set {TOKEN_VARIABLE} to a token of server.access.users"
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"{url} answered {error.code}; is it pronoia's address? name it with --at"
