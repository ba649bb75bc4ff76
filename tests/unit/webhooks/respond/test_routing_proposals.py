"""What the past argues for in Alertmanager's configuration, and what it would have hidden."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.records import Episode, Feedback, Incident, Response
from tests.integration.servers import binary
from tests.unit.webhooks.respond.incidents import episode, incident
from webhooks.respond.routing_proposals import as_yaml, grouped, inhibitions, proposals


def told(
    rule: str, home: str, at: float, *, service: str = "db", lasted: float = 600.0, pod: int = 0
) -> Episode:
    one = episode(rule, pod, lasted=lasted, home=home, at=at)
    one.labels = {**one.labels, "service": service}
    return one


def together(n: int) -> list[Episode]:
    """Incidents in which an effect follows its cause after ten seconds, an hour apart."""
    return [
        told(rule, f"i{n}", 3600.0 * n + late)
        for n in range(n)
        for rule, late in (("Cause", 0.0), ("Effect", 10.0))
    ]


def test_what_comes_together_is_inhibited_where_labels_agree() -> None:
    (found,) = inhibitions(together(6), {f"i{n}" for n in range(6)})
    assert found.config["source_matchers"] == ['alertname="Cause"']
    assert found.config["target_matchers"] == ['alertname="Effect"']
    assert found.config["equal"] == ["pod", "service"]
    assert (found.removed, found.n_notifications, found.hidden) == (6, 12, ())


def test_it_says_which_incident_of_its_own_would_have_been_hidden() -> None:
    alone = told("Effect", "own", 3600.0 * 5 + 30.0)
    (found,) = inhibitions([*together(12), alone], {"own"})
    assert (found.removed, found.hidden) == (13, ("own",))
    assert "would have hidden: 1 incidents: own" in found.in_words()


def test_what_shares_no_label_is_not_inhibited() -> None:
    rows = [
        told(rule, f"i{n}", 3600.0 * n, service=f"{rule}{n}", pod=n + 100 * (rule == "Effect"))
        for n in range(6)
        for rule in ("Cause", "Effect")
    ]
    assert inhibitions(rows, set()) == []


def burst(home: str, at: float, service: str) -> list[Episode]:
    """One incident: four rules of one service on three pods."""
    return [told(f"R{r}", home, at + r * 5 + p, service=service, pod=p) for r in range(4) for p in range(3)]


def test_groups_are_made_of_what_belongs_together() -> None:
    rows = [row for n in range(10) for row in burst(f"i{n}", 1000.0 * n, f"s{n % 2}")]
    found = grouped(rows, {f"i{n}" for n in range(10)}, now=["alertname"])
    assert found is not None
    assert found.config == {"group_by": ["service"]}
    assert (found.removed, found.n_notifications, found.hidden) == (30, 40, ())


def test_three_dots_are_all_labels() -> None:
    rows = [row for n in range(10) for row in burst(f"i{n}", 1000.0 * n, f"s{n % 2}")]
    found = grouped(rows, set(), now=["..."])
    assert found is not None
    assert found.n_notifications == 120


def test_a_grouping_that_would_mix_incidents_is_not_proposed() -> None:
    rows = [row for n in range(10) for s in "ab" for row in burst(f"{s}{n}", 1000.0 * n, "same")]
    matter = {f"{s}{n}" for n in range(10) for s in "ab"}
    assert grouped(rows, matter, now=["alertname"]) is None


@pytest.mark.parametrize(
    ("responses", "feedback", "incidents", "names"),
    [
        pytest.param({}, [], [incident("n0", priority="P3")], ["Noise"], id="nobody cared"),
        pytest.param(
            {"n0": Response("n0", "default", 0, first_acknowledged_at_ns=1)},
            [],
            [],
            [],
            id="somebody took one on",
        ),
        pytest.param(
            {},
            [Feedback("n0", "default", 0, "useful", "ann", "Noise")],
            [],
            [],
            id="somebody called it useful",
        ),
        pytest.param({}, [], [incident("n0", priority="P1")], [], id="it alone spoke of what mattered"),
    ],
)
def test_what_nobody_takes_on_wakes_nobody(
    responses: dict[str, Response], feedback: list[Feedback], incidents: list[Incident], names: list[str]
) -> None:
    rows = [told("Noise", f"n{n}", 3600.0 * n) for n in range(6)]
    found = [one for one in proposals(incidents, rows, responses, feedback) if one.kind == "route"]
    assert [one.config["matchers"] for one in found] == [[f'alertname=~"{name}"'] for name in names]
    assert all(one.removed == 6 for one in found)


def test_alertmanager_takes_what_is_proposed(tmp_path: Path) -> None:
    odd = 'Disk (C:\\ is "full"'
    noise = [told(odd, f"n{n}", 7000.0 * n, service="x", pod=n) for n in range(6)]
    groups = [row for n in range(10) for row in burst(f"b{n}", 1e6 + 1000.0 * n, f"s{n % 2}")]
    kept = {f"b{n}": Response(f"b{n}", "default", 0, first_acknowledged_at_ns=1) for n in range(10)}
    kept |= {f"i{n}": Response(f"i{n}", "default", 0, first_acknowledged_at_ns=1) for n in range(6)}
    found = proposals([], [*together(6), *noise, *groups], kept, [])
    assert {one.kind for one in found} == {"inhibit", "group_by", "route"}
    config: dict[str, Any] = yaml.safe_load(as_yaml(found))
    (matcher,) = config["route"]["routes"][0]["matchers"]
    assert matcher == r'''alertname=~"Disk \\(C:\\\\ is \"full\""'''
    config["route"]["receiver"] = "default"
    config["receivers"] = [{"name": "default"}, {"name": "low-priority"}]
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [binary("amtool"), "check-config", str(tmp_path / "alertmanager.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
