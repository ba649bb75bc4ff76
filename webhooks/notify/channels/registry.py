"""The table of channels: which key of a target makes which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from sidecar.config.channels import NotifyTarget
from webhooks.notify.channel import Channel
from webhooks.notify.channels.alertmanager import AlertmanagerWebhook
from webhooks.notify.channels.apprise import Apprise
from webhooks.notify.channels.email import Email
from webhooks.notify.channels.pagerduty import PagerDuty
from webhooks.notify.channels.slack import Slack
from webhooks.notify.channels.webhook import Webhook

T = TypeVar("T")

CHANNELS: Mapping[str, Callable[[NotifyTarget], Channel]] = {
    "alertmanager": lambda target: AlertmanagerWebhook(given(target.alertmanager), target.timeout),
    "email": lambda target: Email(given(target.email), target.timeout),
    "pagerduty": lambda target: PagerDuty(given(target.pagerduty), target.timeout),
    "slack": lambda target: Slack(given(target.slack), target.timeout),
    "url": lambda target: _by_scheme(given(target.url).get_secret_value(), target.timeout),
}


def channel_of(target: NotifyTarget) -> Channel:
    """The channel that a target describes; the configuration has seen to it that it is exactly one."""
    kind = next(kind for kind in CHANNELS if getattr(target, kind) is not None)
    return CHANNELS[kind](target)


def _by_scheme(url: str, timeout_seconds: float) -> Channel:
    http = url.startswith(("http://", "https://"))
    return Webhook(url, timeout_seconds) if http else Apprise(url, timeout_seconds)


def given(value: T | None) -> T:
    """What the configuration has checked to be there."""
    assert value is not None
    return value
