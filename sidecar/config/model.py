"""The configuration, typed: every key, its default and its bounds.

Frozen models; unknown keys are refused. Reading YAML, environment and secret
files is `load.py`'s business, so these can be built in a test by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sidecar.config.access import ServerConfig
from sidecar.config.adapt import AdaptConfig
from sidecar.config.ahead import AheadConfig
from sidecar.config.behaviour import BehaviourConfig
from sidecar.config.business import (
    BusinessConfig,
    Calendar,
    Concern,
    PauseConfig,
    TrafficConfig,
    check_factors,
)
from sidecar.config.channels import NotifyConfig
from sidecar.config.council import USUAL_MEMBERS, Member
from sidecar.config.detector_names import DetectorName
from sidecar.config.enrichment import EnrichmentConfig
from sidecar.config.export import ExportConfig
from sidecar.config.fields import (
    HeaderValue,
    LabelKey,
    LabelValue,
    LastingSeconds,
    OffWord,
    PositiveSeconds,
    Seconds,
    format_duration,
    http_url,
)
from sidecar.config.forecast import ForecastConfig
from sidecar.config.http import HttpConfig
from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.config.mentions import check_mentions
from sidecar.config.models import ModelsConfig
from sidecar.config.response import ResponseConfig
from sidecar.config.ruler import RulerConfig
from sidecar.config.runbooks import RunbookConfig
from sidecar.config.section import Section
from sidecar.config.slo import PackName, SloConfig
from sidecar.config.store_names import StoreName
from sidecar.config.teams import Person, Schedule, Team, check_names
from sidecar.config.webhook import WebhookConfig


class EvaluatorConfig(Section):
    """The server that evaluates alert rules, where another does: vmalert, Thanos Ruler, one of many."""

    url: Annotated[str, http_url("http://vmalert:8880")] = Field(
        description="asked which rules are loaded, and told at /-/reload to read the files again"
    )
    http: HttpConfig = HttpConfig()


class SourceConfig(Section):
    """A server with Prometheus' HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics."""

    url: Annotated[str, http_url("http://host:9090")] = "http://localhost:9090"
    http: HttpConfig = HttpConfig()
    tenant: HeaderValue | None = Field(None, description="sent as X-Scope-OrgID")
    timeout: PositiveSeconds = Field(30.0, description="for an answer")
    retries: int = Field(3, ge=0, le=10, description="tries after the first, of what may succeed later")
    max_concurrent_queries: int = Field(
        4, ge=1, le=64, description="requests at once; the server has its own limit, 20 by default"
    )
    max_series_per_query: int = Field(
        20_000,
        ge=1,
        description="an answer with more is refused, so that a label gone wild costs one query only",
    )
    max_answer_bytes: int = Field(
        # Thirty million points, as much history as is held at once, are 0.9 GB of JSON.
        2**30,
        ge=2**20,
        description="unpacked; a longer answer is refused while it is read, so that none takes all memory",
    )
    remote_read: Annotated[Literal["auto", "off"], OffWord] = Field(
        "auto", description="auto: long histories by remote read, which is faster, where the server offers it"
    )
    compression: Literal["auto", "identity", "gzip"] = Field(
        "auto", description="of answers; auto: none on near links, where it costs more than it saves"
    )
    breaker_failures: int = Field(
        5, ge=1, description="failures in a row after which the server is left alone"
    )
    breaker_cooldown: PositiveSeconds = Field(30.0, description="how long until it is tried again then")
    evaluator: EvaluatorConfig | None = None


class AlertmanagerConfig(Section):
    """An Alertmanager to ask about alerts and silences."""

    url: Annotated[str, http_url("http://host:9093")]
    http: HttpConfig = HttpConfig()
    timeout: PositiveSeconds = Field(10.0, description="for an answer")


def usual_false_alarms(step_seconds: float) -> float:
    """Marginal alarms a series and 30 days where none are stated: 8 at one minute, 0.7 at one hour.

    A series that is judged sixty times as often has more chances to be wrong, but
    neighbouring judgements are wrong together. The exponent was chosen on labelled
    series of both kinds (docs/detection.md).
    """
    return float(8.0 * (60.0 / step_seconds) ** 0.595)


NAME_LENGTH = 128
"""A query's name is that of its files, too, which get endings."""


