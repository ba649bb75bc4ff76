"""The configuration of what pronoia does about incidents beside telling: pauses, silences, alerts, hooks."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.config.channels import NAME, Priority
from sidecar.config.fields import LastingSeconds, Moment, PositiveSeconds, secret_url
from sidecar.config.hours import Hours
from sidecar.config.kubernetes import KubernetesConfig
from sidecar.config.section import Section
from sidecar.config.teams import Match

LONGEST_STEP_SECONDS = 3600.0

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""A name of Kubernetes'."""

LEAST_SECRET = 16


class Maintenance(Section):
    """Known work: what matches is not told while it lasts, and is told afterwards if it still fires."""

    match: Match = Field(min_length=1)
    start: Moment | None = None
    end: Moment | None = None
    hours: Hours | None = Field(None, description="recurring, in place of start and end")
    comment: str = ""

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        once = self.start is not None and self.end is not None
        if once == (self.hours is not None) or (self.start is None) != (self.end is None):
            raise ValueError("needs either start and end, or hours")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("ends before it starts")
        return self


class Dependency(Section):
    """While an incident that matches `parent` is open, one that matches `child` is not told."""

    child: Match = Field(min_length=1)
    parent: Match = Field(min_length=1)


class AutomaticSilencesConfig(Section):
    """Silences that pronoia makes without being asked, each of one alert. Off unless a reason is on."""

    flapping: bool = Field(False, description="of alerts that flap, except in incidents of P0 and P1")
    duplicates: bool = Field(
        False, description="of alerts that differ from another one that fires only in `duplicate_labels`"
    )
    duplicate_labels: tuple[str, ...] = Field(("replica", "prometheus_replica"), min_length=1)
    duration: LastingSeconds = Field(
        900.0, le=3600.0, description="one lasts so long, and is extended while its reason holds"
    )
    max_total: LastingSeconds = Field(
        14400.0, le=86400.0, description="one is extended no longer, and not made again for that reason"
    )
    max_active: int = Field(10, ge=1, description="automatic silences that are active at the same time")


class SilencesConfig(Section):
    """Silences in Alertmanager. People ask for them; by itself pronoia makes one only if told to here."""

    acknowledge: bool = Field(False, description="an acknowledgement also silences the incident's alerts")
    duration: LastingSeconds = Field(
        900.0,
        le=86400.0,
        description="an acknowledgement's silence lasts so long, and is extended while it fires",
    )
    max_duration: LastingSeconds = Field(86400.0, description="longest silence that people may ask for")
    max_total: LastingSeconds = Field(
        86400.0, description="an acknowledgement's silence is extended no longer"
    )
    max_active: int = Field(50, ge=1, description="silences of pronoia that are active at the same time")
    automatic: AutomaticSilencesConfig = AutomaticSilencesConfig()


class SyntheticConfig(Section):
    """One alert for an incident, posted to the Alertmanagers, so that their routes and receivers carry it."""

    enabled: bool = False
    inhibit_by: tuple[str, ...] = Field(
        ("service", "deployment", "statefulset", "daemonset", "instance", "node"),
        description="the first of these labels that all alerts of an incident share is what it inhibits by",
    )
    min_priority: Priority = "P2"
    resend: LastingSeconds = Field(60.0, description="how often it is sent again while the incident is open")


class JobConfig(Section):
    """A Kubernetes Job, made of the template of a CronJob that is there already, usually suspended."""

    cronjob: DnsLabel
    namespace: DnsLabel | None = Field(None, description="by default the pod's own")


class Hook(Section):
    """One automatic step. It runs only for what it names, and at first only says what it would do."""

    name: str = Field(pattern=NAME)
    match: Match = Field(min_length=1, description="labels of the incidents that it is for")
    min_priority: Priority = "P1"
    url: Annotated[SecretStr, secret_url()] | None = Field(
        None, description="http(s); gets a POST with the incident's document"
    )
    job: JobConfig | None = None
    after: str | None = Field(
        None, description="a hook above: this one follows it, where the incident is still open `wait` later"
    )
    wait: LastingSeconds = Field(600.0, description="how long the hook above is given to help")
    dry_run: bool = Field(True, description="only write into the timeline what would be done")
    cooldown: LastingSeconds = Field(1800.0, description="least time between two runs")
    max_failures: int = Field(3, ge=1, description="so many failures in a row stop it until `reset_after`")
    reset_after: LastingSeconds = Field(86400.0, description="a stopped hook may try again after this")
    timeout: PositiveSeconds = Field(
        30.0, le=LONGEST_STEP_SECONDS, description="what takes longer has failed; a Job is ended then"
    )

    @model_validator(mode="after")
    def _one_deed(self) -> Self:
        if (self.url is None) == (self.job is None):
            raise ValueError("needs exactly one of url and job")
        return self


class ResponseConfig(Section):
    """From an incident to what people and tools do about it."""

    external_url: str | None = Field(
        None, pattern=r"^https?://", description="where people's browsers reach pronoia; links need it"
    )
    link_secret: SecretStr | None = Field(
        None, description="signs links, 16 characters or more; made and stored by default"
    )
    maintenance: tuple[Maintenance, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    silences: SilencesConfig = SilencesConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    hooks: tuple[Hook, ...] = ()
    kubernetes: KubernetesConfig = KubernetesConfig()

    @field_validator("link_secret")
    @classmethod
    def _cannot_be_guessed(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().strip()) < LEAST_SECRET:
            raise ValueError(
                f"is too short: who guesses it signs links that act; write {LEAST_SECRET} or more characters"
            )
        return secret

    @field_validator("hooks")
    @classmethod
    def _unique_names(cls, hooks: tuple[Hook, ...]) -> tuple[Hook, ...]:
        names = [hook.name for hook in hooks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} is used twice; names must be unique")
        for at, hook in enumerate(hooks):
            if hook.after is not None and hook.after not in names[:at]:
                above = ", ".join(names[:at]) or "none"
                raise ValueError(f"{hook.name}: after {hook.after!r} is no hook above it; above: {above}")
        return hooks
