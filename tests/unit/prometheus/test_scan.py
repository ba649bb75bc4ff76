"""The byte scanner says exactly what a plain JSON decoder says, or leaves the work to it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import PullError, TooManySeries
from sidecar.prometheus.scan import Decoded, LabelCache, _decode_fast, decode
from sidecar.series import LabelSet

START = 1_700_000_000_000
STEP = 15_000
STEPS = 6


def answer(series: list[dict[str, Any]], kind: str = "matrix", **more: Any) -> bytes:
    document = {"status": "success", "data": {"resultType": kind, "result": series}, **more}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read(body: bytes, *, n_steps: int = STEPS, max_series: int = 100) -> Decoded:
    return decode(
        body,
        start_ms=START,
        step_ms=STEP,
        n_steps=n_steps,
        name="q",
        max_series=max_series,
        cache=LabelCache(),
    )


texts = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**6), max_value=10**6).map(
        lambda d: format(d, "f")
    ),
    st.sampled_from(
        ["NaN", "+Inf", "-Inf", "0", "-0", "1e-320", "4.9e-324", "1.7976931348623157e+308", "1e400"]
    ),
).map(lambda text: {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text, text))
# Mantissas about 2^53, where a decimal first stops to be an exact float64.
texts = texts | st.tuples(st.integers(-60, 60), st.integers(-25, 25)).map(lambda p: f"{2**53 + p[0]}e{p[1]}")
label_maps = st.dictionaries(
    st.sampled_from(["__name__", "job", "path", "ünï"]), st.text(max_size=12), max_size=3
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(label_maps, st.lists(texts, max_size=STEPS)), max_size=5))
def test_every_value_is_bit_equal_to_pythons_own(rows: list[tuple[dict[str, str], list[str]]]) -> None:
    series = [
        {"metric": labels, "values": [[(START + i * STEP) / 1000, text] for i, text in enumerate(values)]}
        for labels, values in rows
    ]
    body = answer(series)
    fast = _decode_fast(body, START, STEP, STEPS, len(rows), LabelCache())
    assert fast is not None, "this is the form that servers write: it must not fall back"
    assert fast.labels == tuple(LabelSet(labels) for labels, _ in rows)
    n_infinite = 0
    for row, (_, values) in enumerate(rows):
        for column, text in enumerate(values):
            truth = float(text)
            if math.isinf(truth):
                n_infinite += 1
                truth = math.nan
            np.testing.assert_array_equal(fast.values[row, column], truth)
            if truth == 0:
                assert math.copysign(1, fast.values[row, column]) == math.copysign(1, truth)
    assert fast.n_infinite == n_infinite


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_make_it_say_anything_but_its_error(noise: bytes, cut: int) -> None:
    good = answer([{"metric": {"a": "b"}, "values": [[START / 1000, "1"], [START / 1000 + 15, "2.5"]]}])
    for body in (noise, good[:cut] + noise + good[cut:], good[:cut]):
        try:
            decoded = read(body)
        except PullError:
            continue
        assert decoded.values.shape == (len(decoded.labels), STEPS)


@pytest.mark.parametrize(
    ("body", "labels", "values"),
    [
        pytest.param(answer([]), [], [], id="nothing"),
        pytest.param(
            answer([{"metric": {"a": 'x"}]\\,{'}, "values": [[START / 1000 + 30, "7"]]}]),
            [{"a": 'x"}]\\,{'}],
            [[None, None, 7.0, None, None, None]],
            id="brackets and quotes inside a label",
        ),
        pytest.param(
            answer([{"values": [[START / 1000, "1"]], "metric": {"a": "b"}}]),
            [{"a": "b"}],
            [[1.0, None, None, None, None, None]],
            id="another order of keys",
        ),
        pytest.param(
            json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [
                {"metric": {"a": "b"}, "values": [[START / 1000, "1"]]}]}}, indent=2).encode(),
            [{"a": "b"}],
            [[1.0, None, None, None, None, None]],
            id="spaces",
        ),
    ],
)  # fmt: skip
def test_forms_of_answers(
    body: bytes, labels: list[dict[str, str]], values: list[list[float | None]]
) -> None:
    decoded = read(body)
    assert [dict(label_set) for label_set in decoded.labels] == labels
    expected = np.array(values, dtype=float).reshape(len(labels), STEPS)
    np.testing.assert_array_equal(decoded.values, expected)


def test_instant_answers_of_every_type() -> None:
    at = START / 1000
    vector = answer([{"metric": {"a": "b"}, "value": [at, "3"]}], "vector")
    assert read(vector, n_steps=1).values.tolist() == [[3.0]]
    scalar = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [at, "4"]}}).encode()
    assert read(scalar, n_steps=1).labels == (LabelSet(),)
    text = json.dumps({"status": "success", "data": {"resultType": "string", "result": [at, "x"]}}).encode()
    with pytest.raises(PullError, match="string"):
        read(text, n_steps=1)


def test_histograms_are_left_out_and_told() -> None:
    body = answer(
        [
            {"metric": {"h": "1"}, "histograms": [[START / 1000, {"count": "1", "sum": "2"}]]},
            {"metric": {"f": "1"}, "values": [[START / 1000, "1"]]},
        ]
    )
    decoded = read(body)
    assert decoded.labels == (LabelSet({"f": "1"}),)
    assert decoded.n_histograms == 1
    assert "histogram" in decoded.warnings[0]


@pytest.mark.parametrize("place", ["before the data, as sent", "behind it"])
def test_a_partial_answer_of_a_cluster_says_so(place: str) -> None:
    whole = answer([])
    partial = b'{"status":"success","isPartial":true,' + whole.partition(b",")[2]
    if place == "behind it":
        partial = whole[:-1] + b',"isPartial":true}'
    assert ["partial" in one for one in read(partial).warnings] == [True]
    assert (
        read(whole.replace(b'{"status":"success"', b'{"status":"success","isPartial":false')).warnings == ()
    )


def test_warnings_and_infos_come_along() -> None:
    body = answer([], warnings=["partial response: store down"], infos=["metric might not be a counter"])
    assert read(body).warnings == ("partial response: store down", "metric might not be a counter")


def test_too_many_series_are_counted_before_they_are_decoded() -> None:
    body = answer([{"metric": {"i": str(i)}, "values": []} for i in range(11)])
    with pytest.raises(TooManySeries, match="matched 11 series, its limit is 10"):
        read(body, max_series=10)


def test_the_bound_holds_in_every_form_of_answer() -> None:
    series = [{"value": [START / 1000, "1"], "metric": {"i": str(i)}} for i in range(11)]
    with pytest.raises(TooManySeries, match="matched 11 series, its limit is 10"):
        read(answer(series, "vector"), n_steps=1, max_series=10)


@pytest.mark.parametrize(
    "text", ["9007199254740995e-1", "900719925474099.5", "9007199254740993e5", "-9007199254740993e-22"]
)
def test_mantissas_beyond_exact_integers_are_rounded_once(text: str) -> None:
    body = answer([{"metric": {}, "values": [[START / 1000, text]]}])
    fast = _decode_fast(body, START, STEP, STEPS, 1, LabelCache())
    assert fast is not None
    assert fast.values[0, 0] == float(text)


def test_the_same_bytes_are_the_same_label_object() -> None:
    body = answer([{"metric": {"a": "b"}, "values": []}])
    cache = LabelCache()
    one, two = (
        decode(body, start_ms=START, step_ms=STEP, n_steps=1, name="q", max_series=9, cache=cache)
        for _ in "12"
    )
    assert one.labels[0] is two.labels[0]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>502 Bad Gateway</html>",
        b"",
        b"null",
        b'{"status":"success"}',
        b'{"status":"error","errorType":"execution","error":"boom"}',
        answer([{"metric": {}, "values": [[START / 1000 + 1, "1"]]}]),
    ],
)
def test_what_is_no_answer_is_a_pull_error(body: bytes) -> None:
    with pytest.raises(PullError):
        read(body)


def test_labels_that_went_are_let_go_of_and_those_that_stay_are_the_same_objects() -> None:
    now = 0.0
    cache = LabelCache(limit=1000, keep_seconds=60.0, monotonic=lambda: now)
    stays = cache.get(b'{"pod":"stays"}')
    for minute in range(200):
        now = 30.0 * minute
        for n in range(10):
            cache.get(b'{"pod":"%d-%d"}' % (minute, n))
        assert cache.get(b'{"pod":"stays"}') is stays
        assert len(cache) <= 61
    for n in range(5_000):
        cache.get(b'{"pod":"%d"}' % n)
    assert len(cache) <= 2_000
