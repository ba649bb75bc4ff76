"""JSON answers of the query API into arrays, at the speed of the bytes.

A numba kernel walks the `[time,"value"]` pairs; label objects are found as byte
slices and looked up in a cache, so a recurring query decodes no labels. The
kernel reads the compact JSON that Prometheus' API servers write; at anything
else it stops and a plain JSON decoder does the same work slowly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.errors import PullError, PullReason, TooManySeries
from sidecar.series import FloatArray, LabelSet

_METRIC = b'{"metric":'
_HEAD = np.frombuffer(_METRIC, dtype=np.uint8)
_VALUES = np.frombuffer(b',"values":[', dtype=np.uint8)
_VALUE = np.frombuffer(b',"value":', dtype=np.uint8)
_POWERS = np.array([10.0**i for i in range(23)])  # Exact in float64 up to 1e22.
_SLOW_WIDTH = 40
_PARTIAL = ("the answer is partial: a part of the source's storage is away",)
"""A cluster of VictoriaMetrics says so in a field of its own."""

CACHE_LABELS = 400_000
KEEP_SECONDS = 3600.0
"""Longer than most steps; what comes less often is decoded anew."""


class LabelCache:
    """Label sets by the bytes that spell them: the same bytes, the same object.

    What nobody asked for in one to two `keep_seconds` is let go of: pods and alerts come and go.
    """

    def __init__(
        self,
        limit: int = CACHE_LABELS,
        *,
        keep_seconds: float = KEEP_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lately: dict[bytes, LabelSet] = {}
        self._before: dict[bytes, LabelSet] = {}
        self._limit, self._keep_seconds, self._monotonic = limit, keep_seconds, monotonic
        self._since = monotonic()

    def __len__(self) -> int:
        return len(self._lately.keys() | self._before.keys())

    def get(self, raw: bytes) -> LabelSet:
        """The label set that the JSON object `raw` spells."""
        found = self._lately.get(raw)
        if found is None:
            found = self._before.get(raw)
            if found is None:
                found = LabelSet(msgspec.json.decode(raw, type=dict[str, str]))
            if len(self._lately) >= self._limit or self._monotonic() - self._since >= self._keep_seconds:
                self._before, self._lately, self._since = self._lately, {}, self._monotonic()
            self._lately[raw] = found
        return found


@dataclass(frozen=True, slots=True)
class Decoded:
    """What an answer held: labels (N), values (N, T) on the grid asked for, and what was left out."""

    labels: tuple[LabelSet, ...]
    values: FloatArray
    warnings: tuple[str, ...]
    n_samples: int
    n_infinite: int
    n_histograms: int


@njit(cache=True, inline="always")
def _matches(buf: NDArray[np.uint8], at: int, word: NDArray[np.uint8]) -> bool:
    if at + len(word) > len(buf):
        return False
    for i in range(len(word)):  # noqa: SIM110 - numba compiles no generator expressions
        if buf[at + i] != word[i]:
            return False
    return True


@njit(cache=True, inline="always")
def _object_end(buf: NDArray[np.uint8], at: int) -> int:
    """Position after the flat object that begins at `at`; -1 where it is none."""
    if at >= len(buf) or buf[at] != 123:
        return -1
    in_string = False
    i = at + 1
    while i < len(buf):
        c = buf[i]
        if in_string:
            if c == 92:
                i += 1
            elif c == 34:
                in_string = False
        elif c == 34:
            in_string = True
        elif c == 125:
            return i + 1
        elif c == 123 or c == 91:
            return -1
        i += 1
    return -1


@njit(cache=True, nogil=True)
def _scan(buf, at, start_ms, step_ms, head, values_word, value_word, powers, out, slices, slow, slow_where):
    """Decode series until the list ends.

    Returns (position after the last series, series read, samples, infinite, slow
    values); a negative position is minus the reason: 1 unknown form, 2 slow list full.
    """
    n_rows, n_steps = out.shape
    row = n_samples = n_infinite = n_slow = 0
    size = len(buf)
    while True:
        if at >= size:
            return -1, row, n_samples, n_infinite, n_slow
        if buf[at] == 93:  # ]
            return at, row, n_samples, n_infinite, n_slow
        if row > 0:
            if buf[at] != 44:
                return -1, row, n_samples, n_infinite, n_slow
            at += 1
        if row >= n_rows or not _matches(buf, at, head):
            return -1, row, n_samples, n_infinite, n_slow
        at += len(head)
        end = _object_end(buf, at)
        if end < 0:
            return -1, row, n_samples, n_infinite, n_slow
        slices[row, 0] = at
        slices[row, 1] = end
        at = end
        single = False
        if _matches(buf, at, values_word):
            at += len(values_word)
        elif _matches(buf, at, value_word):
            at += len(value_word)
            single = True
        else:
            return -1, row, n_samples, n_infinite, n_slow
        first = True
        while True:
            if at >= size:
                return -1, row, n_samples, n_infinite, n_slow
            if not first:
                if single or buf[at] == 93:
                    break
                if buf[at] != 44:
                    return -1, row, n_samples, n_infinite, n_slow
                at += 1
            elif not single and buf[at] == 93:
                break
            first = False
            if at + 8 >= size or buf[at] != 91:
                return -1, row, n_samples, n_infinite, n_slow
            at += 1
            # Time: digits, and up to three digits of milliseconds.
            ms = np.int64(0)
            digits = 0
            while at < size and 48 <= buf[at] <= 57:
                ms = ms * 10 + (buf[at] - 48)
                at += 1
                digits += 1
            fraction = 0
            if at < size and buf[at] == 46:
                at += 1
                while at < size and 48 <= buf[at] <= 57:
                    ms = ms * 10 + (buf[at] - 48)
                    at += 1
                    fraction += 1
            if digits == 0 or digits > 12 or fraction > 3:
                return -1, row, n_samples, n_infinite, n_slow
            for _ in range(3 - fraction):
                ms *= 10
            if at + 2 >= size or buf[at] != 44 or buf[at + 1] != 34:
                return -1, row, n_samples, n_infinite, n_slow
            at += 2
            offset = ms - start_ms
            column = offset // step_ms
            if column < 0 or column >= n_steps or column * step_ms != offset:
                return -1, row, n_samples, n_infinite, n_slow
            # Value: a decimal with an exact float64, or a word, or left to the exact converter.
            begin = at
            negative = buf[at] == 45
            if negative or buf[at] == 43:
                at += 1
            mantissa = np.uint64(0)
            n_digits = 0
            exponent = 0
            exact = True
            while at < size and 48 <= buf[at] <= 57:
                if mantissa > np.uint64(900719925474099):
                    exact = False
                else:
                    mantissa = mantissa * np.uint64(10) + np.uint64(buf[at] - 48)
                n_digits += 1
                at += 1
            if at < size and buf[at] == 46:
                at += 1
                while at < size and 48 <= buf[at] <= 57:
                    if mantissa > np.uint64(900719925474099):
                        exact = False
                    else:
                        mantissa = mantissa * np.uint64(10) + np.uint64(buf[at] - 48)
                        exponent -= 1
                    n_digits += 1
                    at += 1
            if n_digits > 0 and at < size and (buf[at] == 101 or buf[at] == 69):
                at += 1
                sign = 1
                if at < size and (buf[at] == 45 or buf[at] == 43):
                    if buf[at] == 45:
                        sign = -1
                    at += 1
                power = 0
                while at < size and 48 <= buf[at] <= 57:
                    power = power * 10 + (buf[at] - 48)
                    if power > 9999:
                        return -1, row, n_samples, n_infinite, n_slow
                    at += 1
                exponent += sign * power
            if mantissa > np.uint64(1 << 53):
                exact = False  # Its float64 is rounded, and the power would round a second time.
            if n_digits == 0:
                # NaN, +Inf, -Inf: nothing that can be judged.
                if at + 2 >= size:
                    return -1, row, n_samples, n_infinite, n_slow
                if buf[at] == 73 and buf[at + 1] == 110 and buf[at + 2] == 102:
                    n_infinite += 1
                elif not (buf[at] == 78 and buf[at + 1] == 97 and buf[at + 2] == 78 and at == begin):
                    return -1, row, n_samples, n_infinite, n_slow
                at += 3
            elif exact and -22 <= exponent <= 22:
                # Both factors are exact, so one rounding: the right one (Clinger 1990).
                value = np.float64(mantissa)
                value = value / powers[-exponent] if exponent < 0 else value * powers[exponent]
                out[row, column] = -value if negative else value
                n_samples += 1
            else:
                if n_slow >= len(slow):
                    return -2, row, n_samples, n_infinite, n_slow
                if at - begin > slow.shape[1]:
                    return -1, row, n_samples, n_infinite, n_slow
                for i in range(at - begin):
                    slow[n_slow, i] = buf[begin + i]
                slow_where[n_slow, 0] = row
                slow_where[n_slow, 1] = column
                n_slow += 1
                n_samples += 1
            if at + 1 >= size or buf[at] != 34 or buf[at + 1] != 93:
                return -1, row, n_samples, n_infinite, n_slow
            at += 2
        if not single:
            at += 1
        if at >= size or buf[at] != 125:
            return -1, row, n_samples, n_infinite, n_slow
        at += 1
        row += 1


def decode(
    body: bytes, *, start_ms: int, step_ms: int, n_steps: int, name: str, max_series: int, cache: LabelCache
) -> Decoded:
    """The series in an answer of `query` (n_steps 1) or `query_range`.

    Raises: TooManySeries before anything is decoded; PullError for what is no such answer.
    """
    n_rows = body.count(_METRIC)  # Inside a string the quotes would be escaped: the count is exact.
    if n_rows > max_series:
        raise TooManySeries(name, n_rows, max_series)
    fast = _decode_fast(body, start_ms, step_ms, n_steps, n_rows, cache)
    return fast if fast is not None else _decode_slow(body, start_ms, step_ms, n_steps, name, max_series)


def _decode_fast(
    body: bytes, start_ms: int, step_ms: int, n_steps: int, n_rows: int, cache: LabelCache
) -> Decoded | None:
    begin = body.find(b'"result":[', 0, 200)
    head = body[: max(begin, 0)]
    if begin < 0 or not head.startswith(b'{"status":"success"') or b'"error"' in head:
        return None
    if b'"vector"' not in head and b'"matrix"' not in head:
        return None
    begin += len(b'"result":[')
    buf = np.frombuffer(body, dtype=np.uint8)
    slices = np.zeros((n_rows, 2), dtype=np.int64)
    room = 1024 + len(body) // 64
    while True:
        out = np.full((n_rows, n_steps), np.nan)
        slow = np.zeros((room, _SLOW_WIDTH), dtype=np.uint8)
        where = np.zeros((room, 2), dtype=np.int64)
        end, rows, n_samples, n_infinite, n_slow = _scan(
            buf, begin, start_ms, step_ms, _HEAD, _VALUES, _VALUE, _POWERS, out, slices, slow, where
        )
        if end != -2:
            break
        room *= 4
    if end < 0 or rows != n_rows:
        return None
    try:
        tail = msgspec.json.decode(b'{"data":{"result":[' + body[end:])
        labels = tuple(cache.get(body[a:b]) for a, b in slices.tolist())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if n_slow:
        exact = slow[:n_slow].view(f"S{_SLOW_WIDTH}")[:, 0].astype(np.float64)
        beyond = np.isinf(exact)  # Decimals greater than any float64.
        out[where[:n_slow, 0], where[:n_slow, 1]] = np.where(beyond, np.nan, exact)
        n_samples -= beyond.sum()
        n_infinite += beyond.sum()
    partial = _PARTIAL if b'"isPartial":true' in head else ()
    return Decoded(labels, out, (*partial, *_warnings(tail)), int(n_samples), int(n_infinite), 0)


def _decode_slow(
    body: bytes, start_ms: int, step_ms: int, n_steps: int, name: str, max_series: int
) -> Decoded:
    """The same by a plain decoder: any valid answer, whatever its spacing, order or kinds of sample."""
    try:
        answer = msgspec.json.decode(body)
        if answer["status"] != "success":
            raise PullError(PullReason.BAD_QUERY, f"{answer.get('errorType')}: {answer.get('error')}"[:500])
        kind = answer["data"]["resultType"]
        result = answer["data"]["result"]
        if kind == "string":
            raise PullError(PullReason.BAD_QUERY, "the expression is a string, not series")
        if kind == "scalar":
            result = [{"metric": {}, "value": result}]
        if len(result) > max_series:
            raise TooManySeries(name, len(result), max_series)
        labels: list[LabelSet] = []
        values = np.full((len(result), n_steps), np.nan)
        n_samples = n_infinite = n_histograms = 0
        for row, series in enumerate(result):
            labels.append(LabelSet(series["metric"]))
            n_histograms += len(series.get("histograms") or ())
            n_histograms += 1 if series.get("histogram") else 0
            pairs = series.get("values") or ([series["value"]] if series.get("value") else [])
            for moment, text in pairs:
                column, rest = divmod(round(moment * 1000) - start_ms, step_ms)
                value = float(text)
                if rest or not 0 <= column < n_steps:
                    raise PullError(
                        PullReason.BAD_RESPONSE, f"a sample at {moment} is off the grid asked for"
                    )
                if math.isinf(value):
                    n_infinite += 1
                elif not math.isnan(value):
                    values[row, column] = value
                    n_samples += 1
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        start = body[:80].decode(errors="replace")
        raise PullError(
            PullReason.BAD_RESPONSE, f"not an answer of the query API ({error}): {start!r}"
        ) from error
    if n_histograms:
        # A series of nothing but histograms has no value; it is left out rather than watched as NaN.
        kept = [row for row, series in enumerate(result) if "value" in series or "values" in series]
        labels, values = [labels[row] for row in kept], values[kept]
    warnings = _warnings(answer)
    if n_histograms:
        warnings += (f"{n_histograms} native histogram samples left out; query their rate or quantile",)
    return Decoded(tuple(labels), values, warnings, n_samples, n_infinite, n_histograms)


def _warnings(answer: dict[str, Any]) -> tuple[str, ...]:
    found: Sequence[Any] = [*(answer.get("warnings") or ()), *(answer.get("infos") or ())]
    partial = _PARTIAL if answer.get("isPartial") else ()
    return (*partial, *(str(warning) for warning in found))


def warm() -> None:
    """Compile the kernel, or load it compiled; seconds where no cache is, so call it in a thread."""
    empty = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
    decode(empty, start_ms=0, step_ms=1, n_steps=1, name="warm", max_series=0, cache=LabelCache())
