"""What people do: the lifecycle, what is kept of it, signed links, Slack's signature, similar incidents."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from sidecar.config.channels import SlackConfig
from sidecar.config.load import load_text
from sidecar.config.model import StoreConfig
from sidecar.records import Cause, Episode, Feedback, Incident, Response
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import NOW, Clock, desk_over, incident, plain_enricher
from webhooks.respond.audience import TeamAudience
from webhooks.respond.desk import Desk
from webhooks.respond.feedback import verdicts_on
from webhooks.respond.lifecycle import ActionError, act, reopen, status_of, waited_seconds
from webhooks.respond.links import Link, LinkError, sign, verify
from webhooks.respond.rota import RotaMetrics, Rotas
from webhooks.respond.similar import in_words, similar
from webhooks.respond.slack_actions import SlackActions

SECOND = 10**9
NOW_NS = int(NOW * SECOND)


def response(**fields: Any) -> Response:
    return Response("i1", "default", NOW_NS, **fields)


def done(*actions: str, one: Incident | None = None) -> Response:
    """A response after actions a minute apart; a text goes with `action:text`."""
    found = response()
    for n, action in enumerate(actions):
        name, _, text = action.partition(":")
        at_ns = NOW_NS + n * 60 * SECOND
        found, _ = act(found, one or incident(), name, actor="ann", text=text, now_ns=at_ns)
    return found


@pytest.mark.parametrize(
    ("actions", "state", "status"),
    [
        pytest.param([], "open", "open", id="untouched"),
        pytest.param(["acknowledge"], "open", "acknowledged", id="acknowledged"),
        pytest.param(["acknowledge", "unacknowledge"], "open", "open", id="given back"),
        pytest.param(["mitigate:rolled back"], "open", "mitigated", id="mitigated at once"),
        pytest.param(["comment:hm"], "open", "open", id="a comment changes nothing"),
        pytest.param(["acknowledge"], "resolved", "resolved", id="alerts decide when it is over"),
        pytest.param([], "merged", "merged", id="merged"),
    ],
)
def test_status(actions: list[str], state: str, status: str) -> None:
    assert status_of(incident(state=state), done(*actions)) == status


def test_who_takes_it_over_is_said_and_what_nobody_has_is_not_given_back() -> None:
    taken = done("acknowledge")
    over, entry = act(taken, incident(), "acknowledge", actor="bob", text="", now_ns=NOW_NS + 1)
    assert (over.acknowledged_by, over.assignee) == ("bob", "bob")
    assert entry.text == "(taken over from ann)"
    asked = done("assign:carl", "acknowledge")
    assert act(asked, incident(), "acknowledge", actor="bob", text="", now_ns=NOW_NS)[0].assignee == "carl"
    assert act(taken, incident(), "acknowledge", actor="ann", text="", now_ns=NOW_NS)[1].text == ""
    assert done("unacknowledge").open_again == ""
    assert done("acknowledge", "unacknowledge").open_again == "ann gave it back"


def test_when_it_was_taken_on_first_is_kept() -> None:
    """Reports tell how long that took."""
    assert done("acknowledge").first_acknowledged_at_ns == NOW_NS
    assert done("acknowledge", "unacknowledge", "acknowledge").first_acknowledged_at_ns == NOW_NS


def test_what_fires_again_has_to_be_looked_at_again() -> None:
    again = reopen(done("acknowledge"), NOW_NS + 300 * SECOND)
    assert status_of(incident(), again) == "reopened"
    assert (again.assignee, again.acknowledged_by, again.n_reopened) == ("ann", "", 1)


@pytest.mark.parametrize("taken_on", [False, True])
@pytest.mark.parametrize(
    "again", ["after a restart", "stored, told of after a restart", "known at a restart"]
)
async def test_while_it_is_over_nobody_is_waited_for(tmp_path: Path, taken_on: bool, again: str) -> None:
    """Else an incident that comes again after half an hour would call everybody up to the boss at once."""
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    clock = Clock()

    async def started(*known: Incident) -> Desk:
        one = desk_over(store, now=clock)
        await one.open(known)
        return one

    one = await started()
    await store.put_incidents([incident()], [])
    one.observe([incident()])
    if taken_on:
        await one.do("i1", "acknowledge", actor="ann")
    clock.now += 60
    await store.put_incidents([incident(state="resolved")], [])
    one.observe([incident(state="resolved")])
    assert waited_seconds(one.response("i1"), since=NOW, now=NOW + 1000) == (0.0 if taken_on else 60.0)
    await one.stop()
    clock.now += 1800
    if again != "after a restart":
        await store.put_incidents([incident()], [])
    one = await started(*([incident()] if again == "known at a restart" else []))
    one.observe([incident()])
    assert one.status(incident()) == "reopened"
    waited = waited_seconds(one.response("i1"), since=NOW, now=clock.now + 100)
    await one.stop()
    await store.close()
    assert waited == (100.0 if taken_on else 160.0)


@pytest.mark.parametrize(
    ("action", "text", "one", "words"),
    [
        pytest.param("explode", "", incident(), "known: acknowledge", id="unknown"),
        pytest.param("resolve", "", incident(), "its alerts decide", id="as other tools have it"),
        pytest.param("snooze", "", incident(), "silence .2h, say.", id="for a while"),
        pytest.param("comment", " ", incident(), "needs a text", id="nothing said"),
        pytest.param("acknowledge", "", incident(state="resolved"), "is resolved", id="too late"),
        pytest.param("comment", "x", incident(state="merged", merged_into="i2"), "i2", id="gone elsewhere"),
    ],
)
def test_what_cannot_be_done(action: str, text: str, one: Incident, words: str) -> None:
    with pytest.raises(ActionError, match=words):
        act(response(), one, action, actor="ann", text=text, now_ns=NOW_NS)


def test_time_under_an_acknowledgement_does_not_count() -> None:
    taken = done("acknowledge", "unacknowledge")  # One minute.
    assert waited_seconds(taken, since=NOW - 60, now=NOW + 300) == 300.0
    held = done("acknowledge")
    assert waited_seconds(held, since=NOW - 60, now=NOW + 9999) == 60.0
    assert waited_seconds(None, since=NOW - 60, now=NOW) == 60.0


@given(st.lists(st.sampled_from(["acknowledge", "unacknowledge", "mitigate", "comment:x"]), max_size=12))
def test_the_escalation_never_counts_more_than_the_clock(actions: list[str]) -> None:
    found = done(*actions)
    end = NOW + 60 * len(actions)
    waited = [waited_seconds(found, since=NOW, now=end + later) for later in (0, 60, 3600)]
    assert waited == sorted(waited)
    assert all(0 <= one <= end + later - NOW for one, later in zip(waited, (0, 60, 3600), strict=True))
    if found.acknowledged_at_ns is not None or found.mitigated_at_ns is not None:
        assert waited[0] == pytest.approx(waited[2])


SECRET = b"s" * 32
LINK = Link("i1", "noise", "desk")


def test_a_link_says_what_was_signed() -> None:
    token = sign(LINK, secret=SECRET, expires_at=int(NOW) + 60)
    assert verify(token, secret=SECRET, now=NOW) == LINK
    for wrong, now in ((b"t" * 32, NOW), (SECRET, NOW + 61)):
        with pytest.raises(LinkError):
            verify(token, secret=wrong, now=now)


@given(st.text(max_size=80), st.integers(0, 200), st.characters(codec="ascii"))
def test_no_other_text_is_a_link(text: str, at: int, letter: str) -> None:
    token = sign(LINK, secret=SECRET, expires_at=int(NOW) + 60)
    changed = token[: at % len(token)] + letter + token[at % len(token) + 1 :]
    for one in (text, changed):
        try:
            assert verify(one, secret=SECRET, now=NOW) == LINK
            assert one != text
        except LinkError:
            pass


BODY = b"payload=%7B%7D"


def signature(secret: str = "hush", *, stamp: int = int(NOW), body: bytes = BODY) -> str:
    return "v0=" + hmac.new(secret.encode(), b"v0:%d:" % stamp + body, "sha256").hexdigest()


@pytest.mark.parametrize(
    ("body", "stamp", "given_signature", "believed"),
    [
        pytest.param(BODY, int(NOW), signature(), True, id="signed"),
        pytest.param(BODY, int(NOW), signature("other"), False, id="by another"),
        pytest.param(BODY + b"x", int(NOW), signature(), False, id="changed"),
        pytest.param(BODY, int(NOW) - 301, signature(stamp=int(NOW) - 301), False, id="an old recording"),
        pytest.param(BODY, int(NOW) + 1, signature(), False, id="another moment"),
        pytest.param(BODY, int(NOW), "", False, id="not signed"),
    ],
)
def test_slacks_signature(body: bytes, stamp: int, given_signature: str, believed: bool) -> None:
    config = SlackConfig(token=SecretStr("x"), channel="C1", signing_secret=SecretStr("hush"))
    actions = SlackActions([config], None, now=Clock())  # type: ignore[arg-type]
    assert actions.signed(body, str(stamp), given_signature) is believed


@pytest.mark.parametrize("stamp", ["9" * 5000, "", "-1", "1e9", "\u0663" * 30], ids=range(5))
def test_what_is_no_time_is_not_signed(stamp: str) -> None:
    """Of thousands of digits Python makes no number: anybody could fill the log with traces."""
    actions = SlackActions([], None, now=Clock())  # type: ignore[arg-type]
    assert not actions.signed(BODY, stamp, "")


def test_without_a_signing_secret_nothing_is_believed() -> None:
    config = SlackConfig(token=SecretStr("x"), channel="C1")
    actions = SlackActions([config], None, now=Clock())  # type: ignore[arg-type]
    assert not actions.signed(BODY, str(int(NOW)), signature(""))


def test_a_signing_secret_that_is_no_text_is_said_and_believes_nobody(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xff\xfe")
    config = SlackConfig(token=SecretStr("x"), channel="C1", signing_secret_file=file)
    actions = SlackActions([config], None, now=Clock())  # type: ignore[arg-type]
    with capture_logs() as said:
        assert not actions.signed(BODY, str(int(NOW)), signature())
        assert not actions.signed(BODY, str(int(NOW)), signature())
    assert [one["of"] for one in said] == ["the signing secret of channel C1"]


def episode(rule: str, n: int = 0, **fields: Any) -> Episode:
    given_fields: dict[str, Any] = {"incident_id": "i1", **fields}
    return Episode(
        "default", f"{rule}{n}", NOW_NS, None, {"alertname": rule}, {}, "", NOW_NS, NOW_NS, **given_fields
    )


PAIRS_ACROSS = [("A", "A"), ("A", "B"), ("A", "C"), ("B", "C")]


def test_a_verdict_is_kept_for_each_rule_and_for_pairs() -> None:
    members = [episode("A"), episode("B"), episode("B", 1)]
    rules = verdicts_on(incident(noise=0.25), members, "noise", actor="ann", now_ns=NOW_NS)
    pairs = verdicts_on(incident(noise=0.25), members, "wrong_merge", actor="ann", now_ns=NOW_NS)
    assert [(one.rule, one.other_rule) for one in rules] == [("A", ""), ("B", "")]
    assert [(one.rule, one.other_rule) for one in pairs] == [("A", "B")]
    assert {one.believed for one in (*rules, *pairs)} == {0.25}


@pytest.mark.parametrize(
    ("verdict", "others", "expected"),
    [
        pytest.param("duplicate", [], [("A", ""), ("B", "")], id="of nobody knows which"),
        pytest.param("duplicate", [episode("C"), episode("A", 7)], PAIRS_ACROSS, id="of another incident"),
        pytest.param("wrong_merge", [episode("C")], [("A", "C"), ("B", "C")], id="what was split off"),
    ],
)
def test_a_verdict_on_two_incidents_is_one_on_the_pairs_across(
    verdict: str, others: list[Episode], expected: list[tuple[str, str]]
) -> None:
    members = [episode("A"), episode("B")]
    rows = verdicts_on(incident(), members, verdict, actor="ann", now_ns=NOW_NS, others=others)
    assert [(one.rule, one.other_rule) for one in rows] == expected


def said(verdict: str, incident_id: str, at_ns: int = NOW_NS) -> Feedback:
    return Feedback(incident_id, "default", at_ns, verdict, "ann", "A")


def past(name: str, **fields: Any) -> Incident:
    return incident(name, state="resolved", ended_at_ns=NOW_NS + 600 * SECOND, **fields)


def test_similar_incidents_and_what_fixed_them() -> None:
    other = [Cause("f", "web", 1.0, [])]
    candidates = [
        past("same"),
        past("fixed", started_at_ns=NOW_NS - SECOND),
        past("unlike", title="web: Slow", causes=other, category="latency"),
        incident("open"),
        incident("i1", state="resolved"),
    ]
    found = similar(incident(), candidates, {"fixed": response(fix="restarted  it")})
    assert [one.incident_id for one in found] == ["fixed", "same"]
    assert in_words(found) == "2 like it; what helped in fixed: restarted it"
    assert in_words([]) == ""


CONFIG = """
response: {external_url: "https://pronoia.example/"}
notify:
  targets:
    - {name: chat, url: "http://x"}
    - {name: boss, url: "http://x"}
    - {name: all, url: "http://x"}
