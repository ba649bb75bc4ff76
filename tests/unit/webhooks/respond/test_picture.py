"""The picture of a message: of which series, drawn of anything, and never in a message's way."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client import CollectorRegistry

from sidecar.config.channels import NotifyTarget
from sidecar.errors import PullError, PullReason
from sidecar.records import Cause, Episode
from sidecar.series import LabelSet, SeriesBatch
from tests.integration.channels import SlackServer
from tests.unit.webhooks.respond.incidents import NOW, episode, incident
from webhooks.measured import Subject, worst
from webhooks.notify.channel import Outgoing
from webhooks.notify.channels.email import mail_of
from webhooks.notify.channels.registry import channel_of
from webhooks.notify.message import document
from webhooks.respond.picture import PictureMetrics, Pictures, png, subject_of

MESSAGE = document("opened", incident(), key="t/i1/1")


def alert(rule: str = "Slow", expr: str = "latency > 0.5", n: int = 0, at: float = -60.0) -> Episode:
    one = episode(rule, n, at=at)
    one.generator_url = f"http://prometheus:9090/graph?g0.expr={quote(expr)}&g0.tab=1"
    return one


def batch(*rows: list[float], pods: str = "p0 p1 p2", step: int = 60) -> SeriesBatch:
    labels = tuple(LabelSet({"__name__": "latency", "pod": pod}) for pod in pods.split()[: len(rows)])
    times = int(NOW * 1000) + np.arange(-len(rows[0]) + 1, 1) * step * 1000
    return SeriesBatch("q", labels, times.astype(np.int64), np.array(rows, dtype=np.float64))


@pytest.mark.parametrize(
    ("cause", "rule"),
    [("Slow/0", "Slow"), ("Down/0", "Down"), (None, "Down")],
    ids=["cause", "other", "first"],
)
def test_the_probable_causes_alert_is_shown(cause: str | None, rule: str) -> None:
    one = incident(causes=[Cause(cause, "db", 1.0, [])])
    found = subject_of(one, [alert("Slow"), alert("Down", at=-90.0), episode("NoUrl", at=-99.0)])
    assert found is not None
    assert found.episode.labels["alertname"] == rule
    assert (found.expr, found.comparison is not None) == ("latency", True)


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        pytest.param("latency > 0.5", "latency", id="a comparison"),
        pytest.param("absent(up)", "absent(up)", id="none"),
        pytest.param("((", "((", id="no PromQL"),
    ],
)
def test_what_is_asked_for(expr: str, shown: str) -> None:
    found = Subject.of(alert(expr=expr))
    assert found is not None
    assert found.expr == shown


NAN = float("nan")


@pytest.mark.parametrize(
    ("expr", "rows", "pods", "row"),
    [
        pytest.param("latency > 1", ([0, 1], [0, 9], [0, 2]), "x y z", 1, id="the furthest above"),
        pytest.param("latency < 1", ([0, 1], [0, -9], [0, 2]), "x y z", 1, id="the furthest below"),
        pytest.param("latency == 0", ([5, 5], [5, 5], [5, 0]), "x y z", 2, id="the most unlike itself"),
        pytest.param("latency > 1", ([0, 9], [0, 2]), "x p0", 1, id="the alert's own series"),
        pytest.param("latency > 1", ([NAN, 9], [NAN, NAN]), "x y", None, id="too little to show"),
    ],
)
def test_the_worst_series_is_shown(
    expr: str, rows: tuple[list[float], ...], pods: str, row: int | None
) -> None:
    subject = Subject.of(alert(expr=expr))
    assert subject is not None
    assert worst(batch(*rows, pods=pods), subject) == row


FINITE = st.floats(-1e12, 1e12) | st.just(NAN)


@given(st.lists(FINITE, min_size=2, max_size=40), st.text(max_size=60), st.floats(-1e9, 1e9))
@settings(max_examples=25, deadline=None)
def test_anything_can_be_drawn(values: list[float], name: str, threshold: float) -> None:
    subject = Subject.of(alert(name, expr=f"latency > {threshold!r}"))
    assert subject is not None
    shown = batch(values)
    if worst(shown, subject) is None:
        return
    made = png(subject, shown, 0)
    assert Image.open(io.BytesIO(made)).size == (640, 240)
    assert len(made) < 60_000


class Prometheus:
    """Answers with one series, after so long."""

    def __init__(self, *, seconds: float = 0.0, error: bool = False) -> None:
        self.seconds, self.error = seconds, error
        self.asked: list[dict[str, Any]] = []

    async def range(self, expr: str, **asked: Any) -> SeriesBatch:
        self.asked.append({"expr": expr, **asked})
        await asyncio.sleep(self.seconds)
        if self.error:
            raise PullError(PullReason.TOO_MANY_SERIES, "many")
        return batch([0.1, 0.2, 0.9])


def pictures(
    source: Prometheus, members: list[Episode], *, enabled: bool = True, timeout: float = 10.0
) -> Pictures:
    async def episodes(_: str) -> list[Episode]:
        return members

    async def draw(subject: Subject, shown: SeriesBatch, row: int) -> bytes:
        return b"picture"

    found = Pictures(
        enabled=enabled,
        timeout_seconds=timeout,
        episodes=episodes,
        draw=draw,
        metrics=PictureMetrics(CollectorRegistry()),
        now=lambda: NOW,
    )
    found.ask(source)
    return found


async def test_a_picture_is_made_once_of_the_hours_around_the_alert() -> None:
    source = Prometheus()
    found = pictures(source, [alert()])
    for _ in range(2):
        await found.prepare([incident()])
    assert found.of("i1") == b"picture"
    (asked,) = source.asked
    assert (asked["end_ms"] - asked["start_ms"], asked["step_ms"]) == (3_660_000, 22_000)


@pytest.mark.parametrize(
    ("source", "members", "enabled"),
    [
        pytest.param(Prometheus(seconds=60.0), [alert()], True, id="late"),
        pytest.param(Prometheus(error=True), [alert()], True, id="too many series"),
        pytest.param(Prometheus(), [episode("A")], True, id="no expression"),
        pytest.param(Prometheus(), [alert()], False, id="told not to"),
    ],
)
async def test_a_message_goes_without(source: Prometheus, members: list[Episode], enabled: bool) -> None:
    found = pictures(source, members, enabled=enabled, timeout=0.05)
    await found.prepare([incident()])
    assert found.of("i1") is None


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    server = SlackServer()
    yield server
    server.kill()


@pytest.mark.parametrize(
    "broken", ["", "files.getUploadURLExternal", "/upload/", "files.completeUploadExternal"]
)
async def test_slack_shows_it_in_the_thread_and_needs_it_for_nothing(slack: SlackServer, broken: str) -> None:
    slack.fault = lambda path: (200, {}, {"ok": False, "error": "x"}) if broken and broken in path else None
    if broken == "/upload/":
        slack.fault = lambda path: (500, {}, {}) if broken in path else None
    channel = channel_of(NotifyTarget.model_validate(slack.target()))
    receipt = await channel.send(Outgoing(MESSAGE, picture=b"\x89PNG"))
    await channel.close()
    assert receipt["ts"] == slack.roots[0]["ts"]
    assert slack.pictures == ([] if broken else [(receipt["ts"], b"\x89PNG")])


def test_a_mail_carries_it() -> None:
    mail = mail_of(MESSAGE, sender="a@example.com", to=("b@example.com",), made_at=0.0, picture=b"\x89PNG")
    (image,) = mail.iter_attachments()
    assert (image.get_content_type(), image.get_content_disposition()) == ("image/png", "inline")
    body = mail.get_body()
    assert body is not None
    assert "incident i1" in body.get_content()
