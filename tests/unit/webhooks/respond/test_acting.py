"""What pronoia does itself: silences under their caps, alerts of incidents, hooks, reports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.config.response import Hook, SilencesConfig, SyntheticConfig
from sidecar.errors import NotifyError, PullError
from sidecar.records import Episode, Feedback, Incident, Response, TimelineEntry
from tests.unit.webhooks.respond.incidents import NOW, Clock, Held, episode, incident
from webhooks.notify.message import stamp
from webhooks.own import inner_delivery, own_event, without_echoes
from webhooks.respond import hooks, silences
from webhooks.respond.document import Report, Section
from webhooks.respond.hooks import HookMetrics, Hooks
from webhooks.respond.lifecycle import ActionError
from webhooks.respond.noise_report import by_rule, longer_for, noise_report, together
from webhooks.respond.report import incident_report
from webhooks.respond.silences import Caps, SilenceMetrics, Silencer, _seconds, matchers_of
from webhooks.respond.synthetic import SyntheticAlerts, SyntheticMetrics, inhibit_rules

SECOND = 10**9
NOW_NS = int(NOW * SECOND)
FOUND = incident(shared_labels={"service": "db"})
BARE = replace(episode("A"), labels={"alertname": "A"})


def labelled(rule: str, **labels: str) -> Episode:
    return replace(episode(rule), labels={"alertname": rule, **labels})


@pytest.mark.parametrize(
    ("peers", "ids"), [pytest.param(False, ["0", "1"], id="apart"), pytest.param(True, ["0"], id="peers")]
)
async def test_alertmanagers_that_share_nothing_have_a_silence_each_and_peers_one(
    monkeypatch: pytest.MonkeyPatch, peers: bool, ids: list[str]
) -> None:
    monkeypatch.setattr(silences, "GOSSIP_SECONDS", 0.0)
    clock = Clock()
    first = Held(clock)
    other = first if peers else Held(clock)
    other.made += [] if peers else [{"id": "0", "endsAt": stamp(NOW_NS), "createdBy": "somebody"}]
    caps = SilencesConfig(duration=900, max_duration=3600, max_total=7200)
    metrics = SilenceMetrics(CollectorRegistry())
    silencer = Silencer({"a": first, "b": other}, caps, metrics=metrics, now=clock)
    assert await silencer.silence(FOUND, [episode("A")], seconds=3600, why="longest") == ids
    with pytest.raises(ActionError, match="at most 3600 s"):
        await silencer.silence(FOUND, [episode("A")], seconds=3601, why="longer")


async def test_a_silence_with_much_time_left_is_left_alone_and_one_without_extended_to_its_most() -> None:
    clock = Clock()
    held = Held(clock)
    config = SilencesConfig(duration=900, max_duration=3600, max_total=1000)
    registry = CollectorRegistry()
    silencer = Silencer({"a": held}, config, metrics=SilenceMetrics(registry), now=clock)
    await silencer.silence(FOUND, [episode("A")], seconds=900, why="")
    began = clock.now
    for passed, lasts in ((1, 900), (890, 1000), (899, 1000)):
        clock.now = began + passed
        await silencer.extend("incident i1", caps=Caps(900, 1000, 3))
        assert _seconds(held.made[0]["endsAt"]) == began + lasts
    assert registry.get_sample_value("pronoia_silences_total", {"change": "extended"}) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["silence", "silence", "extend", "end"]),
            st.integers(0, 5),
            st.floats(1, 9000),
            st.floats(0, 2000),
        ),
        max_size=40,
    )
)
@settings(deadline=None)
def test_never_more_silences_and_never_longer_than_the_caps(
    steps: list[tuple[str, int, float, float]],
) -> None:
    clock = Clock()
    held = Held(clock)
    caps = SilencesConfig(duration=900, max_duration=3600, max_total=7200, max_active=3)
    silencer = Silencer({"am": held}, caps, metrics=SilenceMetrics(CollectorRegistry()), now=clock)

    async def run() -> None:
        for what, which, seconds, pause in steps:
            one = incident(f"i{which}", shared_labels={"service": f"s{which}"})
            try:
                if what == "silence":
                    await silencer.silence(one, [episode("A")], seconds=seconds, why="x")
                elif what == "extend":
                    await silencer.extend(f"incident i{which}", caps=Caps(900, 7200, 3))
                else:
                    await silencer.end(f"incident i{which}")
            except ActionError:
                pass
            active = [one for one in await held.silences() if one["status"]["state"] == "active"]
            assert len(active) <= 3
            assert len({one["comment"] for one in active}) == len(active), "one for an incident"
            for one in held.made:
                whole = _seconds(one["endsAt"]) - _seconds(one["startsAt"])
                assert whole <= 7200 + 1
            clock.now += pause

    asyncio.run(run())


async def test_silences_need_an_alertmanager_that_answers() -> None:
    held = Held(Clock())
    silencer = Silencer(
        {"am": held}, SilencesConfig(), metrics=SilenceMetrics(CollectorRegistry()), now=Clock()
    )
    held.down = True
    with pytest.raises(PullError):
        await silencer.silence(FOUND, [episode("A")], seconds=60, why="x")
    none = Silencer({}, SilencesConfig(), metrics=SilenceMetrics(CollectorRegistry()))
    with pytest.raises(ActionError, match="no Alertmanager is configured"):
        await none.silence(incident(), [episode("A")], seconds=60, why="x")


@pytest.mark.parametrize(
    ("shared", "members", "expected"),
    [
        pytest.param(
            {"alertname": "A", "service": "db"},
            [episode("A")],
            [("alertname", "A", False), ("service", "db", False)],
            id="one rule",
        ),
        pytest.param(
            {"service": "db"},
            [episode("A"), episode("B.b")],
            [("alertname", r"A|B\.b", True), ("service", "db", False)],
            id="several rules, by name",
        ),
        pytest.param({}, [episode("A"), episode("B")], "share no label", id="too wide"),
        pytest.param({}, [episode("A"), episode("A", 1)], "share no label", id="a rule, everywhere"),
        pytest.param({}, [BARE], [("alertname", "A", False)], id="nothing but its name"),
        pytest.param(
            {"cluster": "eu"},
            [
                labelled("A", cluster="eu", k8s_deployment_name="web", pod="web-1", severity="page"),
                labelled("B", cluster="eu", k8s_deployment_name="db.x", pod="db-2", severity="warn"),
            ],
            [
                ("alertname", "A|B", True),
                ("cluster", "eu", False),
                ("k8s_deployment_name", r"db\.x|web", True),
            ],
            id="whose they are, and not which pod",
        ),
        pytest.param(
            {"job": "kube-state-metrics"},
            [labelled("A", job="kube-state-metrics", namespace=one) for one in ("shop", "bank")],
            [
                ("alertname", "A", False),
                ("job", "kube-state-metrics", False),
                ("namespace", "bank|shop", True),
            ],
            id="an exporter's, of two namespaces",
        ),
        pytest.param(
            {"cluster": "eu"},
            [labelled("A", cluster="eu", service="db"), labelled("A", cluster="eu", service="")],
            [("alertname", "A", False), ("cluster", "eu", False)],
            id="not all say whose",
        ),
        pytest.param(
            {"cluster": "eu"},
            [labelled("A", cluster="eu", service=f"s{n}") for n in range(21)],
            [("alertname", "A", False), ("cluster", "eu", False)],
            id="of many",
        ),
        pytest.param(
            {"cluster": "eu"},
            [
                labelled("A", cluster="eu", service="db"),
                replace(labelled("A", cluster="eu", service="web"), state="resolved"),
            ],
            [("alertname", "A", False), ("cluster", "eu", False), ("service", "db", False)],
            id="of one that is left",
        ),
        pytest.param({}, [episode("A", lasted=1.0)], "no alert that fires", id="over"),
        pytest.param({"a": "b"}, [episode(f"R{n}") for n in range(30)], "30 different", id="too many rules"),
    ],
)
def test_what_a_silence_matches(shared: dict[str, str], members: list[Episode], expected: Any) -> None:
    one = incident(shared_labels=shared)
    if isinstance(expected, str):
        with pytest.raises(ActionError, match=expected):
            matchers_of(one, members)
        return
    found = [(m["name"], m["value"], m["isRegex"]) for m in matchers_of(one, members)]
    assert found == expected


class Posted:
    """An Alertmanager that keeps what it is sent."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[str, Any]] = {}

    async def post_alerts(self, alerts: list[dict[str, Any]]) -> None:
        for one in alerts:
            key = one["labels"]["severity"] + one["labels"]["pronoia_incident"]
            self.alerts[key] = one


