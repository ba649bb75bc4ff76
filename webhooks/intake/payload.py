"""Alertmanager's webhook body (version 4) into a Delivery, leniently.

Whatever of a body can be used is used; an alert that cannot goes to the dead
letters with its reason; a body that is no such payload is a PayloadError.
Source of the rules: the receiver checklist in docs/alertmanager.md.
"""

from __future__ import annotations

import hashlib
from datetime import date
from functools import lru_cache

import msgspec

from sidecar.errors import PayloadError
from sidecar.records import DEFAULT_TENANT, AlertEvent, DeadLetter, Delivery

_EPOCH = date(1970, 1, 1).toordinal()
MAX_DEAD_BYTES = 65_536
MAX_DEAD_LETTERS = 10_000
"""So many odd alerts of one delivery are kept, and the rest counted: 64 MB have room for thirty million."""

MAX_PARTS = 3_000_000
"""Twice what the largest body of alerts consists of; one of more is not taken apart."""

AT_ONCE_BYTES = 1_000_000
"""What is larger is taken apart alert by alert. Decoded at once, a hundred thousand alerts hold the
interpreter's lock, and so every other request, for half a second, in whichever thread that is."""

MAX_TIME = 64
"""The longest time that is one has 35 characters."""

MAX_TIMES = 16_384
"""Remembered, as a start comes again with each repeat of its alert: four megabytes, and two microseconds."""

MAX_COUNT = 2**31 - 1

_INT64_NS = 2**63 - 1
"""What a 64-bit store can hold: the years 1678 to 2262."""


class _Alert(msgspec.Struct):
    status: str
    labels: dict[str, str]
    startsAt: str
    annotations: dict[str, str] | None = None
    endsAt: str | None = None
    generatorURL: str | None = None
    fingerprint: str | None = None


class _Payload(msgspec.Struct):
    version: str | int
    alerts: list[msgspec.Raw]
    receiver: object = ""
    groupKey: object = ""
    truncatedAlerts: object = 0
    externalURL: object = ""


