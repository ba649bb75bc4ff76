"""Lines of the Prometheus text format from arrays, at memory speed.

A numba kernel copies each series' label text and writes its number; rows
without a number are passed over, so a series that is gone leaves no line.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.series import FloatArray

DIGITS = 12
"""Significant digits written; two float64 operations round within a few 1e-16 of a value."""

NUMBER_BYTES = 24
_POWERS = np.array([10.0**i for i in range(309)])


@njit(cache=True, inline="always")
def _number(out, at, value, powers):
    """Write `value` at `at`; the position after it."""
    if value == 0.0:
        out[at] = 48
        return at + 1
    if value < 0.0:
        out[at] = 45
        at += 1
        value = -value
    exponent = int(np.floor(np.log10(value)))
    shift = DIGITS - 1 - exponent
    if shift > 308:
        scaled = value * powers[308] * powers[min(shift - 308, 308)]
    elif shift >= 0:
        scaled = value * powers[shift]
    else:
        scaled = value / powers[-shift]
    mantissa = np.int64(np.rint(scaled))
    if mantissa >= 1000000000000:
        mantissa = (mantissa + 5) // 10
        exponent += 1
    elif mantissa < 100000000000:
        mantissa *= 10
        exponent -= 1
    n_digits = DIGITS
    while n_digits > 1 and mantissa % 10 == 0:
        mantissa //= 10
        n_digits -= 1
    if 0 <= exponent < 15:
        # Plain: digits, zeros up to the point, and what is behind it.
        whole = exponent + 1
        width = max(n_digits, whole) + (1 if n_digits > whole else 0)
        for position in range(max(n_digits, whole) - 1, -1, -1):
            digit = 0
            if position < n_digits:
                digit = mantissa % 10
                mantissa //= 10
            out[at + position + (1 if position >= whole else 0)] = 48 + digit
        if n_digits > whole:
            out[at + whole] = 46
        return at + width
    if -5 <= exponent < 0:
        out[at] = 48
        out[at + 1] = 46
        at += 2
        for _ in range(-exponent - 1):
            out[at] = 48
            at += 1
        for position in range(n_digits - 1, -1, -1):
            out[at + position] = 48 + mantissa % 10
            mantissa //= 10
        return at + n_digits
    for position in range(n_digits - 1, -1, -1):
        out[at + position + (1 if position >= 1 else 0)] = 48 + mantissa % 10
        mantissa //= 10
    if n_digits > 1:
        out[at + 1] = 46
        at += n_digits + 1
    else:
        at += 1
    out[at] = 101
    out[at + 1] = 45 if exponent < 0 else 43
    at += 2
    size = abs(exponent)
    if size >= 100:
        out[at] = 48 + size // 100
        at += 1
    out[at] = 48 + size // 10 % 10
    out[at + 1] = 48 + size % 10
    return at + 2


@njit(cache=True, nogil=True)
def _write(name, arena, offsets, tail, values, rows, powers, out):
    at = 0
    for row in rows:
        value = values[row]
        if np.isnan(value):
            continue
        for i in range(len(name)):
            out[at] = name[i]
            at += 1
        for i in range(offsets[row], offsets[row + 1]):
            out[at] = arena[i]
            at += 1
        for i in range(len(tail)):
            out[at] = tail[i]
            at += 1
        if np.isinf(value):
            out[at] = 43 if value > 0 else 45  # + or -, then Inf
            out[at + 1] = 73
            out[at + 2] = 110
            out[at + 3] = 102
            at += 4
        else:
            at = _number(out, at, value, powers)
        out[at] = 10
        at += 1
    return at


class LabelArena:
    """The label texts of a query's rows, one after another in one array of bytes."""

    def __init__(self, texts: list[bytes]) -> None:
        self.data = np.frombuffer(b"".join(texts) or b"\0", dtype=np.uint8)
        self.offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=self.offsets[1:])


def lines(name: bytes, arena: LabelArena, tail: bytes, values: FloatArray, rows: NDArray[np.int64]) -> bytes:
    """One line `<name>{<labels><tail> <number>` for each of the rows that has a value (not NaN).

    `tail` ends the label list, as `,horizon="300"} ` or `} ` do; `values`: (n_rows,).
    """
    label_bytes = int((arena.offsets[rows + 1] - arena.offsets[rows]).sum())
    room = label_bytes + len(rows) * (len(name) + len(tail) + NUMBER_BYTES + 2)
    out = np.empty(max(room, 1), dtype=np.uint8)
    end = _write(
        np.frombuffer(name, dtype=np.uint8),
        arena.data,
        arena.offsets,
        np.frombuffer(tail, dtype=np.uint8),
        np.ascontiguousarray(values),
        rows,
        _POWERS,
        out,
    )
    return out[:end].tobytes()