async def test_the_alert_of_an_incident_keeps_its_labels_until_it_becomes_urgent() -> None:
    clock, posted = Clock(), Posted()
    alerts = SyntheticAlerts(
        {"am": posted},
        SyntheticConfig(enabled=True),
        metrics=SyntheticMetrics(CollectorRegistry()),
        now=clock,
    )
    one = incident(shared_labels={"service": "db", "pod": "p1"})
    alerts.consider([one, incident("small", priority="P3")])
    await alerts.send()
    (first,) = posted.alerts.values()
    assert first["labels"]["pronoia_inhibits"] == "service"
    alerts.consider([incident(shared_labels={"service": "db"}, n_firing=9)])
    clock.now += 60
    await alerts.send()
    assert list(posted.alerts) == ["warningi1"]
    assert posted.alerts["warningi1"]["labels"] == first["labels"]
    assert posted.alerts["warningi1"]["endsAt"] > first["endsAt"]
    alerts.consider([incident(shared_labels={"service": "db"}, priority="P1")])
    await alerts.send()
    assert set(posted.alerts) == {"warningi1", "criticali1"}
    alerts.consider([incident(state="resolved")])
    await alerts.send()
    clock.now += 299
    ended = posted.alerts["criticali1"]["endsAt"]
    await alerts.send()
    assert posted.alerts["criticali1"]["endsAt"] == ended, "an end stays where it was"


