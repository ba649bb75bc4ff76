"""Silences and incidents as alerts, checked against a real Alertmanager's API after every step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.channels import LocalServer
from tests.integration.jobs_api import JobsApi
from tests.integration.servers import get_json, http, wait_until
from tests.integration.test_response import Bench
from webhooks.respond.synthetic import inhibit_rules

pytestmark = pytest.mark.integration


class Pages(LocalServer):
    """A webhook that keeps Alertmanager's payloads, as an on-call tool would."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []
        super().__init__()

    def answer(self, path: str, query: str, body: Any, headers: Any) -> tuple[int, dict[str, str], Any]:
        self.payloads.append(body)
        return 200, {}, {}

    def statuses(self, alertname: str) -> list[str]:
        return [
            alert["status"]
            for payload in self.payloads
            for alert in payload["alerts"]
            if alert["labels"]["alertname"] == alertname
        ]


@pytest.fixture
def pages(keep: Callable[..., Any]) -> Pages:
    found: Pages = keep(Pages())
    return found


def bench_with(
    tmp_path: Path, keep: Callable[..., Any], pages: Pages, response: dict[str, Any], **alertmanager: Any
) -> Bench:
    """A bench whose Alertmanager also pages, with what the test adds to its configuration."""
    return Bench(
        tmp_path,
        keep,
        targets=[],
        response=response,
        webhook={"incident_hold": "1s", "reconcile_interval": "1s"},
        alertmanager={
            "receivers": [{"name": "pager", "webhook_configs": [{"url": pages.url}]}],
            "routes": [{"receiver": "pager", "continue": True}, {"receiver": "pronoia"}],
            **alertmanager,
        },
    )


def lasts_longer(config: Path, duration: str) -> None:
    """Let acknowledgements' silences last so long."""
    document = json.loads(config.read_text())
    document["response"]["silences"]["duration"] = duration
    config.write_text(json.dumps(document))


def silences(bench: Bench, *states: str) -> list[dict[str, Any]]:
    held = get_json(bench.alertmanager.url + "/api/v2/silences")
    return [one for one in held if one["createdBy"] == "pronoia" and one["status"]["state"] in states]


def test_an_acknowledgement_is_a_silence_that_ends_with_the_incident(
    tmp_path: Path, keep: Callable[..., Any], pages: Pages
) -> None:
    lasting = {"acknowledge": True, "duration": "10m", "max_total": "2h"}
    bench = bench_with(tmp_path, keep, pages, {"silences": lasting}, route={"group_interval": "8s"})
    bench.fire(3)
    wait_until(lambda: bench.incidents(), what="an incident")
    wait_until(lambda: "firing" in pages.statuses("ThingDown"), what="it is paged")
    (incident,) = bench.incidents()
    status, body = bench.act("acknowledge", incident["incident_id"], by="ann")
    assert status == 200, body
    wait_until(lambda: silences(bench, "active"), what="a silence")
    (silence,) = silences(bench, "active")
    assert {one["name"]: one["value"] for one in silence["matchers"]} == {
        "alertname": "ThingDown",
        "service": "shop",
    }
    assert silence["comment"].startswith(f"incident {incident['incident_id']}: ")
    bench.pronoia.kill()
    # Less than half is left of what silences last from now on, and minutes for a slow start.
    lasts_longer(tmp_path / "pronoia.yaml", "1h")
    bench.pronoia.start()
    wait_until(
        lambda: bench.metric('pronoia_silences_total{change="found"}') == 1.0,
        what="found after a crash",
    )

    def kept_alive() -> bool:
        bench.act("comment", incident["incident_id"], by="ann", text="on it")
        (held,) = silences(bench, "active", "pending")
        return bool(held["id"] == silence["id"] and held["endsAt"] > silence["endsAt"])

    wait_until(kept_alive, every=0.5, what="the same silence, the only one, is extended")

    def after_more_ends(done: Callable[[], bool]) -> Callable[[], bool]:
        """Prometheus sends an alert's end again and again, for a quarter of an hour."""

        def look() -> bool:
            bench.fire(3, ended=True)
            return done()

        return look

    silenced = after_more_ends(lambda: not silences(bench, "active"))
    wait_until(silenced, timeout=30, every=1.0, what="the silence ends with the incident")
    told = after_more_ends(lambda: "resolved" in pages.statuses("ThingDown"))
    wait_until(told, timeout=40, every=1.0, what="the resolve goes out")