class QueryConfig(Section):
    """One query that is watched: every series of its answer gets its own expectation."""

    name: str = Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=NAME_LENGTH)
    expr: str = Field(min_length=1)
    step: LastingSeconds = Field(60.0, description="how often it is pulled and judged")
    offset: Seconds = Field(1.0, description="how long to let samples settle before a step is judged")
    history: LastingSeconds = Field(
        14 * 86400.0, description="how much of the past is read before the first score"
    )
    false_alarms_per_series_per_month: float | None = Field(
        None, gt=0, description="points beyond the band, not alerts; by default 8 at a step of 1m, 0.7 at 1h"
    )
    detector: DetectorName = Field(
        "ensemble", description="which detector judges; docs/detectors has a page each"
    )
    group_by: tuple[str, ...] = Field(
        (),
        description="of detector multivariate: series with the same values of these labels are judged "
        "together; empty: all of the query",
    )
    council: tuple[Member, ...] = Field(
        USUAL_MEMBERS, min_length=1, description="of detector council: who gives a second opinion"
    )
    direction: Literal["both", "above", "below"] = Field("both", description="which side is anomalous")
    lower_bound: float | None = Field(None, description="values cannot be less: 0 for what is counted")
    upper_bound: float | None = Field(None, description="values cannot be more: 1 for a share")
    min_deviation: float = Field(
        0.0, ge=0, description="what is no further from the expected is never flagged"
    )
    min_relative_deviation: float = Field(
        0.0, ge=0, description="the same as a share of the expected: 0.2 is 20 %"
    )
    absence: Annotated[Literal["family", "series", "off"], OffWord] = Field(
        "family",
        description="tell of a series that stops: where none is left that differs in pod or instance only, "
        "of each one, or never",
    )
    counters: str | None = Field(
        None,
        min_length=1,
        description="selector of the counters that it is made of: many resets at once are an event",
    )
    min_duration: Seconds = Field(
        0.0, description="how long a series must be anomalous before it is an event with a severity"
    )
    traffic: TrafficConfig | None = Field(
        None, description="of a ratio: how many events it is made of, so that few prove nothing"
    )
    band_factors: dict[Calendar, float] = Field(
        default_factory=dict, description="as `business.band_factors`, for this query"
    )
    importance: dict[Concern, float] = Field(
        default_factory=dict, description="how much it is about each concern, 0 to 1; by default 0.5 in all"
    )
    forecast_horizons: tuple[LastingSeconds, ...] = Field(
        (300.0, 900.0, 3600.0, 14400.0, 86400.0), description="how far ahead is forecast"
    )
    max_series: int | None = Field(None, ge=1)
    rule: bool = Field(True, description="write an adaptive alert rule from what is learnt")
    rule_for: Seconds = Field(120.0, description="`for` of its generated alerts")
    severity: str = Field("warning", description="label `severity` of its generated alerts")

    @model_validator(mode="after")
    def _shares(self) -> Self:
        check_factors(self.band_factors)
        for name, share in self.importance.items():
            if not 0 <= share <= 1:
                raise ValueError(f"importance.{name} is {share:g}; write 0 to 1")
        return self

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        low, high = self.lower_bound, self.upper_bound
        if low is not None and high is not None and low > high:
            raise ValueError(f"lower_bound {low:g} is above upper_bound {high:g}; swap them")
        return self

    @field_validator("forecast_horizons")
    @classmethod
    def _each_once(cls, horizons: tuple[float, ...]) -> tuple[float, ...]:
        for horizon in horizons:
            if horizons.count(horizon) > 1:
                raise ValueError(f"{format_duration(horizon)} stands twice; name each once")
        return horizons

    @property
    def false_alarms(self) -> float:
        """The budget, stated or usual: marginal alarms a series and 30 days."""
        stated = self.false_alarms_per_series_per_month
        return usual_false_alarms(self.step) if stated is None else stated


class PrometheusRuleConfig(Section):
    """PrometheusRule objects, for the Prometheus Operator: their marks, and the API that keeps them."""

    instance: str = Field(
        "pronoia",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description="prefix of the objects' names and mark of their owner; one of its own for each pronoia",
    )
    namespace: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description="by default the pod's own",
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="what the Prometheus' ruleSelector asks for"
    )
    api_url: str | None = Field(
        None, pattern=r"^https?://[^/]", description="by default the API of the cluster that the pod runs in"
    )
    token_file: Path | None = Field(
        None, description="by default the service account's, unless api_url is set"
    )
    ca_file: Path | None = Field(None, description="by default the service account's, unless api_url is set")

    @field_validator("labels")
    @classmethod
    def _not_ours(cls, labels: dict[str, str]) -> dict[str, str]:
        for key in labels:
            if key == "app.kubernetes.io/managed-by" or key.startswith("pronoia/"):
                raise ValueError(f"{key!r} is set by pronoia itself; leave it out")
        return labels


