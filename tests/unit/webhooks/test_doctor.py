"""Alertmanager configurations that would make pronoia blind, and those that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webhooks.doctor import examine


def config(hook: dict[str, Any] | None = None, **route: Any) -> str:
    return json.dumps(
        {
            "route": {"receiver": "pronoia", **route},
            "receivers": [
                {"name": "pronoia", "webhook_configs": [{"url": "<secret>", **(hook or {})}]},
                {"name": "desk", "slack_configs": [{}]},
            ],
        }
    )


FIRST = [{"receiver": "pronoia", "continue": True}, {"receiver": "desk", "matchers": ['team="a"']}]
LATE = [{"receiver": "desk", "matchers": ['team="a"']}, {"receiver": "pronoia"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(config(), None, id="all goes to pronoia"),
        pytest.param(config(receiver="desk", routes=FIRST), None, id="first, and on"),
        pytest.param(
            config(receiver="desk", routes=LATE), "only some alerts", id="an earlier route takes some"
        ),
        pytest.param(config(receiver="desk"), "no route leads", id="no route"),
        pytest.param(config({"send_resolved": False}), "no alert ever ends", id="no ends"),
        pytest.param(config({"max_alerts": 10}), "max_alerts 10", id="truncated"),
        pytest.param(config({"timeout": "0s"}), "no timeout", id="no timeout"),
        pytest.param(config(group_interval="3h", repeat_interval="1h"), "ends get lost", id="intervals"),
        pytest.param(config(routes=[{"receiver": "desk"}]), "only some alerts", id="a child takes all"),
        pytest.param(
            config(receiver="desk", routes=[{"receiver": "pronoia", "mute_time_intervals": ["night"]}]),
            "muted at times",
            id="muted",
        ),
        pytest.param("a: [", "cannot be read", id="no YAML"),
        pytest.param("{}", "no route", id="empty"),
        pytest.param(
            '{"route": {"receiver": "x"}, "receivers": [{"name": "x"}]}', "no receiver", id="no webhook"
        ),
    ],
)
def test_findings(text: str, words: str | None) -> None:
    found = examine(text, set())
    if words is None:
        assert found == []
    else:
        assert any(words in finding.what for finding in found), found
        assert all(finding.remedy for finding in found)


def test_only_receivers_that_deliver_to_us_count() -> None:
    assert "no receiver" in examine(config(), {"other"})[0].what
    assert examine(config(), {"pronoia"}) == []
