"""What the story is told from: pronoia's live stream, and the HTTP APIs of the three servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from sidecar.cli.demo.story import Story

POLL_SECONDS = 1.0
_FAULTS = (aiohttp.ClientError, TimeoutError, ValueError)


async def follow_events(session: aiohttp.ClientSession, url: str, story: Story) -> None:
    """Hand every event of pronoia's stream to the story, for ever; a broken stream is opened again."""
    while True:
        with contextlib.suppress(*_FAULTS):
            timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
            async with session.get(f"{url}/api/v1/stream", timeout=timeout) as answer:
                answer.raise_for_status()
                kind, data = "", ""
                async for raw in answer.content:
                    line = raw.decode("utf-8", "replace").rstrip("\r\n")
                    if not line:
                        _hand_on(story, kind, data)
                        kind, data = "", ""
                    elif line.startswith("event:"):
                        kind = line[6:].strip()
                    elif line.startswith("data:"):
                        data += line[5:].strip()
        await asyncio.sleep(0.5)


def _hand_on(story: Story, kind: str, data: str) -> None:
    with contextlib.suppress(ValueError):
        document = json.loads(data) if data else {}
        if isinstance(document, Mapping):
            facts = document.get("facts", document)
            story.event(kind or str(document.get("kind", "")), facts if isinstance(facts, Mapping) else {})


async def follow_pages(session: aiohttp.ClientSession, prometheus: str, pronoia: str, story: Story) -> None:
    """Look at Prometheus' rules, pronoia's thresholds and incidents each second, for ever."""
    while True:
        with contextlib.suppress(*_FAULTS):
            groups = await _data(session, f"{prometheus}/api/v1/rules")
            story.rule_groups(_rows(groups, "groups"))
        with contextlib.suppress(*_FAULTS):
            if "scored" not in story.told:
                async with session.get(f"{pronoia}/-/ready") as answer:
                    if answer.status == 200:
                        story.ready()
        with contextlib.suppress(*_FAULTS):
            if "ahead" not in story.told:
                story.thresholds(_rows(await _data(session, f"{pronoia}/api/v1/thresholds"), "thresholds"))
        with contextlib.suppress(*_FAULTS):
            story.incidents(_rows(await _data(session, f"{pronoia}/api/v1/incidents"), "incidents"))
        await asyncio.sleep(POLL_SECONDS)


async def _data(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        answer.raise_for_status()
        document = await answer.json(content_type=None)
    return document.get("data") if isinstance(document, Mapping) else document


def _rows(data: Any, key: str) -> Sequence[Mapping[str, Any]]:
    rows = data.get(key, ()) if isinstance(data, Mapping) else data
    return [row for row in rows or () if isinstance(row, Mapping)]