def test_people_silence_and_caps_hold_and_a_step_is_a_job(
    tmp_path: Path, keep: Callable[..., Any], pages: Pages
) -> None:
    cluster: JobsApi = keep(JobsApi())
    (tmp_path / "token").write_text(cluster.token)
    step = {
        "name": "restart",
        "match": {"service": "shop"},
        "min_priority": "P3",
        "job": {"cronjob": "restart", "namespace": "shop"},
        "dry_run": False,
    }
    bench = bench_with(
        tmp_path,
        keep,
        pages,
        {
            "silences": {"max_duration": "2h", "max_active": 1},
            "hooks": [step],
            "kubernetes": {"api_url": cluster.url, "token_file": str(tmp_path / "token")},
        },
    )
    bench.fire(2)
    bench.fire(2, service="elsewhere", ago=7200.0)
    wait_until(lambda: len(bench.incidents()) == 2, what="two incidents")
    one, other = (found["incident_id"] for found in bench.incidents())
    assert bench.act("silence", one, by="ann", text="3h")[0] == 409, "longer than is allowed"
    assert bench.act("silence", one, by="ann", text="1h")[0] == 200
    assert bench.act("silence", one, by="ann", text="1h")[0] == 200, "found, not made again"
    assert len(silences(bench, "active")) == 1
    status, body = bench.act("silence", other, by="ann", text="1h")
    assert status == 409
    assert b"max_active" in body
    assert bench.act("unsilence", one, by="ann")[0] == 200
    assert not silences(bench, "active")
    assert bench.act("silence", other, by="ann", text="1h")[0] == 200
    done = 'pronoia_hook_runs_total{hook="restart",result="ok"}'
    wait_until(lambda: bench.metric(done) == 1.0, what="the Job is complete")
    (job,) = cluster.jobs.values()
    assert job["metadata"]["annotations"]["pronoia/incident"] in (one, other)


def test_an_alert_that_repeats_another_is_silenced_until_that_one_ends(
    tmp_path: Path, keep: Callable[..., Any], pages: Pages
) -> None:
    bench = bench_with(tmp_path, keep, pages, {"silences": {"automatic": {"duplicates": True}}})
    bench.fire(1, replica="a", ago=90.0)
    bench.fire(1, replica="b")

    def states() -> dict[str, str]:
        alerts = get_json(bench.alertmanager.url + "/api/v2/alerts")
        return {one["labels"]["replica"]: one["status"]["state"] for one in alerts}

    wait_until(lambda: states() == {"a": "active", "b": "suppressed"}, what="the repetition is silenced")
    (silence,) = silences(bench, "active")
    assert {one["name"] for one in silence["matchers"]} == {"alertname", "instance", "service", "replica"}
    (incident,) = bench.incidents()
    url = f"{bench.pronoia.url}/api/v1/incidents/{incident['incident_id']}/response"
    wait_until(
        lambda: any("it repeats" in entry["text"] for entry in get_json(url)["data"]["timeline"]),
        what="it is on the timeline",
    )
    bench.fire(1, replica="a", ago=90.0, ended=True)
    wait_until(lambda: states() == {"b": "active"}, what="it speaks again where the first one is over")