class RulesConfig(Section):
    """Where adaptive rules go; without a directory or a cluster nothing is written."""

    publish: Literal["files", "prometheus_rule", "ruler"] = Field(
        "files", description="as files, as PrometheusRule objects, or by the API of a ruler"
    )
    directory: Path | None = Field(None, description="where files are written")
    prometheus_rule: PrometheusRuleConfig = PrometheusRuleConfig()
    ruler: RulerConfig = RulerConfig()
    interval: LastingSeconds = Field(3600.0, description="how often thresholds are learnt again")
    promtool: str = Field("promtool", description="program that checks rules")
    reload: bool = Field(True, description="tell Prometheus after writing")
    evaluation_interval: LastingSeconds = Field(15.0, description="of generated groups")
    min_history: Seconds = Field(86400.0, description="less than this is too thin for a rule")
    max_series_per_rule: int = Field(
        20, ge=1, description="series in one rule, those seen longest; the rest is left out"
    )
    margin: float = Field(
        1.1,
        ge=1.0,
        description="widens the learned numbers in a rule; live thresholds follow the series and need none",
    )
    verify_timeout: PositiveSeconds | None = Field(
        None, description="how long Prometheus may take to show a new rule; 30s for files, 5m for objects"
    )
    canary: Seconds = Field(
        0.0,
        description="how long a generated group is a shadow first, labelled pronoia_canary; 0: not at all",
    )
    packs: tuple[PackName, ...] = Field((), description="ready sets of rules that are kept live")
    disabled_alerts: tuple[str, ...] = Field((), description="alerts of the packs that are left out, by name")
    ahead: AheadConfig = AheadConfig()
    adapt: AdaptConfig = AdaptConfig()

    @property
    def enabled(self) -> bool:
        """True where there is a place for rules."""
        return self.directory is not None or self.publish != "files"

    @property
    def verify_seconds(self) -> float:
        """The stated or usual time for Prometheus to show a new rule.

        Objects go by the operator, a ConfigMap, the kubelet (about a minute) and a reloader; with
        thousands of rules three to five minutes were seen (prometheus-operator issue 5408).
        """
        usual = 300.0 if self.publish == "prometheus_rule" else 30.0
        return usual if self.verify_timeout is None else self.verify_timeout

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.publish != "files" and self.directory is not None:
            raise ValueError("directory belongs to publish: files; leave it out or set publish to files")
        for place in ("prometheus_rule", "ruler"):
            if self.publish != place and place in self.model_fields_set:
                raise ValueError(f"{place} needs publish: {place}; add that or leave it out")
        return self


class StoreConfig(Section):
    """Where things are kept, and for how long."""

    kind: StoreName = Field("sqlite", description="what keeps alerts, incidents, messages and revisions")
    directory: Path = Field(Path("pronoia-data"), description="folder of the database and the models")
    retention_deliveries: LastingSeconds = Field(7 * 86400.0, description="so long deliveries are kept")
    retention_episodes: LastingSeconds = Field(
        400 * 86400.0, description="so long alerts and incidents are kept"
    )
    retention_dead_letters: LastingSeconds = Field(
        30 * 86400.0,
        description="so long unusable alerts are kept, and what was told of incidents that are over",
    )
    retention_revisions: LastingSeconds = Field(
        400 * 86400.0, description="so long revisions of rules are kept"
    )
    snapshot_interval: LastingSeconds = Field(60.0, description="how often what is learnt is saved")


class LogConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged"
    )
    format: Literal["auto", "json", "human"] = Field(
        "auto", description="auto: for people on a terminal, else JSON"
    )


class Config(Section):
    """The whole configuration file."""

    server: ServerConfig = ServerConfig()
    log: LogConfig = LogConfig()
    prometheus: SourceConfig = SourceConfig()
    alertmanagers: tuple[AlertmanagerConfig, ...] = ()
    queries: tuple[QueryConfig, ...] = Field((), description="empty: propose by yourself")
    business: BusinessConfig = BusinessConfig()
    pauses: tuple[PauseConfig, ...] = ()
    behaviour: BehaviourConfig = BehaviourConfig()
    forecast: ForecastConfig = ForecastConfig()
    events: tuple[EventConfig, ...] = Field((), description="what is known to come, and its uplift")
    calendar: CalendarConfig = CalendarConfig()
    models: ModelsConfig = ModelsConfig()
    runbooks: tuple[RunbookConfig, ...] = Field((), description="what to do about anomalies")
    webhook: WebhookConfig = WebhookConfig()
    notify: NotifyConfig = NotifyConfig()
    people: tuple[Person, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    teams: tuple[Team, ...] = ()
    response: ResponseConfig = ResponseConfig()
    enrichment: EnrichmentConfig = EnrichmentConfig()
    rules: RulesConfig = RulesConfig()
    slo: tuple[SloConfig, ...] = Field((), description="objectives; their alerts are kept live")
    store: StoreConfig = StoreConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("queries")
    @classmethod
    def _unique_names(cls, queries: tuple[QueryConfig, ...]) -> tuple[QueryConfig, ...]:
        seen: set[str] = set()
        for query in queries:
            if query.name in seen:
                raise ValueError(f"the name {query.name!r} is used twice; names must be unique")
            seen.add(query.name)
        return queries

    @model_validator(mode="after")
    def _mentioned_queries_are_watched(self) -> Self:
        mentions = [
            *((f"pauses[{n}].queries", pause.queries) for n, pause in enumerate(self.pauses)),
            *((f"events[{n}].queries", event.queries) for n, event in enumerate(self.events)),
            *((f"runbooks[{n}].queries", runbook.queries) for n, runbook in enumerate(self.runbooks)),
            ("calendar.queries", self.calendar.queries),
        ]
        watched = [query.name for query in self.queries]
        check_mentions(mentions, watched)
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [target.name for target in self.notify.targets]
        check_names(self.people, self.schedules, self.teams, names)
        pagers = {target.name for target in self.notify.targets if target.pagerduty is not None}
        for team in self.teams:
            for name in pagers.intersection(team.weekly_report):
                raise ValueError(f"teams: {team.name}: weekly_report: {name} is a pager; a report is none")
        return self
