"""Bodies are read leniently; what cannot be used is named, and nothing else is raised."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import PayloadError
from sidecar.series import LabelSet
from tests.unit.webhooks.deliveries import EPOCH, T0, alert, body, delivery
from webhooks.intake import payload
from webhooks.intake.payload import parse, parse_time

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_payload_error(noise: bytes) -> None:
    for raw in (noise, body(alert())[:-1] + noise):
        refusal = ""
        try:
            parse(raw, received_at_ns=0)
        except PayloadError as error:
            refusal = str(error)
        assert len(refusal) < 200
        assert "\n" not in refusal


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["status", "labels", "startsAt", "endsAt", "fingerprint"]), json_values)
)
def test_an_odd_alert_is_kept_or_a_dead_letter_and_the_good_one_stays(changes: dict[str, Any]) -> None:
    try:
        raw = body({**alert("Odd"), **changes}, alert("Good"))
        raw.decode()
        json.loads(raw)
    except (ValueError, UnicodeEncodeError):
        return
    parsed = parse(raw, received_at_ns=0)
    assert len(parsed.alerts) + len(parsed.dead_letters) == 2
    assert "Good" in [event.labels.get("alertname") for event in parsed.alerts]
    assert all(letter.reason for letter in parsed.dead_letters)


def test_checklist_2_unknown_fields_and_missing_ones() -> None:
    """3.7.2: unknown fields ignored, a missing fingerprint computed over the labels."""
    odd = {**alert(job="x"), "values": {"A": 1}, "silenceURL": "http://grafana"}
    del odd["fingerprint"]
    del odd["annotations"]
    parsed = delivery(odd, orgId=1, title="t", notification_reason="first notification", routeLabels={})
    (event,) = parsed.alerts
    assert event.fingerprint == LabelSet({"alertname": "Down", "job": "x"}).fingerprint()
    assert event.annotations == {}


def test_the_sender_says_which_alert_it_is_and_what_has_no_labels_is_none() -> None:
    found = delivery({**alert(), "fingerprint": "its own"}, {**alert(), "labels": {}, "annotations": {}})
    assert [one.fingerprint for one in found.alerts] == ["its own"]
    (dead,) = found.dead_letters
    assert "labels are empty" in dead.reason


def test_an_alert_that_began_at_no_time_is_a_dead_letter() -> None:
    found = delivery(alert(starts="0001-01-01T00:00:00Z"), alert())
    assert (len(found.alerts), [one.reason for one in found.dead_letters]) == (
        1,
        ["startsAt is the zero time; an alert has begun at some time"],
    )


def test_checklist_3_times() -> None:
    """3.7.3: the zero time is none; nanoseconds and offsets are kept exactly."""
    (event,) = delivery(alert(starts="2026-01-01T01:00:00.123456789+01:00")).alerts
    assert event.starts_at_ns == EPOCH + 123_456_789
    assert event.ends_at_ns is None
    (event,) = delivery(alert(ends="2026-01-01T00:00:01Z")).alerts
    assert event.ends_at_ns == EPOCH + 1_000_000_000


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_times_agree_with_the_standard_library(moment: datetime, offset_minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert parse_time(zoned.isoformat()) == expected


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:00",
             "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+1:00", "2026-01-01X00:00:00Z",
             "2026/01-01T00:00:00Z", "2026-01/01T00:00:00Z", "2026-01-01T00.00:00Z", "2026-01-01T00:00.00Z",
             "2026-01-01T00:00:00x01:00", "2026-01-01T00:00:00+01.00", "٢٠٢٦-01-01T00:00:00Zx",
             "2026-01-01T00:00:00+01:00x", "2026-01-01T00:00:00+01:0"],
)  # fmt: skip
def test_what_is_no_time_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time(text)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "2262-04-12T00:00:00Z", "0002-01-01T00:00:00Z"])
def test_a_time_that_no_store_can_hold_is_a_dead_letter(text: str) -> None:
    parsed = delivery(alert("Far", starts=text), alert("Good"), truncatedAlerts=2**63)
    assert [event.labels["alertname"] for event in parsed.alerts] == ["Good"]
    assert "1678 to 2262" in parsed.dead_letters[0].reason
    assert parsed.truncated_alerts < 2**31


def test_a_firing_alerts_end_is_not_read() -> None:
    (event,) = delivery({**alert(), "endsAt": "9999-12-31T23:59:59Z"}).alerts
    assert event.ends_at_ns is None


def test_the_receivers_name_is_unquoted() -> None:
    assert delivery(alert(), receiver=r"team\.a\\b").receiver == r"team.a\b"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"", "not an Alertmanager webhook payload", id="empty"),
        pytest.param(b"[]", "not an Alertmanager webhook payload", id="a list"),
        pytest.param(b'{"alerts": []}', "version", id="a templated payload without version"),
        pytest.param(b'{"version": "4"}', "alerts", id="without alerts"),
        pytest.param(body(version="5"), "reads version 4", id="another version"),
    ],
)
def test_what_is_no_payload_says_why(raw: bytes, words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        parse(raw, received_at_ns=0)


def test_one_bad_alert_is_a_dead_letter_with_its_reason() -> None:
    parsed = delivery(alert("Good"), {**alert("Bad"), "startsAt": "yesterday"}, {"status": "firing"})
    assert [event.labels["alertname"] for event in parsed.alerts] == ["Good"]
    assert "yesterday" in parsed.dead_letters[0].reason
    assert json.loads(parsed.dead_letters[0].raw)["labels"]["alertname"] == "Bad"
    assert "labels" in parsed.dead_letters[1].reason


@pytest.mark.parametrize("field", ["receiver", "groupKey", "truncatedAlerts", "externalURL", "status"])
@pytest.mark.parametrize("value", [None, "x", 1.5, [], {}], ids=str)
def test_an_odd_field_about_the_group_loses_no_alert(field: str, value: Any) -> None:
    assert len(delivery(alert(), **{field: value}).alerts) == 1


def test_of_odd_alerts_without_end_some_are_kept_and_the_good_ones_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webhooks.intake.payload.MAX_DEAD_LETTERS", 3)
    parsed = delivery(alert("A"), *range(10), alert("B"), *range(10), alert("C"))
    assert [event.labels["alertname"] for event in parsed.alerts] == ["A", "B", "C"]
    assert len(parsed.dead_letters) == 4
    assert parsed.dead_letters[-1].reason == "17 more of the delivery could not be used"
    monkeypatch.setattr("webhooks.intake.payload.MAX_PARTS", 50)
    with pytest.raises(PayloadError, match="more than 50 parts"):
        delivery(alert(), *range(50))
    assert len(delivery(*(alert(i=str(i)) for i in range(50))).alerts) == 50, "all are alerts"


def test_version_may_be_a_number() -> None:
    assert len(delivery(alert(starts=T0), version=4).alerts) == 1


def test_a_large_body_is_read_alert_by_alert_and_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded at once it would hold the interpreter's lock, and with it every other request."""
    bodies = [
        body(),
        body(alert("A"), alert("B", pod="p")),
        body(alert("A"), {**alert("B"), "status": "odd"}),
    ]
    usual = [parse(one, received_at_ns=1) for one in bodies]

    def at_once(_: bytes) -> None:
        raise AssertionError("a large body was decoded at once")

    monkeypatch.setattr(payload, "AT_ONCE_BYTES", 10)
    monkeypatch.setattr(payload, "_decode_good", at_once)
    for one, known in zip(bodies, usual, strict=True):
        found = parse(one, received_at_ns=1)
        assert (found.alerts, found.group_key, found.receiver) == (
            known.alerts,
            known.group_key,
            known.receiver,
        )
        assert [letter.reason for letter in found.dead_letters] == [x.reason for x in known.dead_letters]