async def test_the_end_of_an_alert_is_not_told_beside_its_new_beginning() -> None:
    """Alertmanager lets the end win of two that came together."""
    posted: list[str] = []

    class Kept:
        async def post_alerts(self, alerts: list[dict[str, Any]]) -> None:
            posted[:] = [one["endsAt"] for one in alerts]

    clock = Clock()
    metrics = SyntheticMetrics(CollectorRegistry())
    alerts = SyntheticAlerts({"am": Kept()}, SyntheticConfig(enabled=True), metrics=metrics, now=clock)
    for state in ("open", "resolved", "open"):
        alerts.consider([incident(state=state)])
        await alerts.send()
        clock.now += 60
    (ends,) = posted
    assert ends > stamp(int(clock.now * 1e9))


def test_an_incident_that_shares_only_a_wide_label_inhibits_nothing() -> None:
    (rule,) = inhibit_rules(["service"])
    assert rule["equal"] == ["service"]
    assert 'pronoia_inhibits=""' in rule["target_matchers"], "incidents do not inhibit one another"


def test_alerts_of_our_incidents_are_not_taken_in() -> None:
    events = [
        own_event("PronoiaIncident", {"pronoia_incident": "i1"}, {}, starts_at_ns=1),
        own_event("Other", {"a": "b"}, {}, starts_at_ns=1),
    ]
    left = without_echoes(inner_delivery(events, receiver="r", received_at_ns=1)).alerts
    assert [one.labels["alertname"] for one in left] == ["Other"]


