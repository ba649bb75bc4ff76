"""The page of every key is what the configuration is, and says something of each that needs words."""

from __future__ import annotations

from sidecar.config.model import Config
from tools.configuration_page import PAGE, keys, render

PLAIN = {
    *("name", "url", "expr", "start", "end", "username", "password", "password_file", "token", "token_file"),
    *("bearer_token", "enabled", "days", "span", "timezone", "match", "comment", "why", "targets", "people"),
}
"""Keys whose names say what they are."""


def test_the_page_is_what_the_configuration_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tools.configuration_page"


def test_most_keys_say_what_they_are() -> None:
    bare = [key.path for key in keys(Config) if not key.about and key.path.rpartition(".")[2] not in PLAIN]
    assert len(bare) <= 40, bare