def test_people_correct_comment_and_report(tmp_path: Path, keep: Callable[..., Any], pages: Pages) -> None:
    told: Pages = keep(Pages())
    bench = Bench(tmp_path, keep, targets=[{"name": "desk", "url": told.url, "min_priority": "P3"}])
    bench.fire(2)
    bench.fire(3, service="elsewhere", ago=7200.0)
    wait_until(lambda: len(told.payloads) == 2, what="two incidents are told of")
    small, large = (p["incident"]["incident_id"] for p in sorted(told.payloads, key=_size))

    def pronoia(*arguments: str) -> str:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def stored(incident_id: str) -> dict[str, Any]:
        found: dict[str, Any] = get_json(f"{bench.pronoia.url}/api/v1/incidents/{incident_id}")["data"]
        return found

    where = ("--url", bench.pronoia.url, "--by", "ann")
    pronoia("incidents", "merge", small, large, *where)
    wait_until(lambda: stored(large)["n_episodes"] == 5, what="merged")
    wait_until(lambda: stored(small)["merged_into"] == large, what="the other says where to")
    taken = [one["fingerprint"] for one in stored(large)["episodes"] if one["labels"]["service"] == "shop"]
    status, body = bench.act("split", large, by="ann", text=",".join(taken))
    assert status == 200, body
    new_id = json.loads(body)["data"]["incident_id"]
    wait_until(lambda: stored(new_id)["n_episodes"] == 2, what="split")
    wait_until(lambda: stored(large)["n_episodes"] == 3, what="the rest stays")
    assert bench.act("split", large, by="ann", text="NoSuchRule")[0] == 409
    assert bench.act("explode", large, by="ann")[0] == 404
    pronoia("incidents", "ack", large, *where)
    pronoia("incidents", "fix", large, "restarted the switch", *where)
    link = next(p["links"]["Noise"] for p in told.payloads if p["incident"]["incident_id"] == large)
    assert b"<form" in http(link)[1], "looking at a link says nothing yet"
    assert bench.metric('pronoia_feedback_total{verdict="noise"}') == 0.0
    assert http(link, data=b"")[0] == 200
    assert http(link[:-3] + "AAA", data=b"")[0] == 403
    assert bench.metric('pronoia_feedback_total{verdict="noise"}') == 1.0
    settings = json.loads((tmp_path / "pronoia.yaml").read_text())
    settings["people"] = [{"name": "ann", "targets": ["desk"]}]
    turns = [{"people": ["ann"], "start": "2026-01-01T00:00:00"}]
    settings["schedules"] = [{"name": "primary", "rotations": turns}]
    (tmp_path / "pronoia.yaml").write_text(json.dumps(settings))
    assert http(bench.pronoia.url + "/-/reload", data=b"")[0] == 200
    assert get_json(bench.pronoia.url + "/api/v1/on-call")["data"] == {"primary": "ann"}
    bench.pronoia.stop()
    data = ("--data", str(tmp_path / "data"))
    written = pronoia("report", "incident", large, *data)
    assert "restarted the switch" in written
    for kind in ("merge", "split", "acknowledge", "fix", "feedback"):
        assert f"| {kind} |" in written
    page = pronoia("report", "incident", large, "--as", "html", *data)
    assert "<svg" in page
    config = ("--config", str(tmp_path / "pronoia.yaml"))
    proposed = pronoia("notify", "proposals", *data, *config)
    assert proposed.startswith("nothing to propose from "), "five alerts argue for nothing"
    noisy = pronoia("report", "noise", *data)
    assert "| ThingDown | 5 |" in noisy


def _size(payload: dict[str, Any]) -> int:
    return int(payload["incident"]["n_episodes"])


def test_an_incident_is_an_alert_that_inhibits_its_members_and_never_loops(
    tmp_path: Path, keep: Callable[..., Any], pages: Pages
) -> None:
    synthetic = {"enabled": True, "min_priority": "P3", "resend": "1s"}
    bench = bench_with(
        tmp_path,
        keep,
        pages,
        {"synthetic": synthetic},
        inhibit_rules=inhibit_rules(["service", "instance"]),
    )
    bench.fire(3)

    def held(alertname: str) -> list[dict[str, Any]]:
        alerts = get_json(bench.alertmanager.url + "/api/v2/alerts")
        return [one for one in alerts if one["labels"]["alertname"] == alertname]

    (synthetic_alert,) = wait_until(lambda: held("PronoiaIncident"), what="the incident is an alert")
    assert synthetic_alert["labels"]["pronoia_inhibits"] == "service"
    wait_until(lambda: pages.statuses("PronoiaIncident") == ["firing"], what="it is routed")
    wait_until(
        lambda: [one["status"]["state"] for one in held("ThingDown")] == ["suppressed"] * 3,
        what="its members are inhibited by it",
    )
    assert all(one["status"]["inhibitedBy"] == [synthetic_alert["fingerprint"]] for one in held("ThingDown"))
    (incident,) = bench.incidents()
    assert incident["n_episodes"] == 3, "the alert of the incident is no member of one"
    bench.fire(3, ended=True)
    wait_until(lambda: "resolved" in pages.statuses("PronoiaIncident"), timeout=30, what="it resolves")
    assert [one["incident_id"] for one in bench.incidents()] == [incident["incident_id"]]
    assert json.dumps(incident).count("PronoiaIncident") == 0