class Notes:
    """The store's notes."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def note(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        self.kept[name] = body


class Deeds:
    """Hooks with a target that can fail, on a clock set by hand."""

    def __init__(self, **hook: Any) -> None:
        given_hook = {"name": "restart", "match": {"service": "db"}, "dry_run": False, **hook}
        self.hook = Hook(url=SecretStr("http://x"), **given_hook)
        self.clock, self.notes = Clock(), Notes()
        self.posts: list[str] = []
        self.told: list[tuple[str, str, str]] = []
        self.error: Exception | None = None
        self.fresh()

    def fresh(self) -> None:
        self.hooks = Hooks(
            [self.hook],
            self.notes,
            metrics=HookMetrics(CollectorRegistry()),
            note=lambda *facts: self.told.append(facts),
            run=self._step,
            now=self.clock,
        )

    async def _step(self, hook: Hook, incident: Incident) -> str:
        self.posts.append(hook.name)
        if self.error is not None:
            raise self.error
        return "done"

    async def act(self, name: str, **fields: Any) -> str:
        return await self.hooks.act(self.hook, incident(name, **{"priority": "P1", **fields}))


async def test_a_hook_is_dry_at_first() -> None:
    deeds = Deeds(dry_run=Hook.model_fields["dry_run"].default)
    assert await deeds.act("i1") == "dry"
    assert deeds.posts == []
    assert "would be run" in deeds.told[0][2]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"priority": "P2"}, id="not urgent enough"),
        pytest.param({"state": "resolved"}, id="over"),
        pytest.param({"shared_labels": {"service": "web"}}, id="another service"),
    ],
)
async def test_a_hook_runs_only_for_what_it_names(fields: dict[str, Any]) -> None:
    deeds = Deeds()
    assert await deeds.act("i1", **fields) == ""
    assert (deeds.posts, deeds.told) == ([], [])


async def test_a_hook_runs_once_an_incident_also_over_a_restart() -> None:
    deeds = Deeds()
    assert await deeds.act("i1") == "ok"
    assert await deeds.act("i1") == ""
    deeds.fresh()
    await deeds.hooks.open()
    deeds.clock.now += 1e6
    assert await deeds.act("i1") == ""
    await deeds.hooks.stop()
    assert len(deeds.posts) == 1


async def test_what_a_crash_interrupts_is_not_tried_again() -> None:
    deeds = Deeds()
    deeds.error = RuntimeError("the process dies here")
    with pytest.raises(RuntimeError):
        await deeds.act("i1")
    deeds.fresh()
    await deeds.hooks.open()
    assert await deeds.act("i1") == ""
    await deeds.hooks.stop()


async def test_a_hook_cools_down() -> None:
    deeds = Deeds(cooldown=600)
    assert await deeds.act("i1") == "ok"
    assert await deeds.act("i2") == "cooling"
    deeds.clock.now += 600
    assert await deeds.act("i3") == "ok"
    assert [text for _, _, text in deeds.told] == ["restart: done", "restart: cooling", "restart: done"]


async def test_a_hook_rests_by_the_time_between_also_where_the_clock_was_ahead() -> None:
    """It rested for as long as the clock had been ahead, a year, say."""
    deeds = Deeds(cooldown=600)
    begin, deeds.clock.now = deeds.clock.now, deeds.clock.now + 365 * 86_400
    assert await deeds.act("i1") == "ok"
    deeds.clock.now -= 30
    assert await deeds.act("i2") == "cooling"
    deeds.clock.now = begin
    assert await deeds.act("i3") == "ok"


async def test_a_hook_runs_once_an_incident_however_many_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number that is remembered it would run for the first again, and for each after it."""
    monkeypatch.setattr(hooks, "MAX_DONE", 3)
    deeds = Deeds(cooldown=600)
    names = [f"i{n}" for n in range(6)]
    deeds.hooks.consider(incident(name, priority="P1") for name in names)
    assert [[await deeds.act(name) for name in names] for _ in range(2)] == [
        ["ok", *["cooling"] * 5],
        [""] * 6,
    ]
    deeds.hooks.consider(incident(name, state="resolved") for name in names[1:])
    await deeds.act("i6")
    assert deeds.hooks._past["restart"].done == ["i0", "i5", "i6"]


