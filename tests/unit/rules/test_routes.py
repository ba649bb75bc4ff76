"""Where a shadow's alert would go, by the routes of an Alertmanager; amtool agrees where it can tell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rules.adapt.routes import reached_by_shadows

RECEIVERS = [
    {"name": "nowhere"},
    {"name": "team", "webhook_configs": [{"url": "http://127.0.0.1:1/"}]},
    {"name": "pages", "webhook_configs": [{"url": "http://127.0.0.1:2/"}]},
]
SHADOW = {"receiver": "nowhere", "matchers": ['pronoia_canary="true"']}


def config(*routes: dict[str, object]) -> str:
    return yaml.safe_dump({"route": {"receiver": "team", "routes": list(routes)}, "receivers": RECEIVERS})


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        pytest.param(config(), ["team"], id="no route"),
        pytest.param(config(SHADOW), [], id="as documented"),
        pytest.param(config({**SHADOW, "matchers": ['pronoia_canary=~"t.*"']}), [], id="by pattern"),
        pytest.param(
            config({"receiver": "nowhere", "match": {"pronoia_canary": "true"}}), [], id="the old way"
        ),
        pytest.param(config({**SHADOW, "matchers": ["pronoia_canary=true"]}), [], id="without quotes"),
        pytest.param(config({**SHADOW, "continue": True}), [], id="goes on, and nothing follows"),
        pytest.param(
            config({**SHADOW, "continue": True}, {"receiver": "pages"}), ["pages"], id="goes on to others"
        ),
        pytest.param(
            config({"receiver": "pages", "matchers": ['severity="critical"']}, SHADOW),
            ["pages"],
            id="another route is before it",
        ),
        pytest.param(
            config({"receiver": "pages", "matchers": ['severity="critical"', 'pronoia_canary=""']}, SHADOW),
            [],
            id="the one before it leaves shadows out",
        ),
        pytest.param(
            config({"matchers": ['pronoia_canary!="true"'], "receiver": "pages"}),
            ["team"],
            id="only not there",
        ),
    ],
)
def test_receivers(text: str, reached: list[str], tmp_path: Path) -> None:
    assert reached_by_shadows(text) == reached
    amtool = shutil.which("amtool")
    if amtool is None:
        return
    path = tmp_path / "alertmanager.yml"
    path.write_text(text)
    test = [
        amtool,
        "config",
        "routes",
        "test",
        f"--config.file={path}",
        "pronoia_canary=true",
        "severity=critical",
    ]
    done = subprocess.run(test, capture_output=True, text=True, check=True)
    told = sorted(set(done.stdout.strip().replace(",", "\n").split()) & {"team", "pages"})
    assert told == reached
