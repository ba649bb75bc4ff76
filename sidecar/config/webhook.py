"""The alerts loop's part of the configuration: who may send, and how incidents are made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.config.fields import LastingSeconds, PositiveSeconds, Seconds
from sidecar.config.http import BasicAuth
from sidecar.config.impact import ImpactConfig
from sidecar.config.section import Section


class WebhookAuth(Section):
    """Credentials that a sender must show; none given means none asked."""

    basic_auth: BasicAuth | None = None
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = None
    hmac_secret: SecretStr | None = Field(
        None, description="a proxy signs bodies: hex HMAC-SHA256 in `hmac_header`, `sha256=` before it or not"
    )
    hmac_secret_file: Path | None = None
    hmac_header: str = Field("X-Signature-256", description="header that bears the signature")
    client_names: tuple[str, ...] = Field(
        (),
        description="a client certificate must bear one of these; needs server.tls.client_ca_file",
    )

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        ways = {
            "basic_auth": self.basic_auth,
            "bearer_token": self.bearer_token or self.bearer_token_file,
            "hmac_secret": self.hmac_secret or self.hmac_secret_file,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one")
        for name in ("bearer_token", "hmac_secret"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{name} and {name}_file exclude each other; keep one")
        return self


class FoldConfig(Section):
    """A part of a label's value that does not make another thing of it, such as a version or a hash."""

    label: str = Field(min_length=1, description="name of the label")
    pattern: str = Field(min_length=1, description="what matches is left out of the value (Python's re)")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern


class ReceiverConfig(Section):
    """A receiver of its own, at /webhooks/alertmanager/NAME: who sends there, and whose alerts they are."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.-]+$")
    tenant: str = Field("default", min_length=1, max_length=150, description="whose alerts it delivers")
    auth: WebhookAuth = WebhookAuth()


class HeartbeatConfig(Section):
    """The alert that always fires: while it arrives, the way of alerts is whole."""

    alertnames: tuple[str, ...] = Field(
        ("Watchdog", "DeadMansSwitch", "DeadMansSnitch", "Heartbeat"),
        description="names of the alert that fires always",
    )
    timeout: PositiveSeconds | None = Field(
        None, description="silence that is an incident; by default twice the longest usual pause"
    )
    look_interval: LastingSeconds = Field(15.0, description="how often silence is looked for")
    time_annotation: str = Field(
        "evaluated_at", description="annotation with the time of evaluation, for the delay end to end"
    )


class StormConfig(Section):
    """When so many alerts come that they are one incident, told by counts."""

    alerts_per_minute: int = Field(1000, ge=0, description="fewer new alerts are never a storm; 0 is never")
    factor: float = Field(5.0, ge=1.0, description="so many times the learned high rate is a storm")


class WebhookConfig(Section):
    """What is received from Alertmanager, and how it becomes incidents."""

    auth: WebhookAuth = WebhookAuth()
    receivers: tuple[ReceiverConfig, ...] = ()
    max_body_bytes: int = Field(64 * 2**20, ge=1024, description="a larger delivery is answered 413")
    queue_deliveries: int = Field(4096, ge=1, description="more that wait are answered 503, and sent again")
    incident_gap: PositiveSeconds = Field(2400.0, description="silence that ends an incident's growth")
    incident_hold: Seconds = Field(
        60.0, description="how long a new incident may wait for what it belongs to before that is decided"
    )
    hold_self_resolving: Seconds = Field(
        300.0,
        description="longest wait to be told of alerts that usually resolve by themselves; none for P0, P1",
    )
    topology_file: Path | None = Field(
        None, description="the service graph (YAML): services with depends_on and runs_on, nodes with zones"
    )
    embeddings: Path | None = Field(
        None,
        description="folder of a static embedding model (model2vec), by which other words for the same thing "
        "are alike; needs the extra `embeddings`",
    )
    impact: ImpactConfig = ImpactConfig()
    noise_may_silence_pages: bool = Field(
        False, description="whether what would be P0 or P1 may become P4 while it fires, as probable noise"
    )
    reconcile_interval: Seconds = Field(
        60.0, description="how often to compare with the Alertmanagers' own lists; 0 is never"
    )
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    storm: StormConfig = StormConfig()
    identity_labels: tuple[str, ...] = Field(
        (), description="labels that name what an alert is about, before the known ones"
    )
    folds: tuple[FoldConfig, ...] = Field(
        (),
        description="what to leave out of values, beyond the hashes of pods and ordinals, which fold anyway",
    )

    @property
    def fold_pairs(self) -> list[tuple[str, str]]:
        """Label and pattern of each fold."""
        return [(fold.label, fold.pattern) for fold in self.folds]

    @field_validator("receivers")
    @classmethod
    def _unique_names(cls, receivers: tuple[ReceiverConfig, ...]) -> tuple[ReceiverConfig, ...]:
        names = [one.name for one in receivers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} is used twice; names must be unique")
        return receivers
