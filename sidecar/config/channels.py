"""The configuration of the ways to people and tools: channels, their limits, and what stands in for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.config.fields import PositiveSeconds, Seconds, secret_url
from sidecar.config.section import Section

NAME = r"^[a-zA-Z0-9_.-]+$"
KINDS = ("url", "slack", "pagerduty", "email", "alertmanager")
Priority = Literal["P0", "P1", "P2", "P3"]


class ChannelSection(Section):
    """The keys of one kind of channel; what a kind can do otherwise than most, it says here."""

    usual_per_minute: ClassVar[int] = 600
    takes_pictures: ClassVar[bool] = False


class SlackConfig(ChannelSection):
    """A Slack app with the scopes chat:write and, to find a message after a crash, channels:history."""

    usual_per_minute = 60  # https://api.slack.com/apis/rate-limits: posting messages, one a second
    takes_pictures = True

    token: SecretStr | None = Field(None, description="the bot's token, xoxb-…")
    token_file: Path | None = None
    channel: str = Field(description="the channel's id, C0123456789; a name is not enough to update messages")
    signing_secret: SecretStr | None = Field(None, description="without it there are no buttons")
    signing_secret_file: Path | None = Field(None, description="proves that a button was pressed in Slack")
    api_url: str = Field("https://slack.com/api", pattern=r"^https?://")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token is None) == (self.token_file is None):
            raise ValueError("give exactly one of token and token_file")
        if self.signing_secret is not None and self.signing_secret_file is not None:
            raise ValueError("signing_secret and signing_secret_file exclude each other; keep one")
        return self

    @property
    def interactive(self) -> bool:
        """Whether its messages may have buttons."""
        return self.signing_secret is not None or self.signing_secret_file is not None


class PagerDutyConfig(ChannelSection):
    """A PagerDuty service with an Events API v2 integration."""

    routing_key: SecretStr | None = Field(None, description="the integration key, 32 letters and digits")
    routing_key_file: Path | None = None
    webhook_secret: SecretStr | None = Field(
        None, description="of a V3 webhook subscription: what is done in PagerDuty is done here, too"
    )
    webhook_secret_file: Path | None = None
    api_url: str = Field(
        "https://events.pagerduty.com",
        pattern=r"^https?://",
        description="EU: https://events.eu.pagerduty.com",
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.routing_key is None) == (self.routing_key_file is None):
            raise ValueError("give exactly one of routing_key and routing_key_file")
        if self.webhook_secret is not None and self.webhook_secret_file is not None:
            raise ValueError("webhook_secret and webhook_secret_file exclude each other; keep one")
        return self

    @property
    def tells_back(self) -> bool:
        """Whether its webhooks can be believed."""
        return self.webhook_secret is not None or self.webhook_secret_file is not None


class EmailConfig(ChannelSection):
    """Mail by SMTP; all mails of an incident are one thread."""

    takes_pictures = True

    server: str = Field(pattern=r"^[^:\s]+(:\d{1,5})?$", description="host:port, the port is 587 by default")
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    to: tuple[str, ...] = Field(min_length=1)
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        n_passwords = (self.password is not None) + (self.password_file is not None)
        if n_passwords != (self.username is not None):
            raise ValueError("username goes with exactly one of password and password_file")
        if self.username is not None and self.tls == "none":
            raise ValueError("a password is not sent in clear; set tls to starttls or implicit")
        return self


class AlertmanagerWebhookConfig(ChannelSection):
    """A receiver of Alertmanager's webhooks: the incident arrives as an alert, payload version 4."""

    url: Annotated[SecretStr, secret_url()] = Field(description="http(s)")
    bearer_token: SecretStr | None = None


class TemplateConfig(Section):
    """Jinja2 templates of a message; a template that fails is replaced by the plain text."""

    title: str | None = Field(None, max_length=2000)
    text: str | None = Field(None, max_length=20_000)


class NotifyTarget(Section):
    """Where incidents are told of. Named by a team, a person or as a fallback, it serves only these."""

    name: str = Field(pattern=NAME)
    url: Annotated[SecretStr, secret_url(others=True)] | None = Field(
        None, description="http(s) gets the JSON webhook; any other is an apprise URL"
    )
    slack: SlackConfig | None = None
    pagerduty: PagerDutyConfig | None = None
    email: EmailConfig | None = None
    alertmanager: AlertmanagerWebhookConfig | None = None
    min_priority: Priority = Field("P2", description="what is less urgent is not told")
    messages_per_minute: int | None = Field(
        None,
        ge=1,
        description="more than that wait, and what is out of date then is left out; by default 60 for Slack, "
        "which takes about one a second, and 600 elsewhere",
    )
    fallback: str | None = Field(None, description="the target that is told where this one cannot be")
    fallback_after: PositiveSeconds = Field(
        120.0, description="so long it is tried here first; wrong credentials fall back at once"
    )
    timeout: PositiveSeconds = Field(15.0, le=120.0, description="so long one try may take")
    template: TemplateConfig = TemplateConfig()

    @property
    def limit_per_minute(self) -> int:
        """The stated limit, else what is usual for its kind."""
        return self._kind.usual_per_minute if self.messages_per_minute is None else self.messages_per_minute

    @property
    def takes_pictures(self) -> bool:
        """Whether its kind of channel can show one; some of apprise's services cannot."""
        by_apprise = self.url is not None and not self.url.get_secret_value().startswith("http")
        return self._kind.takes_pictures or by_apprise

    @property
    def _kind(self) -> type[ChannelSection]:
        section = next(getattr(self, kind) for kind in KINDS if getattr(self, kind) is not None)
        return type(section) if isinstance(section, ChannelSection) else ChannelSection

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; has {' and '.join(given) or 'none'}")
        if self.fallback == self.name:
            raise ValueError("is its own fallback; name another target")
        return self


class NotifyConfig(Section):
    """Telling people: one message for an incident, its updates, its end."""

    targets: tuple[NotifyTarget, ...] = ()
    update_interval: Seconds = Field(900.0, description="least time between a message and an update")
    give_up_after: PositiveSeconds = Field(86400.0, description="a message that old is not tried again")

    @field_validator("targets")
    @classmethod
    def _names_fit(cls, targets: tuple[NotifyTarget, ...]) -> tuple[NotifyTarget, ...]:
        names = [target.name for target in targets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} is used twice; names must be unique")
        for target in targets:
            if target.fallback is not None and target.fallback not in names:
                raise ValueError(f"{target.name}: there is no target {target.fallback!r} to fall back to")
        return targets
