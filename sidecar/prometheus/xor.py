"""Prometheus' XOR chunks decoded straight onto a step grid.

Chunk format: Pelkonen et al., "Gorilla" (VLDB 2015), as laid down in
prometheus/prometheus tsdb/docs/format/chunks.md: a big-endian sample count,
varint times as delta of deltas, values as XOR with the one before.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, inline="always")
def _bits(data, position, count):
    """`count` bits (0..64) from bit `position`, most significant first."""
    value = np.uint64(0)
    left = count
    while left > 0:
        byte = np.uint64(data[position >> 3])
        available = 8 - (position & 7)
        take = min(available, left)
        piece = (byte >> np.uint64(available - take)) & np.uint64((1 << take) - 1)
        value = (value << np.uint64(take)) | piece
        position += take
        left -= take
    return value


@njit(cache=True, nogil=True)
def decode_onto_grid(data, chunk_first, chunk_end, series_first, times, lookback_ms, out):
    """Put each series' chunks onto the grid `times`, as an instant query at each time would see it.

    `data`: all chunks' bytes, with 32 bytes of padding behind. `chunk_first`, `chunk_end`:
    byte range of each chunk. `series_first`: (N + 1,), the chunks of series i are
    series_first[i]..series_first[i + 1], in order of time. `out`: (N, T), NaN where
    nothing is. Returns (samples decoded, infinite ones left out); -1 samples if a chunk is damaged.
    """
    n_steps = len(times)
    scratch = np.zeros(1, dtype=np.uint64)
    as_float = scratch.view(np.float64)
    n_samples = n_infinite = 0
    for series in range(len(series_first) - 1):
        held_ms = np.int64(-(1 << 62))
        held = np.nan
        column = 0
        for chunk in range(series_first[series], series_first[series + 1]):
            begin = chunk_first[chunk]
            limit = np.int64(chunk_end[chunk]) * 8
            if chunk_end[chunk] - begin < 2:
                return -1, n_infinite
            count = np.int64(data[begin]) * 256 + np.int64(data[begin + 1])
            position = np.int64(begin + 2) * 8
            now = np.int64(0)
            delta = np.int64(0)
            value = np.uint64(0)
            leading = 0
            trailing = 0
            for i in range(count):
                if position >= limit:
                    return -1, n_infinite
                if i < 2:
                    # A varint: signed (zigzag) for the first time, unsigned for the first delta.
                    raw = np.uint64(0)
                    shift = 0
                    while True:
                        if position + 8 > limit or shift > 63:
                            return -1, n_infinite
                        byte = _bits(data, position, 8)
                        position += 8
                        raw |= (byte & np.uint64(0x7F)) << np.uint64(shift)
                        shift += 7
                        if byte < np.uint64(0x80):
                            break
                    if i == 0:
                        now = np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1))
                    else:
                        delta = np.int64(raw)
                        now += delta
                else:
                    width = 0
                    while width < 4 and _bits(data, position, 1) == np.uint64(1):
                        width += 1
                        position += 1
                    if width < 4:
                        position += 1
                    change = np.int64(0)
                    if width > 0:
                        size = 14 if width == 1 else 17 if width == 2 else 20 if width == 3 else 64
                        raw = _bits(data, position, size)
                        position += size
                        change = np.int64(raw)
                        if size != 64 and change > (np.int64(1) << (size - 1)):
                            change -= np.int64(1) << size
                    delta += change
                    now += delta
                if i == 0:
                    value = _bits(data, position, 64)
                    position += 64
                elif _bits(data, position, 1) == np.uint64(0):
                    position += 1
                else:
                    fresh = _bits(data, position + 1, 1) == np.uint64(1)
                    position += 2
                    if fresh:
                        leading = np.int64(_bits(data, position, 5))
                        significant = np.int64(_bits(data, position + 5, 6))
                        position += 11
                        if significant == 0:
                            significant = 64
                        trailing = 64 - leading - significant
                        if trailing < 0:
                            return -1, n_infinite
                    significant = 64 - leading - trailing
                    value ^= _bits(data, position, significant) << np.uint64(trailing)
                    position += significant
                if position > limit:
                    return -1, n_infinite
                if now <= held_ms:
                    continue  # Overlapping chunks: seen already.
                n_samples += 1
                # Every step before this sample still saw the one held.
                while column < n_steps and times[column] < now:
                    if times[column] >= held_ms and times[column] - held_ms <= lookback_ms:
                        out[series, column] = held
                    column += 1
                held_ms = now
                scratch[0] = value
                held = as_float[0]  # The marker of a series' end is a NaN too: from here on nothing is held.
                if np.isinf(held):
                    held = np.nan
                    n_infinite += 1
        while column < n_steps and times[column] - held_ms <= lookback_ms:
            if times[column] >= held_ms:
                out[series, column] = held
            column += 1
    return n_samples, n_infinite
