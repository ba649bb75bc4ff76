"""`pronoia incidents` answers from the database alone."""

from __future__ import annotations

import asyncio
import io
import json
import time
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from sidecar.cli.incidents import incidents
from sidecar.config.model import StoreConfig
from sidecar.config.webhook import WebhookConfig
from sidecar.events import EventBus
from sidecar.records import Incident, Response
from sidecar.store.sqlite import SqliteStore
from webhooks.intake.payload import parse
from webhooks.pipeline import AlertsLoop

SECOND = 1_000_000_000


def payload(*alerts: dict[str, Any]) -> bytes:
    return json.dumps({"version": "4", "alerts": list(alerts)}).encode()


def alert(name: str, service: str, at: float, text: str = "") -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    labels = {"alertname": name, "service": service}
    return {"status": "firing", "labels": labels, "annotations": {"summary": text}, "startsAt": stamp}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A database with one incident of two alerts, and one alert of long before."""

    async def fill() -> None:
        registry = CollectorRegistry()
        store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=registry)
        clock = [time.time() - 7200.0]
        loop = AlertsLoop(
            store,
            bus=EventBus(),
            config=WebhookConfig(incident_hold=0.0),
            registry=registry,
            now=lambda: clock[0],
        )
        await loop.open()
        for later, one in (
            (0.0, alert("Old", "stock", clock[0])),
            (7000.0, alert("DbDown", "orders-db", clock[0] + 7000.0)),
            (7010.0, alert("Errors", "checkout", clock[0] + 7010.0, "calls to orders-db fail")),
        ):
            began = clock[0]
            clock[0] = began if later == 0.0 else max(began, time.time() - 7200.0 + later)
            await loop.intake.accept(parse(payload(one), received_at_ns=int(clock[0] * SECOND)))
        await loop.stop()
        await store.close()

    asyncio.run(fill())
    return tmp_path


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(incidents, [arguments[0], "--data", str(data), *arguments[1:]])


def listed(data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(data, "list", "--format", "json").output)
    return found


def respond(data: Path, response: Response) -> None:
    async def put() -> None:
        store = await SqliteStore.open(StoreConfig(directory=data), registry=CollectorRegistry())
        await store.response_store.put_responses([response])
        await store.close()

    asyncio.run(put())


def test_who_has_an_incident_is_shown(data: Path) -> None:
    known = listed(data)[0]["incident_id"]
    taken = Response(known, "default", 1, assignee="ann", acknowledged_by="ann", acknowledged_at_ns=1)
    respond(data, taken)
    text = run(data, "list").output
    assert "acknowledged" in text
    assert "(ann has it)" in text
    assert "(ann has it)" in run(data, "show", known).output
    shown = json.loads(run(data, "show", known, "--format", "json").output)
    assert shown["response"]["acknowledged_by"] == "ann"
    respond(data, Response(known, "default", 2, acknowledged_by="ann", open_again="ann gave it back"))
    assert "taken on by nobody: ann gave it back" in run(data, "show", known).output


@pytest.mark.parametrize(
    ("name", "hint"), [("resolve", "mitigate"), ("snooze", "silence"), ("nope", "No such")]
)
def test_what_other_tools_call_it_is_answered_with_what_it_is_called_here(name: str, hint: str) -> None:
    result = CliRunner().invoke(incidents, [name, "inc-1"])
    assert result.exit_code == 2
    assert hint in result.output


def test_several_incidents_are_taken_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(address: str, body: dict[str, str]) -> dict[str, str]:
        incident_id = address.split("/")[-2]
        if incident_id == "inc-gone":
            raise HTTPError(address, 404, "", Message(), io.BytesIO(b'{"error": "no incident of that id"}'))
        return {"incident_id": incident_id, "acknowledged_by": body["by"], "acknowledged_at_ns": 1}

    monkeypatch.setattr("sidecar.cli.own_api.ask", ask)
    result = CliRunner().invoke(
        incidents, ["ack", "inc-1", "inc-gone", "inc-2", "--by", "ann", "--at", "http://x"]
    )
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "acknowledge: incident_id inc-1, acknowledged_by ann",
        "pronoia: inc-gone: no incident of that id",
        "acknowledge: incident_id inc-2, acknowledged_by ann",
    ]
    assert CliRunner().invoke(incidents, ["comment", "inc-1", "--at", "http://x"]).exit_code == 2


def test_who_has_given_an_incident_back_is_not_told_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = {"incident_id": "inc-1", "acknowledged_by": "ann", "acknowledged_at_ns": None}
    monkeypatch.setattr("sidecar.cli.own_api.ask", lambda *_: given_back)
    assert CliRunner().invoke(incidents, ["unack", "inc-1", "--at", "http://x"]).output == (
        "unacknowledge: incident_id inc-1\n"
    )


def test_list_and_show(data: Path) -> None:
    newest, old = listed(data)
    assert (newest["n_episodes"], old["n_episodes"]) == (2, 1)
    text = run(data, "list", "--state", "open").output
    assert newest["incident_id"] in text
    shown = run(data, "show", newest["incident_id"]).output
    assert "cause 1: orders-db" in shown
    assert "DbDown service=orders-db" in shown


def test_why_names_the_bonds_and_what_would_have_kept_it_out(data: Path) -> None:
    """Which of the two began the incident hangs on whether both were placed in one pass."""
    newest, _ = listed(data)
    words = {name: run(data, "why", newest["incident_id"], name).output for name in ("DbDown", "Errors")}
    first, drawn = sorted(words, key=lambda name: "began as this one" not in words[name])
    assert "began as this one" in words[first]
    assert "mention: one's text names the other" in words[drawn]
    assert "It would have stayed out\n  without" in words[drawn]
    answer = json.loads(run(data, "why", newest["incident_id"], drawn, "--format", "json").output)
    assert answer[0]["strength"] >= answer[0]["enough"]
    assert all(left < answer[0]["enough"] for _, left in answer[0]["keeps_out"])


def test_why_of_what_went_into_another_names_that_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = Incident("inc-a", "default", "Down", 1, 2, merged_into="inc-b")
    monkeypatch.setattr("sidecar.cli.stored.with_store", lambda *_: (merged, []))
    result = run(data, "why", "inc-a", "Down")
    assert (result.exit_code, "went into inc-b" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "inc-none"), 1),
        (("why", "inc-none", "X"), 1),
        (("simulate", "--hold", "soon"), 2),
    ],
)
def test_what_is_not_there_is_said(data: Path, arguments: tuple[str, ...], code: int) -> None:
    assert run(data, *arguments).exit_code == code


def test_without_a_database_nothing_is_made(tmp_path: Path) -> None:
    assert run(tmp_path / "none", "list").exit_code == 2
    assert not (tmp_path / "none").exists()


def test_simulate_shows_what_another_configuration_would_split_and_merge(data: Path, tmp_path: Path) -> None:
    same = json.loads(run(data, "simulate", "--format", "json").output)
    assert (same["purity"], same["completeness"], same["merges"], same["splits"]) == (1.0, 1.0, [], [])
    # One label for all of them makes them one thing.
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump({"webhook": {"incident_gap": "1ms"}}))
    apart = json.loads(run(data, "simulate", "--with", str(changed), "--format", "json").output)
    assert apart["after"]["n_incidents"] == 3
    assert [len(change["others"]) for change in apart["splits"]] == [2]
    assert apart["completeness"] < 1.0
    text = run(data, "simulate", "--gap", "1ms").output
    assert "1 splits:" in text
    assert "DbDown on orders-db" in text