class _GoodPayload(msgspec.Struct):
    version: str | int
    alerts: list[_Alert]
    receiver: str = ""
    groupKey: str = ""
    truncatedAlerts: int = 0
    externalURL: str = ""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are no JSON of the kind, or nested without end."""

_decode_good = msgspec.json.Decoder(_GoodPayload).decode
_decode_any = msgspec.json.Decoder(_Payload).decode
_decode_alert = msgspec.json.Decoder(_Alert).decode


def parse(body: bytes, *, received_at_ns: int, tenant: str = DEFAULT_TENANT) -> Delivery:
    """The delivery in a request body.

    Raises: PayloadError (one short line) for what is no version 4 payload; nothing else.

    >>> parse(b'{"version":"4","alerts":[]}', received_at_ns=0).alerts
    []
    """
    events: list[AlertEvent] = []
    dead: list[DeadLetter] = []
    payload = _at_once(body, events, dead) or _one_by_one(body, events, dead)
    if str(payload.version) != "4":
        raise PayloadError(f"version is {str(payload.version)[:20]!r}, this receiver reads version 4")
    return Delivery(
        tenant=tenant,
        receiver=_unquoted(_text(payload.receiver)),
        group_key=_text(payload.groupKey),
        external_url=_text(payload.externalURL),
        received_at_ns=received_at_ns,
        body_hash=hashlib.blake2b(body, digest_size=16).digest(),
        truncated_alerts=_count(payload.truncatedAlerts),
        alerts=events,
        dead_letters=dead,
    )


def _at_once(body: bytes, events: list[AlertEvent], dead: list[DeadLetter]) -> _GoodPayload | None:
    """The usual delivery; None, and nothing taken, for a large one, or one that is not as it should be."""
    if len(body) > AT_ONCE_BYTES and body.count(b",") <= MAX_PARTS:
        return None
    try:
        payload = _decode_good(body)
    except UNREADABLE:
        return None
    for alert in payload.alerts:
        _take(alert, b"", events, dead)
    return payload


def _one_by_one(body: bytes, events: list[AlertEvent], dead: list[DeadLetter]) -> _Payload:
    if body.count(b",") > MAX_PARTS:
        raise PayloadError(f"not all of it are alerts, and it has more than {MAX_PARTS} parts")
    try:
        payload = _decode_any(body)
    except UNREADABLE as error:
        words = " ".join(str(error).split())[:120]
        raise PayloadError(f"not an Alertmanager webhook payload (version 4): {words}") from error
    n_more = 0
    for raw in payload.alerts:
        try:
            alert = _decode_alert(raw)
        except UNREADABLE as error:
            dead.append(DeadLetter(" ".join(str(error).split())[:200], bytes(raw)[:MAX_DEAD_BYTES]))
        else:
            _take(alert, bytes(raw), events, dead)
        if len(dead) > MAX_DEAD_LETTERS:
            dead.pop()
            n_more += 1
    if n_more:
        dead.append(DeadLetter(f"{n_more} more of the delivery could not be used", b""))
    return payload


def _take(alert: _Alert, raw: bytes, events: list[AlertEvent], dead: list[DeadLetter]) -> None:
    try:
        events.append(_event(alert))
    except ValueError as error:
        dead.append(DeadLetter(str(error)[:200], (raw or msgspec.json.encode(alert))[:MAX_DEAD_BYTES]))


def _event(alert: _Alert) -> AlertEvent:
    if alert.status not in ("firing", "resolved"):
        raise ValueError(f"status is {alert.status[:40]!r}; known are firing and resolved")
    if not alert.labels:
        raise ValueError("labels are empty; an alert has at least alertname")
    starts = parse_time(alert.startsAt)
    if starts is None:
        raise ValueError("startsAt is the zero time; an alert has begun at some time")
    fingerprint = alert.fingerprint
    if not fingerprint:
        # Senders compute fingerprints differently; ours serves only where there is none.
        # Imported late: with it comes numpy, which nothing else here needs.
        from sidecar.series import LabelSet

        fingerprint = LabelSet(alert.labels).fingerprint()
    firing = alert.status == "firing"
    # A firing alert's end is Alertmanager's guess, or zero; it is not read at all.
    ends = parse_time(alert.endsAt) if alert.endsAt and not firing else None
    return AlertEvent(
        fingerprint=fingerprint,
        firing=firing,
        labels=alert.labels,
        annotations=alert.annotations or {},
        starts_at_ns=starts,
        ends_at_ns=ends,
        generator_url=alert.generatorURL or "",
    )


@lru_cache(maxsize=MAX_TIMES)
def parse_time(text: str) -> int | None:
    """Nanoseconds since the epoch from RFC 3339, any offset; None for Go's zero time (year 1).

    Raises: ValueError, naming the text.

    >>> parse_time("2026-01-01T01:00:00.000000001+01:00")
    1767225600000000001
    """
    try:
        if len(text) > MAX_TIME:
            raise ValueError  # It would be remembered, too.
        if text[4] != "-" or text[7] != "-" or text[10] not in "Tt " or text[13] != ":" or text[16] != ":":
            raise ValueError
        year = int(text[:4])
        if year <= 1:
            return None
        days = date(year, int(text[5:7]), int(text[8:10])).toordinal() - _EPOCH
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
        if hour > 23 or minute > 59 or second > 60 or min(hour, minute, second) < 0:
            raise ValueError
        rest = text[19:]
        nanoseconds = 0
        if rest[:1] == ".":
            digits = 1
            while digits < len(rest) and rest[digits].isdecimal():
                digits += 1
            if digits == 1:
                raise ValueError
            nanoseconds = int(rest[1:digits][:9].ljust(9, "0"))
            rest = rest[digits:]
        offset = 0
        if rest not in ("Z", "z"):
            if len(rest) != 6 or rest[0] not in "+-" or rest[3] != ":":
                raise ValueError
            offset = (int(rest[1:3]) * 60 + int(rest[4:6])) * (60 if rest[0] == "+" else -60)
        seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
    except (ValueError, IndexError):
        raise ValueError(f"{text[:40]!r} is no RFC 3339 time such as 2026-01-01T00:00:00Z") from None
    time_ns = seconds * 1_000_000_000 + nanoseconds
    if abs(time_ns) > _INT64_NS:
        # Let through, it would fail the commit of everybody's alerts, again at every retry.
        raise ValueError(f"{text[:40]!r} is outside the years 1678 to 2262")
    return time_ns


def _text(found: object) -> str:
    """What should be a text; alerts are worth more than a field about them that cannot be read."""
    return found if isinstance(found, str) else ""


def _count(found: object) -> int:
    return min(max(found, 0), MAX_COUNT) if isinstance(found, int) else 0


def _unquoted(receiver: str) -> str:
    """Alertmanager sends regexp.QuoteMeta of the receiver's name: `team\\.a` is team.a."""
    if "\\" not in receiver:
        return receiver
    characters = iter(receiver)
    return "".join(next(characters, "") if c == "\\" else c for c in characters)