teams:
  - {name: rest, acknowledgement: 1h, steps: [{targets: [chat]}, {targets: [boss], after: 10m}]}
"""


async def test_the_desk_keeps_what_people_do_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    config = load_text(CONFIG)

    async def desk() -> tuple[Desk, SqliteStore]:
        store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
        return desk_over(store, now=clock), store

    one, store = await desk()
    await store.put_incidents([incident()], [])
    await one.open([])
    one.observe([incident()])
    audience = TeamAudience(
        config,
        one,
        secret=SECRET,
        enricher=plain_enricher(),
        on_call=Rotas(config.schedules, config.people, metrics=RotaMetrics(CollectorRegistry())).on_call,
        now=clock,
    )
    assert audience.listeners(incident(), now=NOW + 300, since=NOW) == ["all", "chat"]
    assert audience.listeners(incident(), now=NOW + 600, since=NOW) == ["all", "chat", "boss"]
    clock.now += 300
    await one.do("i1", "acknowledge", actor="ann")
    assert audience.listeners(incident(), now=NOW + 3000, since=NOW) == ["all", "chat"]
    with pytest.raises(KeyError):
        await one.do("nowhere", "acknowledge", actor="ann")
    await one.stop()
    await store.close()

    one, store = await desk()
    await one.open([incident()])
    assert one.status(incident()) == "acknowledged"
    audience = TeamAudience(
        config,
        one,
        secret=SECRET,
        enricher=plain_enricher(),
        on_call=Rotas(config.schedules, config.people, metrics=RotaMetrics(CollectorRegistry())).on_call,
        now=clock,
    )
    clock.now += 3601
    assert audience.listeners(incident(), now=clock.now, since=NOW) == ["all", "chat"]
    assert one.status(incident()) == "open", "an acknowledgement that nothing followed has expired"
    assert audience.listeners(incident(), now=clock.now + 301, since=NOW) == ["all", "chat", "boss"]
    one.observe([incident(state="resolved")])
    one.observe([incident()])
    assert one.status(incident()) == "reopened"
    facts = audience.facts(incident(), target="chat")
    assert facts["team"] == "rest"
    links: Any = facts["links"]
    assert links["incident"] == "https://pronoia.example/incidents/i1"
    await one.stop()
    kinds = [entry.kind for entry in await store.response_store.timeline("i1")]
    await store.close()
    assert kinds == ["opened", "team", "acknowledge", "unacknowledged", "resolved", "reopened"]


async def test_the_same_verdict_of_the_same_person_counts_once(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=registry)
    rows = [said("noise", "i1"), said("noise", "i1", NOW_NS + 1)]
    await store.response_store.put_feedback(rows)
    await store.response_store.put_feedback(rows)
    kept = await store.response_store.feedback()
    await store.close()
    assert kept == [rows[0]]