async def test_a_hook_that_fails_too_often_is_stopped() -> None:
    deeds = Deeds(cooldown=1, max_failures=2, reset_after=3600)
    deeds.error = NotifyError("status 500", retryable=True)
    outcomes = []
    for n in range(4):
        outcomes.append(await deeds.act(f"i{n}"))
        deeds.clock.now += 10
    assert outcomes == ["failed", "failed", "stopped", "stopped"]
    deeds.clock.now += 3600
    deeds.error = None
    assert await deeds.act("i9") == "ok"
    deeds.clock.now += 10
    assert await deeds.act("i10") == "ok"


async def test_a_slow_hook_is_cut() -> None:
    deeds = Deeds(timeout=0.01)

    async def slow(_: Hook, __: Incident) -> str:
        await asyncio.sleep(10)
        return "done"

    deeds.hooks._run_step = slow
    assert await deeds.act("i1") == "failed"
    assert "no answer" in deeds.told[0][2]


def test_the_noise_report_says_what_would_help() -> None:
    taken = Response("real", "default", NOW_NS, first_acknowledged_at_ns=NOW_NS)
    noisy = [episode("Flaps", 0, lasted=50.0 + n, home=f"i{n}", at=600.0 * n) for n in range(10)]
    real = [episode("Flaps", 1, lasted=30.0, home="real"), episode("Flaps", 2, lasted=5000.0, home="real")]
    both = [
        episode(rule, n, home=f"j{n}", at=at) for n in range(6) for rule, at in (("Cause", 0), ("Effect", 9))
    ]
    rules = by_rule([*noisy, *real, *both], {"real": taken}, [Feedback("i1", "t", 1, "noise", "a", "Flaps")])
    flaps = rules["Flaps"]
    assert (flaps.n_alerts, flaps.n_flaps, flaps.n_self_resolved, flaps.n_taken) == (12, 9, 10, 2)
    assert longer_for(flaps) == (60.0, 10, 1)
    assert together(both) == [("Cause", "Effect", 6, 1.0)]
    report = noise_report("t", [incident()], [*noisy, *both], {}, [], n_messages=3, ready="a: b")
    assert "```yaml\na: b\n```" in report.markdown()
    assert "16 alerts" not in report.markdown()
    assert "22 alerts became 1 incidents and 3 messages" in report.markdown()
    assert '<td role="cell" dir="auto" data-head="would have hidden">10 of 10</td>' in report.page()


def test_an_incidents_report_tells_its_story() -> None:
    kept = Response(
        "i1", "default", NOW_NS, team="shop", first_acknowledged_at_ns=NOW_NS + 90 * SECOND, fix="x"
    )
    entries = [TimelineEntry("i1", NOW_NS + 90 * SECOND, "acknowledge", "ann", "")]
    members = [episode("A"), episode("A", 1, lasted=60.0), episode("B", at=5.0)]
    report = incident_report(incident(), members, kept, entries, [])
    text = report.markdown()
    assert "| acknowledged after | 1m30s |" in text
    assert "| A | 2 |" in text
    assert "A fires first" in text
    assert "<polyline" in report.page()


def test_what_alerts_say_is_no_markup_in_a_report() -> None:
    evil = "<script>alert(1)</script> | [x](http://evil)"
    report = Report(evil, [Section(evil, lines=[evil], columns=("a",), rows=[(evil,)], code="```x")])
    assert "<script>" not in report.page()
    assert "](http" not in report.markdown().replace("\\](", "")
    assert report.markdown().count("```") == 2


async def test_an_odd_incident_ends_no_other_ones_alert() -> None:
    def facts(one: Incident) -> dict[str, object]:
        if one.incident_id == "odd":
            raise RuntimeError("nobody foresaw this")
        return {}

    posted = Posted()
    alerts = SyntheticAlerts(
        {"am": posted},
        SyntheticConfig(enabled=True),
        metrics=SyntheticMetrics(CollectorRegistry()),
        facts=facts,
        now=Clock(),
    )
    alerts.consider([incident("odd"), incident("i2")])
    await alerts.send()
    assert [one["labels"]["pronoia_incident"] for one in posted.alerts.values()] == ["i2"]
